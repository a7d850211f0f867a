"""`pycaffe_clr run`: one training run in a folder of its own, which a killed run can go on from."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pycaffe_clr.catalog import find_solver
from pycaffe_clr.engine import ready_core
from pycaffe_clr.errors import ConfigError, PycaffeClrError
from pycaffe_clr.prototxt import read_solver, solver_nets, source_of, unused_defines
from pycaffe_clr.train import checkpoint, evaluate, machine, positions, report
from pycaffe_clr.train import folder as files
from pycaffe_clr.train.folder import RunFolder
from pycaffe_clr.train.log import CaffeLog, LogHandler
from pycaffe_clr.train.progress import LiveLine, Speed, Status
from pycaffe_clr.train.session import Diverged, Listener, Row, Session, TestResult
from pycaffe_clr.train.signals import Signals
from pycaffe_clr.train.tables import METRICS, TableWriter, output_columns

_log = logging.getLogger(__name__)


@dataclass
class RunOptions:
    """The flags of `pycaffe_clr run`; None where one was not given."""

    solver: str | None = None
    out: Path | None = None
    resume: bool = False
    overwrite: bool = False
    data_dir: Path | None = None
    device: str | None = None
    threads: int | None = None
    replicas: int | None = None
    weights: str | None = None
    snapshot: str | None = None
    caffe_resume: bool = False
    max_iter: int | None = None
    seed: int | None = None
    checkpoint_every: float | None = None
    whole_test: bool = True
    defines: dict[str, str] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)


# What may not change between a run's start and its resume, as named in run.json.
_FIXED = ("seed", "replicas", "weights", "snapshot", "defines", "sets")
_CHECKPOINT_EVERY = 120.0
_REDRAW_SECONDS = 0.1


def run(options: RunOptions) -> int:
    """Train as the options say; returns the exit code: 0, or 128 + the signal that stopped it.

    Raises ConfigError, DataError, EngineError; what was trained until then can be resumed.
    """
    if options.checkpoint_every is not None and options.checkpoint_every < 0:
        raise ConfigError("--checkpoint-every takes seconds, 0 or more")
    if options.threads is not None and options.threads < 1:
        raise ConfigError(f"--threads must be 1 or more, not {options.threads}")
    if options.resume and options.overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")
    solver = None if options.solver is None else find_solver(options.solver)
    if solver is None and (options.out is None or not options.resume):
        raise ConfigError("name a solver, or give --resume with the --out of a run")
    out = options.out or files.default_folder(Path(str(solver)).stem, options.resume)
    with RunFolder(out) as folder:
        record = folder.record() if options.resume else None
        if record is not None and record["state"] != "starting":
            return _resume(options, folder, record)
        if solver is None:
            raise ConfigError(f"--out {out}: no run lies there; name the solver to start one")
        return _start(options, solver, folder)


# --- beginning and going on ---------------------------------------------------------------------


def _start(options: RunOptions, path: Path, folder: RunFolder) -> int:
    sets = dict(options.sets)
    for name in ("max_iter", "replicas"):
        if getattr(options, name) is not None:
            sets[name] = str(getattr(options, name))
    if options.weights is not None and options.snapshot is not None:
        raise ConfigError("--weights and --snapshot exclude each other: a snapshot has weights")
    solver = read_solver(path, options.defines, sets)
    if not solver.max_iter > 0:
        where = source_of(solver).where("max_iter")
        raise ConfigError(f"{where}: max_iter is not set; give --max-iter N")
    nets = solver_nets(solver, path, options.defines)
    unused = unused_defines(options.defines, solver, nets.train, *nets.tests)
    if unused:
        raise ConfigError(f"-D {unused[0]}=...: neither solver nor net has this placeholder")
    folder.check_free(options.overwrite, [path, *nets.paths])
    if options.seed is not None:
        solver.random_seed = options.seed
    elif solver.random_seed < 0:
        solver.random_seed = int.from_bytes(os.urandom(4), "little") >> 1
    # Snapshots lie in the run's folder, whatever folder the prefix names.
    solver.snapshot_prefix = Path(solver.snapshot_prefix).name or path.stem
    if options.weights is not None:
        del solver.weights[:]
        solver.weights.extend(str(Path(w).absolute()) for w in options.weights.split(","))
    _set_threads(options.threads)
    device = options.device or "cpu"
    buffer = io.StringIO()
    log = CaffeLog(buffer)
    handler = LogHandler(log)
    logging.getLogger("pycaffe_clr").addHandler(handler)
    try:
        session = _session(solver, nets, device, options.data_dir, folder, log)
        if options.snapshot is not None:
            session.restore(options.snapshot, options.caffe_resume)
        record = {
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
            "data_dir": None if options.data_dir is None else str(options.data_dir.absolute()),
            "weights": options.weights,
            "snapshot": options.snapshot,
            "caffe_resume": options.caffe_resume,
            "defines": options.defines,
            "sets": options.sets,
            "max_iter": solver.max_iter,
            "started": _now(),
        }
        folder.lock()
        folder.clear(solver.snapshot_prefix)
        folder.write_record(record)
        record["nets"] = files.write_resolved(folder, solver, path, options.defines)
        folder.open()
        return _Run(options, folder, session, record, buffer).execute()
    finally:
        logging.getLogger("pycaffe_clr").removeHandler(handler)


def _resume(options: RunOptions, folder: RunFolder, record: dict[str, Any]) -> int:
    _check_unchanged(options, folder, record)
    if record["state"] == "finished":
        print(f"{folder.path}: this run is finished; --overwrite starts it anew")
        return 0
    folder.lock()
    solver, nets = files.read_resolved(folder, record["nets"])
    solver.snapshot_prefix = record["prefix"]
    if options.max_iter is not None and options.max_iter != solver.max_iter:
        files.rewrite_max_iter(folder, options.max_iter)
        solver.max_iter = record["max_iter"] = options.max_iter
    _set_threads(options.threads or int(record["threads"]))
    point = None
    if (folder / files.CHECKPOINT).exists():
        point = checkpoint.read(folder / files.CHECKPOINT)
        # They are in the checkpoint.
        solver.ClearField("weights")
    data_dir = options.data_dir or record["data_dir"]
    if data_dir is None and record["cwd"] != str(Path.cwd()):
        data_dir = record["cwd"]
    device = options.device or record["device"]
    buffer = io.StringIO()
    log = CaffeLog(buffer) if point is None else CaffeLog()
    handler = LogHandler(log)
    # After a checkpoint the log has what was said on building the nets.
    if point is None:
        logging.getLogger("pycaffe_clr").addHandler(handler)
    try:
        session = _session(solver, nets, device, data_dir, folder, log)
        if point is None:
            if record["snapshot"] is not None:
                session.restore(record["snapshot"], record["caffe_resume"])
            folder.open()
            print(f"{folder.path}: no checkpoint yet; starting from the beginning")
            return _Run(options, folder, session, record, buffer).execute()
        checkpoint.apply(point, session, str(folder / files.CHECKPOINT))
        folder.open(point.header["files"])
        now = machine.numerics(ready_core(), session.net)
        for difference in machine.differences(point.header["machine"], now):
            _log.warning(
                "%s since the checkpoint: the run goes on, but not bit for bit", difference
            )
        print(f"{folder.path}: going on at iteration {session.iteration}")
        return _Run(options, folder, session, record, None).execute()
    finally:
        logging.getLogger("pycaffe_clr").removeHandler(handler)


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


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        ready_core().set_threads(threads)


def _check_unchanged(options: RunOptions, folder: RunFolder, record: dict[str, Any]) -> None:
    """Raise ConfigError where a flag asks for something else than the run was started with."""
    if options.solver is not None and find_solver(options.solver).stem != record["name"]:
        raise ConfigError(f"{folder.path}: holds a run of {record['name']}, not {options.solver}")
    for name in _FIXED:
        given = getattr(options, name)
        if given is not None and given != {} and given != record[name]:
            raise ConfigError(
                f"{folder.path}: the run was started with {name} {record[name]}, which a resume "
                f"cannot change to {given}"
            )


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


# --- the run itself -----------------------------------------------------------------------------


class _Run(Listener):
    """Writes what the session tells to the run's folder and to the screen.

    head: the log of the session's building, for a run that begins; None for one that goes on.
    """

    def __init__(
        self,
        options: RunOptions,
        folder: RunFolder,
        session: Session,
        record: dict[str, Any],
        head: io.StringIO | None,
    ) -> None:
        self.options = options
        self.folder = folder
        self.session = session
        self.record = record
        self.begins = head is not None
        self.live: LiveLine | None = None
        self.speed = Speed()
        self.status = Status(session.iteration, session.param.max_iter)
        self.batch = positions.samples_per_pass(session.net) * session.param.iter_size
        self._numerics = machine.numerics(ready_core(), session.net)
        every = options.checkpoint_every
        self._every = _CHECKPOINT_EVERY if every is None else every
        self._checkpointed = time.monotonic()
        self._before_tests: dict[str, int] = {}
        self._shown = 0.0
        names: list[str] = []
        for net in session.test_nets:
            elements = [name for name in net.outputs() for _ in range(len(net.read(name)))]
            names += [c for c in output_columns(elements) if c not in names]
        streams = folder.streams
        self.metrics = TableWriter(streams[files.METRICS], METRICS, self.begins)
        columns = ["iteration", "net", *names]
        self.tests = TableWriter(streams[files.TESTS], columns, self.begins)
        if head is not None:
            streams[files.LOG].write(head.getvalue())
        session.log.streams[:] = [streams[files.LOG]]
        session.listener = self

    def execute(self) -> int:
        """Train to the end; the exit code."""
        self.record["state"] = "running"
        self.record.pop("finished", None)
        self.folder.lengths()
        self.folder.write_record(self.record)
        begin, first = time.monotonic(), self.session.iteration
        # An open file stands for a terminal where rich can draw on it.
        if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            self.live = LiveLine()
        else:
            self.session.log.streams.append(sys.stdout)
        print(report.opening(self.session, self.record, self.folder.path, self.batch), flush=True)
        with Signals(self.session) as signals:
            try:
                self._train()
            except Diverged as error:
                self._end("diverged", str(error))
                raise
            except PycaffeClrError as error:
                self._end("failed", str(error))
                raise
            except KeyboardInterrupt:
                self._end("stopped", "at once, by a second signal", draw=False)
                print(f"stopped at once, in iteration {self.session.iteration}")
                if (self.folder / files.CHECKPOINT).exists():
                    print(report.go_on(self.folder.path))
                if signals.received is None:
                    raise
                return signals.exit_code
            stopped = self.session.stopping
            iterations, seconds = self.session.iteration - first, time.monotonic() - begin
            whole = [] if stopped else self._whole_tests()
            self._end("stopped" if stopped else "finished", "", whole)
        for text in report.closing(
            self.record, self.folder.path, iterations, seconds, iterations * self.batch
        ):
            print(text)
        return signals.exit_code if stopped else 0

    def _train(self) -> None:
        self.speed.note(self.session.iteration)
        if self.live is None:
            self._solve()
            return
        with self.live:
            self._solve()

    def _solve(self) -> None:
        if self.begins:
            self.session.solve()
        else:
            self.session.go_on()
        self.session.log.flush()

    def _whole_tests(self) -> list[evaluate.WholeTest | None]:
        if not self.options.whole_test:
            return []
        return [evaluate.whole_test(self.session, i) for i in range(len(self.session.test_nets))]

    def _end(
        self,
        state: str,
        reason: str,
        whole: Sequence[evaluate.WholeTest | None] = (),
        draw: bool = True,
    ) -> None:
        """Write run.json and curve.png. An error on the way here is not hidden by one of these."""
        session, record = self.session, self.record
        record.update(state=state, iteration=session.iteration, finished=_now())
        record["reason"] = reason
        session.log.streams[:] = session.log.streams[:1]
        try:
            self.folder.lengths()
            record["tests"] = report.test_results(self.folder / files.TESTS, session, whole)
            self.folder.write_record(record)
            if draw and report.draw(self.folder, record):
                record["curve"] = files.CURVE
            if state == "finished" and session.param.snapshot_after_train:
                # The last snapshot holds everything that is still of use.
                (self.folder / files.CHECKPOINT).unlink(missing_ok=True)
        except PycaffeClrError as error:
            if not reason:
                raise
            _log.warning("%s", error)

    # --- what the session tells ---------------------------------------------------------------

    def rows(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.metrics.metrics(row)
        if rows:
            last, status = rows[-1], self.status
            status.iteration = last.iteration + 1
            status.loss, status.lr, status.momentum = last.smoothed, last.lr, last.momentum

    def testing(self) -> None:
        self._before_tests = self.folder.lengths()
        self._show("testing")

    def tested(self, result: TestResult) -> None:
        self.tests.test(result)
        accuracy = report.accuracy_of(result.outputs)
        if accuracy is not None:
            self.status.accuracy = accuracy
        if self.live is not None:
            what = evaluate.describe(result.outputs)
            self.live.print(f"iteration {result.iteration}: test {what}")

    def snapshotted(self, weights: Path, state: Path) -> None:
        if self.live is not None:
            self.live.print(f"iteration {self.session.iteration}: wrote {weights} and {state}")

    def idle(self) -> None:
        session = self.session
        self.speed.note(session.iteration)
        session.log.flush()
        self._show("")
        now = time.monotonic()
        if session.stopping or now - self._checkpointed >= self._every:
            self._checkpoint()
            self._checkpointed = time.monotonic()

    def _checkpoint(self) -> None:
        lengths = self.folder.lengths()
        if self.session.test_interrupted:
            # The nets went back to before the tests; so must what was written about them.
            lengths = self._before_tests
        point = checkpoint.take(self.session, lengths, self._numerics)
        checkpoint.write(self.folder / files.CHECKPOINT, point)

    def _show(self, doing: str) -> None:
        now = time.monotonic()
        # Drawing takes a millisecond, which an iteration may take as well.
        if self.live is None or (not doing and now - self._shown < _REDRAW_SECONDS):
            return
        self._shown = now
        status, rate = self.status, self.speed.per_second()
        status.doing = doing
        status.images_per_second = rate * self.batch
        left = status.max_iter - status.iteration
        status.seconds_left = left / rate if rate > 0 else float("nan")
        self.live.show(status)
