"""The four-run protocol for any solver: `pycaffe_clr run SOLVER --runs 4`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments import protocol
from pycaffe_clr.experiments.groups import classes_of
from pycaffe_clr.experiments.jobs import Job, Outcome
from pycaffe_clr.experiments.statistics import Summary, counted_accuracy, summarize
from pycaffe_clr.train.read_spec import read_spec
from pycaffe_clr.train.result import RECORD, read_run
from pycaffe_clr.train.run_folder import default_folder
from pycaffe_clr.train.spec import RunSpec


def protocol_jobs(spec: RunSpec, runs: int) -> list[Job]:
    """The runs of a solver by the protocol, in OUT/run1, OUT/run2, ..., with other batches and
    fillers in each; and OUT/file with the fillers of the net's file where those are gaussian.

    spec: what all of them have; its batch, or the net's, is the smallest one; with a seed the runs
    count on from it. Raises ConfigError where runs lie in OUT that the spec neither resumes nor
    overwrites, and where it names what the protocol varies.
    """
    if spec.solver is None:
        raise ConfigError("--runs needs the name of a solver")
    if spec.filler is not None:
        raise ConfigError("--runs varies the weight fillers: leave --filler out")
    solver, nets, path, _ = read_spec(spec)
    if spec.batch is None and spec.net is None and spec.replicas is None:
        plans = protocol.plans(path, runs)
    else:
        batch, gaussian = protocol.batch_of(nets.train, str(path))
        plans = protocol.run_plans(batch, max(1, solver.replicas), runs=runs, keep_file=gaussian)
    out = Path(spec.out) if spec.out else default_folder(path.stem, spec.resume)
    if (out / RECORD).exists():
        raise ConfigError(f"--out {out}: holds one run by itself; give another folder for several")
    there = [plan.name for plan in plans if (out / plan.name / RECORD).exists()]
    if there and not spec.resume and not spec.overwrite:
        raise ConfigError(
            f"--out {out}: {', '.join(there)} of it lie there. Go on with them by --resume, "
            "replace them by --overwrite, or give another folder"
        )
    first = 1 if spec.seed is None else spec.seed
    return [
        Job(
            name=plan.name,
            spec=replace(
                spec,
                solver=str(path),
                out=str((out / plan.name).absolute()),
                resume=not spec.overwrite,
                batch=plan.batch,
                filler=plan.filler,
                seed=first + plan.seed - 1,
            ),
            iterations=solver.max_iter,
        )
        for plan in plans
    ]


def summary(outcomes: Sequence[Outcome]) -> str:
    """Mean and standard deviation of the runs' accuracies, in a line.

    A run that diverged counts at chance, as in tables.
    """
    counted = [o for o in outcomes if o.job.name != protocol.FILE_RUN]
    through = [o for o in counted if o.final]
    classes = {o.job.name: _classes(o) for o in through if o.diverged}
    parts = [f"{len(through)} of {len(counted)} runs"]
    finals, wholes = (
        [counted_accuracy(o, classes.get(o.job.name, 0), whole) for o in through]
        for whole in (False, True)
    )
    final, whole = (summarize(v for v in values if math.isfinite(v)) for values in (finals, wholes))
    if final.n:
        parts.append(f"final accuracy {_percent(final)}")
    if whole.n:
        parts.append(f"whole test set {_percent(whole)}")
    for name, among in classes.items():
        how = f"counts at chance, {100 / among:g} %" if among else "is not counted"
        parts.append(f"{name} diverged and {how}")
    return ", ".join(parts)


def _classes(outcome: Outcome) -> int:
    """Classes that the run's net tells apart; 0 where that is not known."""
    return classes_of(read_run(outcome.job.folder))


def _percent(sample: Summary) -> str:
    text = f"{100 * sample.mean:.2f}"
    return f"{text} +- {100 * sample.sd:.2f} %" if sample.n > 1 else f"{text} %"
