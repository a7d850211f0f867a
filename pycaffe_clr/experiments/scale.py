"""Everything small: shorter runs on small data, to try an experiment before hours are spent on it.

A scaled run proves nothing about the report: its folder lies elsewhere and its record says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pycaffe_clr.data import mnist, sample, synthetic
from pycaffe_clr.data.resolve import resolve
from pycaffe_clr.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter

# What run.json calls the scale, among its labels; see StoredRun.scaled.
LABEL = "scaled"
# However small the scale: so many iterations, tests of a run, and batches of a test.
_ITERATIONS, _TESTS, _TEST_BATCHES = 20, 4, 2
_RECORDS = (1000, 200)
_LARGE_RECORDS = (100, 20)  # of images of 128 pixels and more


def check(scale: float) -> None:
    """Raise ConfigError for a scale that is not above 0 and at most 1."""
    if not 0 < scale <= 1:
        raise ConfigError(f"--scale {scale}: expected a number above 0 and at most 1")


def default_root(root: Path, scale: float) -> Path:
    """Where scaled runs lie: beside the folder of the real ones."""
    return root.with_name(f"{root.name}-scale{scale:g}")


def scaled_iterations(solver: SolverParameter, iterations: int, scale: float) -> int:
    """So many iterations of a solver in its scaled run. solver: SolverParameter, not scaled."""
    factor = max(scale, min(1.0, _ITERATIONS / solver.max_iter))
    return max(1, int(round(iterations * factor)))


def scaled_sets(solver: SolverParameter, scale: float) -> dict[str, str]:
    """The fields of a solver that are other in its scaled run, as RunSpec's `sets` takes them.

    solver: SolverParameter. Iterations of every kind are scaled together, so that the schedule
    keeps its shape; a test sees as much less as the run is shorter.
    """

    def scaled(iterations: float) -> int:
        return scaled_iterations(solver, int(iterations), scale)

    max_iter = scaled(solver.max_iter)
    sets = {"max_iter": max_iter, "display": scaled(solver.display) if solver.display else 0}
    if solver.stepsize > 0:
        sets["stepsize"] = scaled(solver.stepsize)
    if solver.snapshot > 0:
        sets["snapshot"] = scaled(solver.snapshot)
    if solver.test_interval > 0:
        sets["test_interval"] = max(1, min(scaled(solver.test_interval), max_iter // _TESTS))
    texts = {name: str(value) for name, value in sets.items()}
    if len(solver.stepvalue):
        texts["stepvalue"] = ",".join(str(scaled(value)) for value in solver.stepvalue)
    if len(solver.cyclical_momentum) > 1:
        lowest, stepsize = solver.cyclical_momentum[:2]
        texts["cyclical_momentum"] = f"{lowest:.7g},{scaled(stepsize)}"
    if len(solver.test_iter):
        factor = max_iter / solver.max_iter
        counts = [max(min(n, _TEST_BATCHES), round(n * factor)) for n in solver.test_iter]
        texts["test_iter"] = ",".join(map(str, counts))
    return texts


def small_data(
    folder: Path, dataset: str, data_dir: str | Path | None, scale: float
) -> Path | None:
    """Where scaled runs find a data set: None, for data_dir or wherever else the real ones are, or
    `folder`, in which small ones were made.

    dataset: as `pycaffe_clr data synthetic --like` has it. MNIST: the real digits that ship with
    the package; others are made up, in the real ones' shape. What was made before stays. Raises
    ConfigError for an unknown set, DataError where it cannot be written.
    """
    if dataset == "mnist_sample":  # makes itself
        return None
    like = synthetic.LIKE.get(dataset)
    if like is None:
        raise ConfigError(f"no data are like {dataset!r}; known: {', '.join(synthetic.LIKE)}")
    wanted = [path for path in (like.train_lmdb, like.test_lmdb, like.mean_file) if path]
    if _all_there(wanted, data_dir):
        return None
    if _all_there(wanted, folder):
        return folder
    if dataset == "mnist":
        mnist.write(folder, *sample.read(), force=True)
        return folder
    if like.shape[-1] >= 128:
        train, test = _LARGE_RECORDS
    else:
        train = max(_RECORDS[0], round(like.train * scale))
        test = max(_RECORDS[1], round(like.test * scale))
    synthetic.make(folder, dataset, train, test, force=True)
    return folder


def words(scale: str | None) -> str:
    """How messages call a scale."""
    return "in full" if scale is None else f"scaled by {scale}"


def _all_there(paths: Iterable[Path], data_dir: str | Path | None) -> bool:
    try:
        for path in paths:
            resolve(path, data_dir, report=lambda _: None)
    except DataError:
        return False
    return True
