"""The log as tools for Caffe read it, and the lines that Caffe writes at steps of the rate."""

from __future__ import annotations

import io
import re
from datetime import datetime
from pathlib import Path

import pytest
from train_cases import make_case

from pycaffe_clr.experiments.logs import read_log
from pycaffe_clr.prototxt import read_solver
from pycaffe_clr.train.log import CaffeLog
from pycaffe_clr.train.run import run
from pycaffe_clr.train.session import Session
from pycaffe_clr.train.tables import read_table

NUMBER = r"[-+]?[\d.]+(?:[eE][-+]?\d+)?"
# Out of order, as one of the report's runs has them: the last is taken one iteration late.
MULTISTEP = """
lr_policy: "multistep" gamma: 0.1 stepvalue: 10 stepvalue: 15 stepvalue: 12
max_iter: 30
"""


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny solver with a multistep policy, in the working directory."""
    monkeypatch.chdir(tmp_path)
    solver = make_case(tmp_path)
    dropped = re.sub(r"(lr_policy|max_lr|stepsize|max_iter|cyclical_momentum): .*", "",
                     solver.read_text())  # fmt: skip
    solver.write_text(dropped + MULTISTEP)
    return solver


class ParsedLog:
    """What Caffe's tools/extra/parse_log.py finds in a log, by the rules it goes by.

    train, test: {iteration: {output: value, "lr": value, "seconds": since the line `Solving`}}.
    """

    def __init__(self, text: str) -> None:
        self.train: dict[float, dict[str, float]] = {}
        self.test: dict[float, dict[str, float]] = {}
        start = next(line for line in text.splitlines() if "Solving" in line)
        begin = self.time(start)
        iteration, rate = -1.0, float("nan")
        for line in text.splitlines():
            if found := re.search(r"Iteration (\d+)", line):
                iteration = float(found[1])
            if iteration < 0:
                continue
            seconds = self.time(line)
            if found := re.search(rf"lr = ({NUMBER})", line):
                rate = float(found[1])
            for kind, rows in (("Train", self.train), ("Test", self.test)):
                if found := re.search(rf"{kind} net output #(\d+): (\S+) = ([.\deE+-]+)", line):
                    row = rows.setdefault(iteration, {"lr": rate, "seconds": seconds - begin})
                    row[found[2]] = float(found[3])

    @staticmethod
    def time(line: str) -> float:
        """Seconds since the epoch by glog's first two words; the year is the file's in Caffe."""
        day, clock = line.split()[:2]
        return datetime.strptime(f"2024{day[1:]} {clock}", "%Y%m%d %H:%M:%S.%f").timestamp()


def test_caffes_parser_reads_the_log(case):
    assert run(str(case), out="out", threads=1).state == "finished"
    log = ParsedLog(Path("out/train.log").read_text())
    metrics, tests = read_table("out/metrics.csv"), read_table("out/tests.csv")
    assert list(log.train) == [0, 10, 20]
    for iteration, row in log.train.items():
        assert row["loss"] == pytest.approx(metrics["loss"][int(iteration)], rel=1e-5)
        # The parser reads the rate after the outputs that it belongs to: it is one display late.
        if iteration:
            assert row["lr"] == pytest.approx(metrics["lr"][int(iteration) - 10], rel=1e-5)
        assert 0 <= row["seconds"] < 100
    assert list(log.test) == tests["iteration"].tolist() == [0, 20]
    for row, accuracy, loss in zip(
        log.test.values(), tests["accuracy"], tests["loss"], strict=True
    ):
        assert row["accuracy"] == pytest.approx(accuracy, rel=1e-5)
        assert row["loss"] == pytest.approx(loss, rel=1e-5)


def test_our_own_reader_reads_the_log(case):
    assert run(str(case), out="out", threads=1).state == "finished"
    log = read_log("out/train.log")
    metrics, tests = read_table("out/metrics.csv"), read_table("out/tests.csv")
    shown = log.metrics["iteration"].astype(int)
    assert shown.tolist() == [0, 10, 20]
    for name in ("loss", "smoothed_loss", "lr", "momentum"):
        assert log.metrics[name] == pytest.approx(metrics[name][shown], rel=1e-5)
    for name in ("iteration", "net", "accuracy", "loss"):
        assert log.tests[name] == pytest.approx(tests[name], rel=1e-5)
    assert (log.iteration, log.max_iter, log.batch) == (30, 30, 6)
    assert log.record["net_file"] == "net.prototxt"
    assert (log.metrics["seconds"] >= 0).all() and (log.metrics["seconds"] < 100).all()


def test_caffes_shell_scripts_find_their_columns(case):
    """parse_log.sh takes the 9th word of lines with a rate and the 11th of a test's outputs."""
    assert run(str(case), out="out", threads=1).state == "finished"
    lines = Path("out/train.log").read_text().splitlines()
    rates = [line.split()[8].rstrip(",") for line in lines if ", lr = " in line]
    assert [float(rate) for rate in rates] == pytest.approx([0.01, 0.001, 1e-5], rel=1e-6)
    first = [line.split()[10] for line in lines if "Test net output #0" in line]
    assert [float(x) for x in first] == pytest.approx(
        read_table("out/tests.csv")["accuracy"].tolist(), rel=1e-5
    )
    assert sum("] Solving tiny" in line for line in lines) == 1


