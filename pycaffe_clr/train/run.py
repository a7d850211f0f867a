"""A training run in a folder of its own, which a killed run can go on from."""

from __future__ import annotations

import io
import logging
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pycaffe_clr.catalog import find_solver
from pycaffe_clr.engine import new_seed, ready_core
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import SolverNets, unused_defines
from pycaffe_clr.train import checkpoint, facts, machine, report
from pycaffe_clr.train import folder as files
from pycaffe_clr.train.events import Callback, Callbacks
from pycaffe_clr.train.execute import execute
from pycaffe_clr.train.folder import RunFolder
from pycaffe_clr.train.log import CaffeLog, notes_to
from pycaffe_clr.train.read_spec import read_spec
from pycaffe_clr.train.recorder import Recorder
from pycaffe_clr.train.result import FINAL_STATES, RunResult, read_run
from pycaffe_clr.train.session import Session
from pycaffe_clr.train.spec import RunSpec, check_names, check_resume

_log = logging.getLogger(__name__)


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
    path = None if spec.solver is None else find_solver(spec.solver)
    if path is None and (spec.out is None or not spec.resume):
        raise ConfigError("name a solver, or give --resume with the --out of a run")
    stream = (sys.stdout if console else None) if isinstance(console, bool) else console
    out = Path(spec.out) if spec.out else files.default_folder(Path(str(path)).stem, spec.resume)
    make = _Make(spec, stream, Callbacks(callbacks), owns_process)
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


class _Make:
    """Makes the run that a spec asks for, from its beginning or from where it stopped."""

    def __init__(
        self,
        spec: RunSpec,
        stream: TextIO | None,
        callbacks: Callbacks,
        owns_process: bool,
    ) -> None:
        self.spec = spec
        self.stream = stream
        self.callbacks = callbacks
        self.owns_process = owns_process

    def start(self, folder: RunFolder, path: Path) -> RunResult:
        spec = self.spec
        head = io.StringIO()
        log = CaffeLog(head)
        with notes_to(log):
            solver, nets = _read(spec)
            folder.check_free(spec.overwrite, [path, *nets.paths])
            if spec.threads is not None:
                ready_core().set_threads(spec.threads)
            device = spec.device or "cpu"
            session = _session(solver, nets, device, spec.data_dir, folder, log)
            if spec.snapshot is not None:
                session.restore(spec.snapshot, spec.caffe_resume)
            record = _record(spec, path, solver, session, device)
            record["net_files"] = [str(file.absolute()) for file in nets.paths]
            folder.lock()
            # Another run may have begun here meanwhile.
            folder.check_free(spec.overwrite, [])
            folder.clear(solver.snapshot_prefix)
            folder.write_record(record)
            record["nets"] = files.write_resolved(folder, solver, nets)
            folder.open()
            return self._execute(folder, session, record, head)

    def resume(self, folder: RunFolder, record: dict[str, Any]) -> RunResult:
        spec = self.spec
        check_resume(spec, folder.path, record)
        if record["state"] not in FINAL_STATES:
            folder.lock()
            # It may have ended since it was looked at.
            record = folder.record() or record
        if record["state"] in FINAL_STATES:
            what = "is finished" if record["state"] == "finished" else f"has {record['state']}"
            self._say(f"{folder.path}: this run {what}; --overwrite starts it anew")
            return read_run(folder.path)
        solver, nets = files.read_resolved(folder, record["nets"])
        solver.snapshot_prefix = record["prefix"]
        if spec.max_iter is not None and spec.max_iter != solver.max_iter:
            files.rewrite_max_iter(folder, spec.max_iter)
            solver.max_iter = record["max_iter"] = spec.max_iter
        ready_core().set_threads(spec.threads or int(record["threads"]))
        point = None
        if (folder / files.CHECKPOINT).exists():
            point = checkpoint.read(folder / files.CHECKPOINT)
            # They are in the checkpoint.
            solver.ClearField("weights")
        data_dir = spec.data_dir or record["data_dir"]
        if data_dir is None and record["cwd"] != str(Path.cwd()):
            data_dir = record["cwd"]
        device = spec.device or record["device"]
        head = io.StringIO()
        log = CaffeLog(head) if point is None else CaffeLog()
        # After a checkpoint the log has what was said on building the nets.
        with notes_to(log if point is None else None):
            session = _session(solver, nets, device, data_dir, folder, log)
            if point is None:
                if record["snapshot"] is not None:
                    session.restore(record["snapshot"], record["caffe_resume"])
                folder.open()
                self._say(f"{folder.path}: no checkpoint yet; starting from the beginning")
                return self._execute(folder, session, record, head)
        name = str(folder / files.CHECKPOINT)
        session.set_state(checkpoint.state_of(point, name), name)
        folder.open(point.header["files"])
        with notes_to(log):
            numerics = machine.numerics(ready_core(), session.net)
            for difference in machine.differences(point.header["machine"], numerics):
                _log.warning(
                    "%s since the checkpoint: the run goes on, but not bit for bit", difference
                )
            self._say(f"{folder.path}: going on at iteration {session.iteration}")
            return self._execute(folder, session, record, None, point.header.get("clock"))

    def _execute(
        self,
        folder: RunFolder,
        session: Session,
        record: dict[str, Any],
        head: io.StringIO | None,
        clock: Any = None,
    ) -> RunResult:
        record.update(_measures(session.param, session))
        if head is None and clock is None:
            # A checkpoint of a version that kept no times: speed is measured from here on.
            record["first_iteration"] = session.iteration
        recorder = Recorder(
            self.spec, folder, session, record, head, self.callbacks, self.stream, clock
        )
        return execute(recorder, self.owns_process)

    def _say(self, text: str) -> None:
        if self.stream is not None:
            print(text, file=self.stream)


