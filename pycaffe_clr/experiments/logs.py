"""Any Caffe log as a RunResult: BVLC's of 2014-2018, NVIDIA's, those of the report, our own.

The formats differ in what stands around the same words: `Iteration N ..., loss = x`, `Iteration N,
lr = x ...`, `Iteration N, Testing net (#k)` and `Train|Test net output #i: name = x`. Everything
else is passed over: layers, gradients, stack traces, lines that two processes wrote at once.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.log_header import Header
from pycaffe_clr.experiments.log_rows import (
    Display,
    TestRow,
    metrics_table,
    tests_table,
    timings_table,
)
from pycaffe_clr.train.result import RunResult

_NUMBER = r"[-+]?(?:nan|inf|\d+\.?\d*(?:e[-+]?\d+)?)(?![\w.])"
# What a line must have to be looked at.
_WANTED = re.compile(
    r"Iteration \d|net output #|Test (?:score #|loss: )|Initializing (?:solver|net) from"
    r"|Solving |Using GPUs |_iter_\d+\.solverstate|Optimization (?:Done|stopped)|Check failed"
)
# Between: speed (since 2016) and epochs (NVIDIA's).
_BETWEEN = r"(?: \([^)]*\))?(?:, [\d.]+/[\d.]+ep)?"
_LOSS = re.compile(rf"Iteration (\d+){_BETWEEN}, loss = ({_NUMBER})", re.I)
_SPENT = re.compile(r"iter/s, (\d+\.?\d*(?:e[-+]?\d+)?)s/")
_RATE = re.compile(rf"Iteration (\d+), lr = ({_NUMBER})(.*)", re.I)
_MOMENTUM = re.compile(rf", (?:m|momentum) = ({_NUMBER})", re.I)
_DECAY = re.compile(rf", (?:wd|weight decay) = ({_NUMBER})", re.I)
_TESTING = re.compile(r"Iteration (\d+), Testing net(?: \(#(\d+)\))?")
_OUTPUT = re.compile(
    rf"(Train|Test) net output #(\d+): (\S+) = ({_NUMBER})"
    rf"(?: \(\* {_NUMBER} = ({_NUMBER}) loss\))?",
    re.I,
)
_SNAPSHOT = re.compile(r"Snapshotting .*_iter_(\d+)\.solverstate")
# Early in 2014: outputs without names, and the loss of a test in a line of its own.
_SCORE = re.compile(rf"Test (?:score #(\d+)|(loss)): ({_NUMBER})", re.I)

# Seconds by which lines of several threads may be out of order; more is another session.
_JITTER = 60.0


def read_log(file: str | Path) -> RunResult:
    """Read a training log of any Caffe, compressed by gzip or not, whole or cut off.

    The result's state is "log"; its reason says how the log ends. metrics has a row per display:
    `loss` is the batch's (the sum of its weighted losses), `smoothed_loss` what the log shows as
    the loss; nan where a value was not logged. `weight_decay`, `seconds` and the train net's other
    outputs are columns of their own. The loss that Caffe shows after the last update belongs to
    none and is left out. tests has `seconds`, too. Outputs to which a log of early 2014 gives no
    name are called `score_0`, `score_1`, ...

    seconds: since training began, by glog's clock. Where a log goes back to an earlier iteration,
    or begins anew with another header, the rows from that iteration on are replaced and the clock
    goes on from the last one before it: time between sessions and lost work do not count, nor does
    time that the log's own `(... s/... iters)` leave out. nan where lines carry no time.

    record: `settings` (the solver's text in the header), `net_name`, `net_file`, `fillers` (types
    of the weight fillers), `batch_size` (of one GPU) and `replicas`, each where the log has it.

    A last line without an end may lack half a number and is not used. Raises DataError where the
    file cannot be read or holds no line of a training log.
    """
    path = Path(file)
    return _read(path).result(path)


def read_rows(file: str | Path) -> tuple[list[Display], list[TestRow]]:
    """The displays and tests of a log, which read_log makes tables of. Raises DataError."""
    reader = _read(Path(file))
    tests = [reader.tests[key] for key in sorted(reader.tests)]
    return [reader.rows[at] for at in sorted(reader.rows)], tests


def _read(path: Path) -> _Reader:
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read: {getattr(error, 'strerror', '') or error}"
        ) from error
    reader = _Reader(data.decode("utf-8", errors="replace"))
    if not (reader.rows or reader.tests or reader.header.settings):
        raise DataError(
            f"{path}: holds no line of a training log: expected Caffe's `Iteration 0, loss = ...` "
            "or `Iteration 0, Testing net (#0)`"
        )
    return reader


class _Clock:
    """Seconds by glog's prefix, which has no year: New Year and February 29 show on the way."""

    # Level, month and day (of newer versions: the year before them), time.
    _PREFIX = re.compile(r"[IWEF](?:\d{4})?(\d\d)(\d\d) (\d\d):(\d\d):(\d\d(?:\.\d+)?)\s")
    _LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

    def __init__(self, text: str) -> None:
        leap = re.search(r"^[IWEF](?:\d{4})?0229 ", text, re.MULTILINE) is not None
        lengths = [days + (leap and month == 1) for month, days in enumerate(self._LENGTHS)]
        self._before = [sum(lengths[:month]) for month in range(12)]
        self._year = 86400.0 * sum(lengths)
        self._passed = 0.0
        self._last = -math.inf

    def read(self, line: str) -> float:
        """Seconds since the beginning of the log's first year; nan for a line without a time."""
        found = self._PREFIX.match(line)
        if found is None or not 1 <= int(found[1]) <= 12:
            return math.nan
        days = self._before[int(found[1]) - 1] + int(found[2]) - 1
        seconds = 3600 * int(found[3]) + 60 * int(found[4]) + float(found[5])
        now = self._passed + 86400 * days + seconds
        if now < self._last - self._year / 2:
            self._passed += self._year
            now += self._year
        self._last = now
        return now


