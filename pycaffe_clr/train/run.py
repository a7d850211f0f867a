"""A training run in a folder of its own, which a killed run can go on from."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pycaffe_clr.catalog import find_solver
from pycaffe_clr.engine import ready_core
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.train.events import Callback, Callbacks
from pycaffe_clr.train.follow import follows
from pycaffe_clr.train.make import Maker
from pycaffe_clr.train.result import RunResult
from pycaffe_clr.train.run_folder import RunFolder, default_folder
from pycaffe_clr.train.spec import RunSpec, check_names


def run(
    solver: str | Path | None = None,
    *,
    out: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
    console: TextIO | bool | None = None,
    **settings: Any,
) -> RunResult:
    """Train a solver in a folder of its own, as `pycaffe_clr run` does; what came out of it.

    solver: a path, or the name of one that ships. out: the folder, by default runs/SOLVER.
    settings: the other fields of RunSpec; with resume=True the run starts, goes on, or, once it is
    over, is only read. callbacks: objects with any of the methods of Listener, or functions, which
    are called with every Row, TestResult and Snapshot; one ends the run for good by returning
    "stop". console: where the log or a live line goes; True: to stdout.

    Under torchrun or mpirun every process calls this: that of rank 0 makes the run, and the others
    help it and end with it (SystemExit).

    In the main thread Ctrl-C and SIGTERM stop the run, which can be resumed, and then interrupt the
    caller as they would without it. A run that diverges returns its result, too. Raises
    ConfigError, DataError, EngineError; what was trained until then can be resumed.
    """
    check_names(settings)
    spec = RunSpec(
        solver=None if solver is None else os.fspath(solver),
        out=None if out is None else os.fspath(out),
        **settings,
    )
    return train(spec, callbacks=callbacks, console=console)


def train(
    spec: RunSpec,
    *,
    callbacks: Iterable[Callback] = (),
    console: TextIO | bool | None = None,
    owns_process: bool = False,
) -> RunResult:
    """Train as a RunSpec says; see run. owns_process: the process is there for this run only.

    A run that a signal stops then just returns its result, whose record names the signal; a second
    signal may end the process.
    """
    if follows(spec.data_dir):
        raise SystemExit(0)
    path = None if spec.solver is None else find_solver(spec.solver)
    if path is None and (spec.out is None or not spec.resume):
        raise ConfigError("name a solver, or give --resume with the --out of a run")
    stream = (sys.stdout if console else None) if isinstance(console, bool) else console
    out = Path(spec.out) if spec.out else default_folder(Path(str(path)).stem, spec.resume)
    make = Maker(spec, stream, Callbacks(callbacks), owns_process)
    with RunFolder(out) as folder, _threads_kept():
        record = folder.record() if spec.resume else None
        if record is not None and record["state"] != "starting":
            return make.resume(folder, record)
        if path is None:
            raise ConfigError(f"--out {out}: no run lies there; name the solver to start one")
        return make.start(folder, path)


@contextmanager
def _threads_kept() -> Iterator[None]:
    """The caller goes on with as many threads as before."""
    core = ready_core()
    before = core.threads()
    try:
        yield
    finally:
        core.set_threads(before)
