"""The parts of a run by themselves: live line, tables, whole test sets, picture, log."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest

from pycaffe_clr.errors import DataError
from pycaffe_clr.train import machine, session
from pycaffe_clr.train.curve import Captions, draw_curve
from pycaffe_clr.train.evaluate import plan_passes
from pycaffe_clr.train.events import Row
from pycaffe_clr.train.log import CaffeLog
from pycaffe_clr.train.passes import OpTime, time_ops
from pycaffe_clr.train.progress import LiveLine, Speed, Status, line
from pycaffe_clr.train.tables import METRICS, TableWriter, output_columns, read_table


def test_the_live_line_fits_80_columns():
    text = line(Status(7123, 9277, 0.51234, 0.08234, 0.95, 0.9123, 1532.2, 754.0), 80)
    assert text == (
        "7123/9277  loss 0.5123  lr 0.08234  m 0.95  acc 91.23%  1532 img/s  13 min left"
    )
    assert len(text) <= 80
    assert "-" in line(Status(0, 10), 80) and "nan" not in line(Status(0, 10), 80)
    assert len(line(Status(1, 2), 20)) == 20
    assert line(Status(1, 2, doing="testing"), 80).endswith("testing")


def test_speed_is_that_of_the_last_half_minute():
    speed = Speed(30)
    assert math.isnan(speed.per_second())
    for second in range(100):
        speed.note(second * (10 if second < 50 else 20), float(second))
    assert speed.per_second() == pytest.approx(20)


def test_the_live_line_draws_with_rich():
    from rich.console import Console

    stream = io.StringIO()
    with LiveLine(Console(file=stream, force_terminal=True, width=80)) as live:
        live.show(Status(1, 2, 0.5, 0.1, 0.9))
        live.print("iteration 1: test accuracy 0.5")
    assert "1/2  loss 0.5" in stream.getvalue()
    assert "iteration 1: test accuracy 0.5" in stream.getvalue()


@pytest.mark.parametrize(
    ("records", "batch", "passes", "exact"),
    [(10000, 100, 100, True), (10000, 32, 625, True), (10, 4, 5, True), (10007, 100, 101, False)],
)
def test_whole_sets_count_every_record_equally(records, batch, passes, exact):
    assert plan_passes(records, batch) == (passes, exact)
    if exact:
        assert passes * batch % records == 0


def test_tables_read_back_what_was_written(tmp_path: Path):
    names = output_columns(["prob", "loss", "prob"])
    assert names == ["prob[0]", "loss", "prob[1]"]
    with (tmp_path / "tests.csv").open("w") as stream:
        table = TableWriter(stream, ["iteration", "net", *names, "accuracy"], True)
        table.test(
            session.TestResult(5, 0, [("prob", 0.25), ("loss", 1.5), ("prob", 0.75)], 1.5, 0.1)
        )
        stream.write("7,0,0.")  # where a run was killed
    read = read_table(tmp_path / "tests.csv")
    assert read["prob[1]"].tolist() == [0.75] and np.isnan(read["accuracy"][0])
    for name, text in (("bad", "a,b\n1,x\n"), ("long", "a,b\n1,2,3\n"), ("ragged", "a\n1\n2,3\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    for name in ("bad.csv", "long.csv", "ragged.csv", "missing.csv"):
        with pytest.raises(DataError, match=name):
            read_table(tmp_path / name)


def test_a_line_without_an_end_is_not_read(tmp_path: Path):
    """It may lack the rest of a number, also where all its columns are there."""
    path = tmp_path / "metrics.csv"
    whole = "a,b\n1,0.25\n2,0.125\n"
    for length in range(len(whole) + 1):
        path.write_text(whole[:length])
        found = read_table(path)
        rows = max(0, whole[:length].count("\n") - 1)
        assert [column.tolist() for column in found.values()] == (
            [[1, 2][:rows], [0.25, 0.125][:rows]] if length > 3 else []
        )


def test_nine_digits_keep_every_float32(tmp_path: Path):
    values = np.random.default_rng(0).random(50, np.float32)
    with (tmp_path / "metrics.csv").open("w") as stream:
        table = TableWriter(stream, METRICS, True)
        for i, value in enumerate(values):
            table.metrics(Row(i, float(value), float(value), float(value), 0.9))
    assert np.array_equal(read_table(tmp_path / "metrics.csv")["lr"].astype(np.float32), values)


@pytest.mark.parametrize("tests", [None, "iteration,net,accuracy,loss\n0,0,0.1,2.3\n9,0,0.9,0.3\n"])
def test_the_curve_is_drawn_with_and_without_tests(tmp_path: Path, tests):
    rows = "".join(f"{i},{2.3 / (i + 1)},{2.3 / (i + 1)},0.1,0.9\n" for i in range(10))
    (tmp_path / "metrics.csv").write_text(",".join(METRICS) + "\n" + rows)
    path, captions = None, Captions("a run")
    if tests is not None:
        captions = Captions("a run", "1cycle, lr 0.1 to 1", epoch=2.5, whole=0.91)
        path = tmp_path / "tests.csv"
        path.write_text(tests)
    draw_curve(tmp_path / "metrics.csv", path, tmp_path / "curve.png", captions)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "metrics.csv").write_text(",".join(METRICS) + "\n")
    with pytest.raises(DataError, match="no iteration"):
        draw_curve(tmp_path / "metrics.csv", path, tmp_path / "curve.png", captions)


class Broken(io.StringIO):
    """A stream that fails as the system does."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error
        self.name = "train.log"

    def write(self, text: str) -> int:
        raise self.error


def test_a_log_that_cannot_be_written_is_an_error_but_a_closed_pipe_is_not():
    log = CaffeLog(Broken(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match="train.log.*No space left"):
        log.write("text", "a.cpp:1")
    log = CaffeLog(Broken(BrokenPipeError()))
    log.write("text", "a.cpp:1")
    assert log.streams == []


def test_lines_look_like_glogs():
    stream = io.StringIO()
    CaffeLog(stream).rates(200, 0.1159725, 0.95, 0.0001)
    prefix, text = stream.getvalue().split("] ")
    assert text == "Iteration 200, lr = 0.115973, momentum = 0.95, weight decay = 0.0001\n"
    assert prefix.startswith("I") and prefix.endswith("sgd_solver.cpp:212")


def test_machines_are_compared_by_what_changes_bits():
    before = {"threads": 2, "backend": "onednn", "features": "avx2", "model": "A"}
    assert machine.differences(before, {**before, "model": "B"}) == []
    assert machine.differences(before, {**before, "threads": 4}) == ["threads were 2 and are 4"]


def test_times_name_layers_and_copies():
    class Timed:
        def layers(self):
            return [{"name": name} for name in ("conv", "bn", "relu")]

        def time(self):
            return [
                ("conv", "conv", [0], 0.25, 0.5),
                ("copy of data", "copy to host", [0], 0.125, 0.0),
                ("copy of parameter 0 of bn", "copy", [1], 0.5, 0.25),
                ("bn", "norm+relu", [1, 2], 1.0, 2.0),
                ("losses", "losses", [], 0.0, 0.0),
            ]

    ops, total = time_ops(Timed(), 4)
    assert ops == [
        OpTime("conv", "conv", 250, 500),
        OpTime("copy of data to host", "copy to host", 125, 0),
        OpTime("copy of parameter 0 of bn", "copy", 500, 250),
        OpTime("bn+relu", "norm+relu", 1000, 2000),
        OpTime("losses", "losses", 0, 0),
    ]
    assert total > 0