def _read(spec: RunSpec) -> tuple[Any, SolverNets]:
    """What read_spec gives, ready to be trained in a folder of its own. Raises ConfigError."""
    solver, nets, path, source = read_spec(spec)
    if not solver.max_iter > 0:
        where = source.where("max_iter")
        raise ConfigError(f"{where}: max_iter is not set; give --max-iter N")
    unused = unused_defines(spec.defines, source, *nets.sources)
    if unused:
        raise ConfigError(f"-D {unused[0]}=...: neither solver nor net has this placeholder")
    if spec.seed is not None:
        solver.random_seed = spec.seed
    elif solver.random_seed < 0:
        solver.random_seed = new_seed()
    # Snapshots lie in the run's folder, whatever folder the prefix names.
    solver.snapshot_prefix = Path(solver.snapshot_prefix).name or path.stem
    if spec.weights is not None:
        del solver.weights[:]
        solver.weights.extend(str(Path(w).absolute()) for w in spec.weights.split(","))
    return solver, nets


def _record(
    spec: RunSpec, path: Path, solver: Any, session: Session, device: str
) -> dict[str, Any]:
    """What run.json says of a run that starts."""
    return {
        "state": "starting",
        "solver": str(path.absolute()),
        "name": path.stem,
        "prefix": solver.snapshot_prefix,
        "seed": int(solver.random_seed),
        "replicas": session.replicas,
        "device": device,
        "threads": ready_core().threads(),
        "backend": session.net.backend,
        "processor": machine.processor(),
        "versions": machine.versions(),
        "cwd": str(Path.cwd()),
        "data_dir": None if spec.data_dir is None else str(Path(spec.data_dir).absolute()),
        "weights": spec.weights,
        "snapshot": spec.snapshot,
        "caffe_resume": spec.caffe_resume,
        "defines": spec.defines,
        "sets": spec.sets,
        "spec": spec.to_json(),
        "command": shlex.join(["pycaffe_clr", *spec.words()]),
        "argv": sys.argv,
        "git_commit": facts.git_commit(Path.cwd()),
        "host": facts.host(),
        "first_iteration": session.iteration,
        "labels": dict(spec.labels),
        "max_iter": solver.max_iter,
        "started": machine.now(),
    }


def _measures(solver: Any, session: Session) -> dict[str, Any]:
    """What a run trains on, how much and how. batch: samples of an update; images: of the
    training set."""
    batch, images = session.batch, facts.images(session.feeds)
    return {
        "parameters": facts.parameters(session.net),
        "batch": batch,
        "images": images,
        "epochs": solver.max_iter * batch / images if images and batch else None,
        "settings": report.settings(solver),
        "data": facts.data(session.records.paths),
    }


def _session(
    solver: Any, nets: Any, device: str, data_dir: Any, folder: RunFolder, log: CaffeLog
) -> Session:
    return Session(
        solver,
        nets=nets,
        device=device,
        seed=int(solver.random_seed),
        data_dir=data_dir,
        folder=folder.path,
        log=log,
    )
