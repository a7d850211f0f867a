"""The runs of the report's training configurations, made on this machine or on a cluster."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pycaffe_clr.catalog import find_solver
from pycaffe_clr.durations import duration
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments import cores, protocol
from pycaffe_clr.experiments import scale as scaling
from pycaffe_clr.experiments.dispatch import exit_code, known_outcome, run_jobs
from pycaffe_clr.experiments.estimate import Estimates, measured_runs
from pycaffe_clr.experiments.jobs import Job, Outcome
from pycaffe_clr.experiments.manifest import Setting, load
from pycaffe_clr.experiments.protocol import RunPlan
from pycaffe_clr.experiments.store import RUNS, Store
from pycaffe_clr.prototxt import read_solver
from pycaffe_clr.train.spec import RunSpec

__all__ = ["default_root", "exit_code", "fitting", "make_jobs", "run_settings"]

# A setting, by its name, with all its runs, or one of its runs.
Choice = str | tuple[str | Setting, str | RunPlan]


def run_settings(
    chosen: Iterable[Choice],
    root: str | Path | None = None,
    *,
    jobs: int | None = None,
    threads: int | None = None,
    within: float | None = None,
    cluster: str | None = None,
    scale: float | None = None,
    follow: bool | None = None,
    **fields: Any,
) -> list[Outcome]:
    """Make the runs that are not final yet, in ROOT/<setting>/<run>; an outcome per run.

    chosen: names of settings, each with all its runs, or (setting, run) pairs; the runs whose
    snapshots others start from come along. root: by default runs/report, or a folder beside it for
    scaled runs. jobs: runs at a time; threads: of each; by default a run per core (cores.share).
    within: seconds; only the cheapest missing runs that fit are made. cluster: "auto" or the
    address of a Ray cluster. scale: everything that much shorter, on small data where the real ones
    are not there. follow: print the lines of the logs. fields: of every RunSpec: data_dir, device,
    checkpoint_every.

    A run that fails does not keep others from being made; see exit_code. Raises ConfigError for
    what is asked wrongly, DataError where nothing can be written or no run has its data.
    """
    made = make_jobs(chosen, root, scale=scale, threads=threads or 1, **fields)
    if within is not None:
        made = fitting(made, within, cores.share(len(made), jobs, threads)[0])
    return run_jobs(made, at_once=jobs, threads=threads, cluster=cluster, follow=follow)


def make_jobs(
    chosen: Iterable[Choice],
    root: str | Path | None = None,
    *,
    scale: float | None = None,
    threads: int = 1,
    **fields: Any,
) -> list[Job]:
    """The jobs of settings and runs, as run_settings takes them; those in front first.

    threads: that their times are estimated for. Makes the small data of a scale. Raises ConfigError
    where a folder holds a run of another scale.
    """
    root = Path(root or default_root(scale)).absolute()
    if fields.get("data_dir") is not None:
        fields["data_dir"] = Path(fields["data_dir"]).absolute()
    pairs = list(with_bases(_pairs(chosen)))
    small: dict[str, Path | None] = {}
    if scale is not None:
        scaling.check(scale)
        for dataset in dict.fromkeys(setting.dataset for setting, _ in pairs):
            small[dataset] = scaling.small_data(
                root / "data", dataset, fields.get("data_dir"), scale
            )
    store = Store([root])
    estimates = Estimates(measured_runs(store, load().settings.values()))
    jobs = []
    for setting, plan in pairs:
        (values,) = protocol.specs(setting, root, runs=(plan,), **fields)
        work = setting.work * plan.batch * setting.replicas / setting.mean_total_batch
        iterations = setting.iterations
        if scale is not None:
            values |= _scaled(setting, plan, root, scale, small[setting.dataset])
            work, iterations = work * scale, int(iterations * scale)
        spec = RunSpec(**values)
        _check_scale(store, setting, plan, spec)
        jobs.append(
            Job(
                name=_name(setting, plan),
                spec=spec,
                seconds=estimates.seconds(setting.net, work, threads),
                memory=estimates.memory(setting.net),
                iterations=iterations,
                after=f"{setting.start[0]}/{plan.name}" if setting.start else None,
            )
        )
    return jobs


def default_root(scale: float | None = None) -> Path:
    """Where runs lie: runs/report, and beside it what is scaled."""
    return RUNS if scale is None else scaling.default_root(RUNS, scale)


def fitting(jobs: Sequence[Job], within: float, slots: int) -> list[Job]:
    """Those that are final, and of the others the cheapest that end within so many seconds.

    slots: runs at a time. A run whose time cannot be estimated does not fit. Raises ConfigError
    where none fits.
    """
    done = {job.name: job for job in jobs if known_outcome(job) is not None}
    missing = [job for job in jobs if job.name not in done and not math.isnan(job.seconds)]
    costs = {job.name: job.seconds for job in missing}
    # A branch costs what its base does, too, and so comes after it.
    missing.sort(key=lambda job: job.seconds + costs.get(job.after or "", 0.0))
    free = [0.0] * slots
    chosen: dict[str, Job] = {}
    ends: dict[str, float] = {}
    for job in missing:
        ready = ends.get(job.after or "", 0.0)
        if job.after is not None and job.after not in (*done, *chosen):
            continue
        end = max(free[0], ready) + job.seconds
        if end <= within:
            heapq.heapreplace(free, end)
            chosen[job.name], ends[job.name] = job, end
    if missing and not chosen:
        raise ConfigError(
            f"no missing run fits into {duration(within)}: the cheapest, {missing[0].name}, takes "
            f"about {duration(missing[0].seconds)}"
        )
    return [*done.values(), *chosen.values()]


def _name(setting: Setting, plan: RunPlan) -> str:
    return f"{setting.name}/{plan.name}"


def _pairs(chosen: Iterable[Choice]) -> Iterator[tuple[Setting, RunPlan]]:
    """Settings and plans themselves for their names. Raises ConfigError for unknown ones."""
    for choice in chosen:
        wanted, run = (choice, None) if isinstance(choice, str) else choice
        setting = load().setting(wanted) if isinstance(wanted, str) else wanted
        if run is None:
            yield from ((setting, plan) for plan in setting.runs)
        elif isinstance(run, RunPlan):
            yield setting, run
        else:
            yield setting, _plan(setting, run)


def _plan(setting: Setting, name: str) -> RunPlan:
    for plan in setting.runs:
        if plan.name == name:
            return plan
    names = ", ".join(plan.name for plan in setting.runs)
    raise ConfigError(f"{setting.name} has no run {name!r}; it has: {names}")


def with_bases(
    pairs: Iterable[tuple[Setting, RunPlan]],
) -> Iterator[tuple[Setting, RunPlan]]:
    """Each pair once, and in front of it the run whose snapshot it starts from."""
    seen: set[str] = set()

    def walk(setting: Setting, plan: RunPlan) -> Iterator[tuple[Setting, RunPlan]]:
        if _name(setting, plan) in seen:
            return
        seen.add(_name(setting, plan))
        if setting.start is not None:
            base = load().setting(setting.start[0])
            yield from walk(base, _plan(base, plan.name))
        yield setting, plan

    for setting, plan in pairs:
        yield from walk(setting, plan)


def _scaled(
    setting: Setting, plan: RunPlan, root: Path, scale: float, data_dir: Path | None
) -> Mapping[str, Any]:
    """What is other in the spec of a scaled run."""
    solver = read_solver(find_solver(setting.name))
    values: dict[str, Any] = {
        "sets": scaling.scaled_sets(solver, scale),
        "labels": {scaling.LABEL: f"{scale:g}"},
    }
    if data_dir is not None:
        values["data_dir"] = data_dir
    if setting.start is not None:
        name, iteration = setting.start
        base = read_solver(find_solver(name))
        at = scaling.scaled_iterations(base, iteration, scale)
        values["snapshot"] = root / name / plan.name / f"{name}_iter_{at}.solverstate"
    return values


def _check_scale(store: Store, setting: Setting, plan: RunPlan, spec: RunSpec) -> None:
    run = store.run(setting.name, plan.name)
    if run is None:
        return
    there, wanted = run.scaled, spec.labels.get(scaling.LABEL)
    if there != wanted:
        raise ConfigError(
            f"{run.folder} holds a run {scaling.words(there)}; for one {scaling.words(wanted)} "
            "give another --root"
        )
