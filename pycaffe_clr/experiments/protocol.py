"""The four-run protocol: which batch, filler and seed each run of a training configuration has.

Report, appendix A.1: each curve is the mean of four runs "with slightly different batch sizes and
different initialization schemes", two even and two odd batch sizes, from a minimum to 12 above it,
msra and xavier in turn. The author's logs show how: the four GPUs of run 1 have 3 images more each
than those of run 4 (131 for 128, 259 for 256), with the filler xavier, and all runs have the
iterations of the smallest batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycaffe_clr.errors import ConfigError

if TYPE_CHECKING:
    from pycaffe_clr.experiments.manifest import Setting
    from pycaffe_clr.proto import NetParameter

FILE_RUN = "file"  # the extra run that keeps the fillers of the net's file
RUNS = 4
GPUS = 4  # of the author's servers: the batch of each grows by one from run to run


@dataclass(frozen=True)
class RunPlan:
    """One run of a configuration.

    name: "run1" ..., or "file". filler: type of every weight filler; None keeps those of the net's
    file. batch: training images of one replica in one iteration. seed: of weights and dropout.
    """

    name: str
    filler: str | None
    batch: int
    seed: int

    @property
    def counted(self) -> bool:
        """Whether the run belongs to the mean; the one with the file's own fillers does not."""
        return self.name != FILE_RUN


def run_plans(
    batch: int,
    replicas: int = 1,
    *,
    runs: int = RUNS,
    same_batch: bool = False,
    extra: tuple[int, ...] = (),
    keep_file: bool = False,
) -> tuple[RunPlan, ...]:
    """The runs of the protocol, from the largest batch to the smallest, fillers in turn.

    batch: the minimum, of one replica. On four replicas each one's batch grows by 1 from run to
    run, on a single one by 4: the total is the same. same_batch: all as the minimum (Figures 6 and
    8b). extra: the images added per replica, where a figure has others. keep_file: one more run,
    not counted, that keeps the fillers of the file.
    """
    step = 0 if same_batch else max(1, GPUS // replicas)
    added = extra or tuple(step * (runs - 1 - k) for k in range(runs))
    plans = [
        *filler_plans(
            tuple(RunPlan(f"run{k + 1}", None, batch + more, k + 1) for k, more in enumerate(added))
        )
    ]
    if keep_file:
        plans.append(RunPlan(FILE_RUN, None, batch, len(plans) + 1))
    return tuple(plans)


def file_plans(plans: tuple[RunPlan, ...]) -> tuple[RunPlan, ...]:
    """The same batches and seeds, with the fillers of the net's file in all runs."""
    return tuple(dataclasses.replace(plan, filler=None) for plan in plans)


def filler_plans(plans: tuple[RunPlan, ...]) -> tuple[RunPlan, ...]:
    """The same batches and seeds, with xavier and msra in turn."""
    return tuple(
        dataclasses.replace(plan, filler="msra" if k % 2 else "xavier")
        for k, plan in enumerate(plans)
    )


def plans(solver: str | Path, runs: int = RUNS, same_batch: bool = False) -> tuple[RunPlan, ...]:
    """The runs of any solver, by file or shipped name: the protocol on its own net and batch.

    Of a solver of the manifest: the runs that the manifest has. Raises ConfigError where the net
    does not say its batch, or runs is not positive.
    """
    from pycaffe_clr.catalog import find_solver, shipped_folder
    from pycaffe_clr.experiments.manifest import load

    if runs < 1:
        raise ConfigError(f"runs: expected at least 1, got {runs}")
    path = find_solver(solver)
    setting = load().settings.get(path.stem)
    if setting and path.parent == shipped_folder("solvers") and not same_batch:
        counted = [plan for plan in setting.runs if plan.counted]
        if runs == len(counted):
            return setting.runs
    batch, replicas, gaussian = _batch_of(path)
    return run_plans(batch, replicas, runs=runs, same_batch=same_batch, keep_file=gaussian)


def specs(
    setting: Setting | str | Path,
    root: str | Path,
    *,
    runs: tuple[RunPlan, ...] | None = None,
    **fields: Any,
) -> Iterator[dict[str, Any]]:
    """The fields of a RunSpec for each run of a setting, or of any solver, under ROOT/<setting>.

    runs: other plans than the setting's. fields: of RunSpec, for all runs (device, threads,
    data_dir). The runs of a setting that starts from a snapshot name that of the same run of the
    setting in front: it must have been made before.
    """
    from pycaffe_clr.catalog import find_solver

    root = Path(root)
    if isinstance(setting, (str, Path)):
        path, start = find_solver(setting), None
        chosen = plans(path) if runs is None else runs
    else:
        path, start = find_solver(setting.name), setting.start
        chosen = setting.runs if runs is None else runs
    for plan in chosen:
        spec: dict[str, Any] = {
            "solver": str(path),
            "out": str(root / path.stem / plan.name),
            "batch": plan.batch,
            "filler": plan.filler,
            "seed": plan.seed,
            "resume": True,
        }
        if start:
            before, iteration = start
            state = f"{before}_iter_{iteration}.solverstate"
            spec["snapshot"] = str(root / before / plan.name / state)
        yield spec | fields


def _batch_of(path: Path) -> tuple[int, int, bool]:
    """Training batch of one replica, replicas, and whether a filler of the net is gaussian."""
    from pycaffe_clr.prototxt import read_solver, solver_nets

    solver = read_solver(path)
    batch, gaussian = batch_of(solver_nets(solver, path).train, str(path))
    return batch, max(1, solver.replicas), gaussian


def batch_of(train: NetParameter, where: str) -> tuple[int, bool]:
    """Batch of a training net (a NetParameter), and whether a filler of it is gaussian.

    where: what errors call it. Raises ConfigError where no layer has a batch_size.
    """
    from pycaffe_clr.prototxt import filter_net

    net = filter_net(train)
    parts = [value for layer in net.layer for _, value in layer.ListFields() if _is_message(value)]
    sizes = [int(getattr(part, "batch_size", 0)) for part in parts]
    if not any(sizes):
        raise ConfigError(f"{where}: no layer of its training net has a batch_size to vary")
    fillers = {part.weight_filler.type for part in parts if _has(part, "weight_filler")}
    return next(filter(None, sizes)), "gaussian" in fillers


def _is_message(value: Any) -> bool:
    return hasattr(value, "DESCRIPTOR")


def _has(part: Any, field: str) -> bool:
    return field in part.DESCRIPTOR.fields_by_name and part.HasField(field)
