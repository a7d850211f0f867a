"""What a run writes while it goes on: to its folder, to the screen, to its callbacks."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from pycaffe_clr.engine import ready_core
from pycaffe_clr.errors import PycaffeClrError
from pycaffe_clr.train import checkpoint, detection, evaluate, facts, machine, run_folder, summary
from pycaffe_clr.train.events import Callbacks, Listener, Row, TestResult
from pycaffe_clr.train.progress import LiveLine, Speed, Status
from pycaffe_clr.train.result import RunResult
from pycaffe_clr.train.run_folder import RunFolder
from pycaffe_clr.train.session import Session
from pycaffe_clr.train.spec import RunSpec
from pycaffe_clr.train.tables import METRICS, TIMINGS, TableWriter, output_columns

_log = logging.getLogger(__name__)
_CHECKPOINT_EVERY = 120.0
_REDRAW_SECONDS = 0.1


class Recorder(Listener):
    """Keeps the folder of a run while its session trains, and tells screen and callbacks.

    record: what run.json says so far. head: the log of the session's building, for a run that
    begins; None for one that goes on. stream: the screen, or None for silence. clock: seconds that
    training and its tests have taken so far. Callbacks get it as the run: `iteration`, `folder`,
    `spec`, `session`, `seconds`, stop(reason).
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: RunFolder,
        session: Session,
        record: dict[str, Any],
        head: io.StringIO | None,
        callbacks: Callbacks,
        stream: TextIO | None = None,
        clock: Sequence[float] | None = None,
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.session = session
        self.record = record
        self.begins = head is not None
        self.stream = stream
        self.live: LiveLine | None = None
        self.speed = Speed()
        self.status = Status(session.iteration, session.param.max_iter)
        self.batch = session.batch
        before, self._test_seconds = clock or (0.0, 0.0)
        self._begun = time.monotonic() - before
        self._stopped_clock = False
        self._timed_at = -1
        self._callbacks = callbacks
        self.gradients = callbacks.gradients
        self.stop_reason: str | None = None
        self._testing = False
        self._numerics = machine.numerics(ready_core(), session.net)
        every = spec.checkpoint_every
        self._every = _CHECKPOINT_EVERY if every is None else every
        self._checkpointed = time.monotonic()
        self._before_tests: dict[str, int] = {}
        self._shown = 0.0
        names: list[str] = []
        for net in session.test_nets:
            elements = detection.columns(net, detection.version_of(session.param))
            names += [c for c in output_columns(elements) if c not in names]
        streams = folder.streams
        self.metrics = TableWriter(streams[run_folder.METRICS], METRICS, self.begins)
        columns = ["iteration", "net", *names]
        self.tests = TableWriter(streams[run_folder.TESTS], columns, self.begins)
        # Also where the checkpoint is of a version that kept no times.
        empty = streams[run_folder.TIMINGS].tell() == 0
        self.timings = TableWriter(streams[run_folder.TIMINGS], TIMINGS, empty)
        if head is not None:
            streams[run_folder.LOG].write(head.getvalue())
        session.log.streams[:] = [streams[run_folder.LOG]]
        session.listener = self

    @property
    def iteration(self) -> int:
        """Updates made so far."""
        return self.session.iteration

    @property
    def seconds(self) -> float:
        """Seconds of training so far, tests included, over all resumes."""
        return time.monotonic() - self._begun

    def stop(self, reason: str = "") -> None:
        """End the run for good after the current iteration, or test: it cannot be resumed."""
        if self.stop_reason is None:
            self.stop_reason = reason or "a callback asked for it"
        if not self._testing:
            self.session.stop()

    def begin(self) -> None:
        """Say in run.json and on the screen that the run goes on from here."""
        self.record["state"] = "running"
        for name in ("finished", "reason", "signal"):
            self.record.pop(name, None)
        self.folder.lengths()
        self.folder.write_record(self.record)
        if self.stream is not None:
            # An open file stands for a terminal where rich can draw on it.
            if getattr(self.stream, "isatty", bool)() and os.environ.get("TERM") != "dumb":
                self.live = LiveLine(stream=self.stream)
            else:
                self.session.log.streams.append(self.stream)
        self.say(summary.opening(self.session, self.record, self.folder.path, self.batch))
        if self.begins:
            self._time(self.session.iteration)
        self._callbacks.started(self)

    def train(self) -> None:
        """Train the session to its end. Raises Diverged."""
        self.speed.note(self.session.iteration)
        with self.live or contextlib.nullcontext():
            if self.begins:
                self.session.solve()
            else:
                self.session.go_on()
            self.session.log.flush()

    def whole_tests(self) -> list[evaluate.WholeTest | None]:
        """The test nets on their whole databases, where that is wanted."""
        if not self.spec.whole_test:
            return []
        return [evaluate.whole_test(self.session, i) for i in range(len(self.session.test_nets))]

    def end(
        self,
        state: str,
        reason: str = "",
        whole: Sequence[evaluate.WholeTest | None] = (),
        received: int | None = None,
        at_once: bool = False,
    ) -> None:
        """Write run.json and curve.png; an end at once has no picture. received: the signal that
        ended the run.

        Raises DataError, but on the way from another error, which must not be hidden.
        """
        session, record = self.session, self.record
        record.update(state=state, iteration=session.iteration, finished=machine.now())
        record["reason"] = reason
        if received is not None:
            record["signal"] = int(received)
        session.log.streams[:] = session.log.streams[:1]
        try:
            self.note_speed()
            self.folder.lengths()
            record["tests"] = summary.test_results(self.folder / run_folder.TESTS, session, whole)
            # Written before the picture, which takes a while, and after it.
            self.folder.write_record(record)
            if not at_once and self.spec.curve and summary.draw(self.folder, record):
                record["curve"] = run_folder.CURVE
                self.folder.write_record(record)
            if state == "diverged" or (
                state in ("finished", "ended early") and session.param.snapshot_after_train
            ):
                # Nothing goes on from here, and the last snapshot holds what is still of use.
                (self.folder / run_folder.CHECKPOINT).unlink(missing_ok=True)
        except PycaffeClrError as error:
            if state != "failed" and not at_once:
                raise
            _log.warning("%s", error)

    def ended(self, result: RunResult) -> None:
        """Tell the callbacks what came out."""
        self._callbacks.ended(result)

    def say(self, text: str) -> None:
        """A line on the screen, if there is one."""
        if self.stream is not None:
            print(text, file=self.stream, flush=True)

    def note_speed(self) -> None:
        """What run.json says of the time that training took, and how far it came by then."""
        if self._stopped_clock:
            return
        self._stopped_clock = True
        session, record = self.session, self.record
        seconds, tests = self.seconds, self._test_seconds
        self._time(session.iteration)
        record.update(seconds=round(seconds, 6), test_seconds=round(tests, 6))
        samples = (session.iteration - record.get("first_iteration", 0)) * self.batch
        if samples and seconds > tests:
            record["images_per_second"] = round(samples / (seconds - tests), 1)
        record["peak_memory_bytes"] = facts.peak_memory()
        loss = self.status.loss
        record["train_loss"] = loss if math.isfinite(loss) else None

    def _time(self, iteration: int) -> None:
        """A row of timings.csv, unless there is one of this iteration."""
        if iteration != self._timed_at:
            self._timed_at = iteration
            self.timings.timing(iteration, self.seconds, self._test_seconds)

    # --- what the session tells ---------------------------------------------------------------

    def rows(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.metrics.metrics(row)
        if rows:
            last, status = rows[-1], self.status
            status.iteration = last.iteration + 1
            status.loss, status.lr, status.momentum = last.smoothed, last.lr, last.momentum
            if last.outputs:
                self._time(last.iteration + 1)
            self._callbacks.rows(rows)

    def testing(self) -> None:
        self._before_tests = self.folder.lengths()
        self._testing = True
        self._show("testing")
        self._callbacks.testing()

    def tested(self, result: TestResult) -> None:
        self.tests.test(result)
        self._test_seconds += result.seconds
        accuracy = summary.accuracy_of(result.outputs)
        if accuracy is not None:
            self.status.accuracy = accuracy
        if self.live is not None:
            what = evaluate.describe(result.outputs)
            self.live.print(f"iteration {result.iteration}: test {what}")
        self._callbacks.tested(result)

    def tests_done(self) -> None:
        self._callbacks.tests_done()
        self._testing = False
        self._time(self.session.iteration)
        if self.stop_reason is not None:
            # Asked for between two test nets, where stopping would undo the tests.
            self.session.stop()

    def snapshotted(self, weights: Path, state: Path) -> None:
        if self.live is not None:
            self.live.print(f"iteration {self.session.iteration}: wrote {weights} and {state}")
        self._callbacks.snapshotted(weights, state)

    def idle(self) -> None:
        session = self.session
        self.speed.note(session.iteration)
        session.log.flush()
        self._show("")
        self._callbacks.idle()
        now = time.monotonic()
        stopped = session.stopping and self.stop_reason is None
        if stopped or now - self._checkpointed >= self._every:
            self._checkpoint()
            self._checkpointed = time.monotonic()

    def _checkpoint(self) -> None:
        lengths = self.folder.lengths()
        if self.session.test_interrupted:
            # The nets went back to before the tests; so must what was written about them.
            lengths = self._before_tests
        clock = [self.seconds, self._test_seconds]
        state = self.session.state()
        point = checkpoint.of_state(state, files=lengths, machine=self._numerics, clock=clock)
        checkpoint.write(self.folder / run_folder.CHECKPOINT, point)

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