class _Reader:
    """Goes over the lines of a log once and keeps what belongs to the course that it ends with."""

    def __init__(self, text: str) -> None:
        self.header = Header()
        self.rows: dict[int, Display] = {}
        self.tests: dict[tuple[int, int], TestRow] = {}
        # Outputs at the top of a log whose head was cut off belong to the row that follows.
        self._row = Display(-1, math.nan)
        self._test: TestRow | None = None
        self._last = -1
        self._now = math.nan
        self._snapshot = 0
        self._begins = True
        self._start = math.nan
        self._base = 0.0
        self._end = ""
        self._clock = _Clock(text)
        lines = text.splitlines(keepends=True)
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines.pop()
        for number, line in enumerate(lines):
            if _WANTED.search(line):
                self._read(line, lines, number)

    def _read(self, line: str, lines: list[str], number: int) -> None:
        if "net output #" in line:
            self._output(line)
        elif "Iteration " in line:
            self._iteration(line)
        elif "Test " in line:
            self._score(line)
        elif "Initializing " in line:
            if "solver" in line and not self._begins:
                self.header, self._begins, self._start = Header(), True, math.nan
            self.header.text(line, lines, number + 1)
        elif "Using GPUs " in line:
            self.header.gpus(line)
        elif "Solving " in line:
            self._start = self._clock.read(line)
        elif found := _SNAPSHOT.search(line):
            self._snapshot = int(found[1])
        elif "Optimization " in line:
            self._end = line[line.index("Optimization ") :].strip().rstrip(".")
        elif "Check failed" in line and not self._end:
            self._end = line[line.index("Check failed") :].strip()

    # --- lines ----------------------------------------------------------------------------------

    def _iteration(self, line: str) -> None:
        if found := _TESTING.search(line):
            iteration, net = int(found[1]), int(found[2] or 0)
            self._test = TestRow(iteration, net, self._go_to(iteration, line))
            self.tests[iteration, net] = self._test
        elif found := _LOSS.search(line):
            if int(found[1]) == self._row.iteration and not math.isnan(self._row.smoothed):
                self._end = "displayed again: another session begins"
            before = self._row
            row = self._at(int(found[1]), line)
            row.smoothed = float(found[2])
            if spent := _SPENT.search(line):
                self._leave_out_pause(before, row, float(spent[1]))
        elif found := _RATE.search(line):
            row = self._at(int(found[1]), line)
            row.lr = float(found[2])
            if momentum := _MOMENTUM.search(found[3]):
                row.momentum = float(momentum[1])
            if decay := _DECAY.search(found[3]):
                row.weight_decay = float(decay[1])
            self.header.nvidia |= ", wd = " in found[3]

    def _at(self, iteration: int, line: str) -> Display:
        """The row of an iteration, to which the outputs that follow belong."""
        seconds = self._go_to(iteration, line)
        if self._row.iteration != iteration:
            outputs = self._row.outputs if self._row.iteration < 0 else {}
            row = Display(iteration, seconds, outputs=outputs)
            self._row = self.rows.setdefault(iteration, row)
        return self._row

    def _go_to(self, iteration: int, line: str) -> float:
        """Seconds at this line. Drops what a session that begins here or goes back does again."""
        now = self._clock.read(line)
        back = iteration < self._last or now < self._now - _JITTER
        if self._begins or self._end or back:
            self.rows = {at: row for at, row in self.rows.items() if at < iteration}
            # A test comes before the update: the one here saw the weights that are gone on with.
            self.tests = {key: test for key, test in self.tests.items() if key[0] <= iteration}
            kept = [row.seconds for row in self.rows.values()]
            kept += [test.seconds for test in self.tests.values()]
            self._base = max(kept, default=0.0)
            if not self._begins or math.isnan(self._start):
                self._start = now
            if self._row.iteration >= iteration:
                self._row = Display(-1, math.nan)
            self._begins, self._test, self._snapshot = False, None, 0
        self._last, self._now, self._end = iteration, now, ""
        return self._base + now - self._start

    def _leave_out_pause(self, before: Display, row: Display, spent: float) -> None:
        """Stop the clock where the log says that far less time was spent since the last display.

        A run that goes on from a checkpoint writes no header and repeats no iteration.
        """
        pause = row.seconds - before.seconds - spent
        if pause > _JITTER + 2 * spent:
            self._start += pause
            row.seconds -= pause
            for test in self.tests.values():
                if before.iteration < test.iteration <= row.iteration:
                    test.seconds = min(test.seconds, row.seconds)

    def _output(self, line: str) -> None:
        found = _OUTPUT.search(line)
        if found is None:
            return
        number, name, value = int(found[2]), found[3], float(found[4])
        # A number that is there already belongs to a row or a test whose beginning was lost.
        if found[1] == "Train":
            weighted = float(found[5]) if found[5] else None
            self._row.outputs.setdefault(number, (name, value, weighted))
        elif self._test is not None:
            self._test.outputs.setdefault(number, (name, value))

    def _score(self, line: str) -> None:
        found = _SCORE.search(line)
        if found is None or self._test is None:
            return
        number = -1 if found[2] else int(found[1])
        name = "loss" if found[2] else f"score_{number}"
        self._test.outputs.setdefault(number, (name, float(found[3])))

    # --- the result -----------------------------------------------------------------------------

    def result(self, path: Path) -> RunResult:
        rows = [self.rows[at] for at in sorted(self.rows)]
        rated = any(not math.isnan(row.lr) for row in rows)
        reached = max([row.iteration + 1 for row in rows] + [at for at, _ in self.tests] + [0])
        if rows and rated and math.isnan(rows[-1].lr):
            # The loss after the last update, or that of an update which the log's end cuts off.
            rows.pop()
            reached -= 1
        reached = max(reached, self._snapshot)
        reason = self._end or f"ends at iteration {self._last}"
        return RunResult(
            name=path.name.removesuffix(".gz").removesuffix(".log"),
            state="log",
            reason=reason,
            path=path,
            iteration=reached,
            max_iter=self.header.number("max_iter"),
            batch=self.header.batch,
            metrics=metrics_table(rows),
            tests=tests_table([self.tests[key] for key in sorted(self.tests)]),
            record=self.header.record(),
            timings=timings_table([*rows, *self.tests.values()]),
        )
