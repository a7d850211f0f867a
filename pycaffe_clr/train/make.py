"""A run made from what is asked for, in a folder: begun, or gone on with where it stopped."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pycaffe_clr import devices
from pycaffe_clr.engine import new_seed, ready_core
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import SolverNets, unused_defines
from pycaffe_clr.train import checkpoint, describe, machine, run_folder
from pycaffe_clr.train.events import Callbacks
from pycaffe_clr.train.execute import execute
from pycaffe_clr.train.log import CaffeLog, notes_to
from pycaffe_clr.train.ranks import Before, Ranks, ranks_of, share_replicas
from pycaffe_clr.train.read_spec import read_spec
from pycaffe_clr.train.recorder import Recorder
from pycaffe_clr.train.result import FINAL_STATES, RunResult, read_run
from pycaffe_clr.train.run_folder import RunFolder
from pycaffe_clr.train.session import Session
from pycaffe_clr.train.spec import RunSpec, check_resume

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter
    from pycaffe_clr.train.team import Team

_log = logging.getLogger(__name__)


class Maker:
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
        """Begin a run of the solver at `path`. Raises what training raises."""
        spec = self.spec
        head = io.StringIO()
        log = CaffeLog(head)
        with notes_to(log):
            solver, nets = _read(spec)
            folder.check_free(spec.overwrite, [path, *nets.paths])
            device, note = spec.device, ""
            if device is None:
                device, _, note = devices.of_solver(solver)
                _tell_device(log, device, note)
            ranks = ranks_of(device, spec.ranks)
            share_replicas(solver, ranks.number)
            self._set_threads(ranks, None)
            with ranks.team() as team:
                session = self._session(
                    solver, nets, ranks, team, spec.precision, spec.data_dir, folder, log
                )
                if spec.snapshot is not None:
                    session.restore(spec.snapshot, spec.caffe_resume)
                record = describe.start(spec, path, solver, session, ranks.device)
                record["device_note"] = note
                record["net_files"] = [str(file.absolute()) for file in nets.paths]
                folder.lock()
                # Another run may have begun here meanwhile.
                folder.check_free(spec.overwrite, [])
                folder.clear(solver.snapshot_prefix)
                folder.write_record(record)
                record["nets"] = run_folder.write_resolved(folder, solver, nets)
                folder.open()
                return self._execute(folder, session, record, head, team=team)

    def resume(self, folder: RunFolder, record: dict[str, Any]) -> RunResult:
        """Go on with the run whose record lies there; read it where it is over."""
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
        solver, nets = run_folder.read_resolved(folder, record["nets"])
        solver.snapshot_prefix = record["prefix"]
        if spec.max_iter is not None and spec.max_iter != solver.max_iter:
            run_folder.rewrite_max_iter(folder, spec.max_iter)
            solver.max_iter = record["max_iter"] = spec.max_iter
        before = Before(int(record.get("ranks", 1)), record["device"])
        ranks = ranks_of(spec.device or before.device, spec.ranks, before)
        share_replicas(solver, ranks.number)
        self._set_threads(ranks, record)
        path = folder / run_folder.CHECKPOINT
        point = checkpoint.read(path) if path.exists() else None
        with ranks.team() as team:
            again = partial(self._session_again, ranks, team, folder, record, solver, nets)
            if point is not None:
                solver.ClearField("weights")  # the checkpoint has them
                return self._go_on(folder, record, again, team, point)
            return self._begin_again(folder, record, again, team)

    def _set_threads(self, ranks: Ranks, record: Mapping[str, Any] | None) -> None:
        """As many as asked for, as the run had that is resumed, or as the ranks have cores."""
        core = ready_core()
        threads = self.spec.threads
        if threads is None and record is not None and record.get("ranks", 1) == ranks.number:
            threads = int(record["threads"])
        if threads is None and ranks.number > 1:
            threads = ranks.threads(core.threads())
        if threads is not None:
            core.set_threads(threads)

    def _begin_again(
        self,
        folder: RunFolder,
        record: dict[str, Any],
        again: Callable[[CaffeLog], Session],
        team: Team | None,
    ) -> RunResult:
        """Resume a run that was stopped before its first checkpoint."""
        head = io.StringIO()
        log = CaffeLog(head)
        with notes_to(log):
            _tell_device(log, record["device"], record.get("device_note", ""))
            session = again(log)
            if record["snapshot"] is not None:
                session.restore(record["snapshot"], record["caffe_resume"])
            folder.open()
            self._say(f"{folder.path}: no checkpoint yet; starting from the beginning")
            return self._execute(folder, session, record, head, team=team)

    def _go_on(
        self,
        folder: RunFolder,
        record: dict[str, Any],
        again: Callable[[CaffeLog], Session],
        team: Team | None,
        point: checkpoint.Checkpoint,
    ) -> RunResult:
        """Resume a run from its checkpoint."""
        log = CaffeLog()
        # The log has what was said on building the nets.
        with notes_to(None):
            session = again(log)
        name = str(folder / run_folder.CHECKPOINT)
        session.set_state(checkpoint.state_of(point, name), name)
        folder.open(point.header["files"])
        with notes_to(log):
            numerics = machine.numerics(ready_core(), session.net)
            for difference in machine.differences(point.header["machine"], numerics):
                _log.warning(
                    "%s since the checkpoint: the run goes on, but not bit for bit", difference
                )
            self._say(f"{folder.path}: going on at iteration {session.iteration}")
            clock = point.header.get("clock")
            return self._execute(folder, session, record, None, clock, team)

    def _session_again(
        self,
        ranks: Ranks,
        team: Team | None,
        folder: RunFolder,
        record: dict[str, Any],
        solver: SolverParameter,
        nets: SolverNets,
        log: CaffeLog,
    ) -> Session:
        data_dir = self.spec.data_dir or record["data_dir"]
        if data_dir is None and record["cwd"] != str(Path.cwd()):
            data_dir = record["cwd"]
        device, precision = self.spec.device or record["device"], self.spec.precision
        if precision is None and device == record["device"]:
            precision = record.get("precision")
        return self._session(solver, nets, ranks, team, precision, data_dir, folder, log)

    def _session(
        self,
        solver: SolverParameter,
        nets: SolverNets,
        ranks: Ranks,
        team: Team | None,
        precision: str | None,
        data_dir: str | None,
        folder: RunFolder,
        log: CaffeLog,
    ) -> Session:
        """The session of this process, and the order for the others."""
        seed = int(solver.random_seed)
        if team is not None:
            if self.callbacks.gradients is not None:
                raise ConfigError(
                    "a callback changes gradients, which it would do on one of the ranks only: "
                    "leave ranks out"
                )
            team.order(solver, nets.train, seed, ranks, precision, data_dir)
        return Session(
            solver,
            nets=nets,
            device=ranks.own,
            precision=precision,
            seed=seed,
            group=team.group if team else None,
            data_dir=data_dir,
            folder=folder.path,
            log=log,
        )

    def _execute(
        self,
        folder: RunFolder,
        session: Session,
        record: dict[str, Any],
        head: io.StringIO | None,
        clock: Sequence[float] | None = None,
        team: Team | None = None,
    ) -> RunResult:
        if team is not None:
            team.begin(session)
        record.update(describe.measures(session.param, session))
        if head is None and clock is None:
            # A checkpoint of a version that kept no times: speed is measured from here on.
            record["first_iteration"] = session.iteration
        recorder = Recorder(
            self.spec, folder, session, record, head, self.callbacks, self.stream, clock
        )
        return execute(recorder, self.owns_process, team)

    def _say(self, text: str) -> None:
        if self.stream is not None:
            print(text, file=self.stream)


def _read(spec: RunSpec) -> tuple[SolverParameter, SolverNets]:
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


def _tell_device(log: CaffeLog, device: str, note: str) -> None:
    """The line of a device that solver_mode chose, where Caffe tells of it."""
    if note:
        log.write(note, "caffe.cpp:197" if device == "cpu" else "caffe.cpp:218")