def messages(stream: io.StringIO) -> list[str]:
    return [line.split("] ", 1)[-1] for line in stream.getvalue().splitlines()]


def test_steps_of_the_rate_are_logged_where_they_are_taken(case):
    stream = io.StringIO()
    session = Session(read_solver(case), path=case, log=CaffeLog(stream))
    session.step(16)
    session.snapshot()
    session.step(14)
    said = messages(stream)
    steps = ["MultiStep Status: Iteration 10, step = 1", "MultiStep Status: Iteration 15, step = 2",
             "MultiStep Status: Iteration 16, step = 3"]  # fmt: skip
    assert [line for line in said if line.startswith("MultiStep")] == steps
    # As in Caffe, which asks for the rate once it has displayed the outputs.
    at = said.index(steps[0])
    assert said[at - 1].startswith("    Train net output")
    assert said[at + 1].startswith("Iteration 10, lr = 0.001, ")

    stream = io.StringIO()
    session = Session(read_solver(case), path=case, log=CaffeLog(stream))
    session.restore("elsewhere/tiny_iter_16.solverstate")
    session.step(14)
    assert [line for line in messages(stream) if line.startswith("MultiStep")] == steps[2:]


def test_the_nets_are_told_as_caffe_tells_them(case):
    stream = io.StringIO()
    Session(read_solver(case), path=case, log=CaffeLog(stream))
    said = messages(stream)
    places = [
        said.index(line)
        for line in (
            "Creating training net from net file: net.prototxt",
            "Creating layer conv",
            "Creating Layer conv",
            "conv <- data",
            "conv -> conv",
            "Setting up conv",
            "Top shape: 6 4 6 6 (864)",
            "conv needs backward computation.",
            "data does not need backward computation.",
            "This network produces output loss",
            "Network initialization done.",
            "Creating test net (#0) specified by net file: net.prototxt",
            "This network produces output accuracy",
            "Solver scaffolding done.",
        )
    ]
    assert places == sorted(places)
    outputs = [line for line in said if line.startswith("This network produces output")]
    assert [line.split()[-1] for line in outputs] == ["loss", "accuracy", "loss"]


@pytest.mark.parametrize(
    ("fields", "train", "test"),
    [
        ('train_net: "net.prototxt" test_net: "net.prototxt"', "from train_net file: net.prototxt",
         "test_net file: net.prototxt"),
        ('net: "net.prototxt"', "from net file: net.prototxt", "net file: net.prototxt"),
        ("net_param { %s }", "specified in net_param.", "net_param"),
        ("train_net_param { %s } test_net_param { %s }", "specified in train_net_param.",
         "test_net_param"),
    ],
)  # fmt: skip
def test_the_log_says_where_nets_come_from(case, fields, train, test):
    text = case.read_text().replace('net: "net.prototxt"', "")
    case.write_text(fields.replace("%s", Path("net.prototxt").read_text()) + text)
    stream = io.StringIO()
    Session(read_solver(case), path=case, log=CaffeLog(stream))
    said = messages(stream)
    assert f"Creating training net {train}" in said
    assert f"Creating test net (#0) specified by {test}" in said


def test_outputs_are_numbered_in_the_order_of_their_names(case):
    """Caffe takes them from a std::set, whatever the order of the layers that make them."""
    text = Path("net.prototxt").read_text()
    Path("net.prototxt").write_text(text.replace('top: "accuracy"', 'top: "right"'))
    stream = io.StringIO()
    Session(read_solver(case), path=case, log=CaffeLog(stream)).step(1)
    said = messages(stream)
    outputs = [line.split(" = ")[0] for line in said if "Test net output" in line]
    assert outputs == ["    Test net output #0: loss", "    Test net output #1: right"]
    assert [line.split()[-1] for line in said if "produces output" in line] == [
        "loss", "loss", "right",
    ]  # fmt: skip
