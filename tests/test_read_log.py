"""read_log: logs of every Caffe, whole, cut off, resumed and damaged."""

from __future__ import annotations

import gzip
import json
import random
import time
from pathlib import Path

import numpy as np
import pytest

import pycaffe_clr
from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.logs import read_log

GOLDEN = Path(__file__).resolve().parent / "golden" / "trajectories"

EARLY_2014 = """\
I0301 10:00:00.000000  9167 solver.cpp:41] Solving LeNet
I0301 10:00:00.500000  9167 solver.cpp:119] Iteration 0, Testing net
I0301 10:00:01.000000  9167 solver.cpp:141] Test loss: 2.31
I0301 10:00:01.000001  9167 solver.cpp:145] Test score #0: 0.1013
I0301 10:00:01.000002  9167 solver.cpp:145] Test score #1: 2.3076
I0301 10:00:04.672341  9167 solver.cpp:208] Iteration 200, lr = 0.01
I0301 10:00:04.672637  9167 solver.cpp:65] Iteration 200, loss = 6.55622
I0301 10:00:04.978760  9167 solver.cpp:130] Snapshotting to caffe_train_iter_200
I0301 10:00:05.657246  9167 solver.cpp:137] Snapshotting solver state to caffe_iter_200.solverstate
I0301 10:00:21.206111  9167 solver.cpp:208] Iteration 220, lr = 0.01
I0301 10:00:21.206112  9167 solver.cpp:65] Iteration 220, loss = nan
"""
OF_2015 = """\
I0529 17:21:44.552700 25389 solver.cpp:226] Solving LogisticRegressionNet
I0529 17:21:44.552711 25389 solver.cpp:227] Learning Rate Policy: step
I0529 17:21:44.552723 25389 solver.cpp:270] Iteration 0, Testing net (#0)
I0529 17:21:44.554693 25389 solver.cpp:319]     Test net output #0: accuracy = 0.5252
I0529 17:21:44.554721 25389 solver.cpp:319]     Test net output #1: loss = 0.692741 (* 1 = 0.692741 loss)
I0529 17:21:44.554754 25389 solver.cpp:189] Iteration 0, loss = 0.689532
I0529 17:21:44.554772 25389 solver.cpp:204]     Train net output #0: loss = 0.689531 (* 1 = 0.689531 loss)
I0529 17:21:44.554792 25389 solver.cpp:467] Iteration 0, lr = 0.01
I0529 17:21:46.562496 25389 solver.cpp:334] Snapshotting to binary proto file x_iter_1000.caffemodel
I0529 17:21:46.562497 25389 solver.cpp:342] Snapshotting solver state to binary proto file x_iter_1000.solverstate
I0529 17:21:46.562498 25389 solver.cpp:289] Iteration 1000, loss = 0.561665
I0529 17:21:46.562499 25389 solver.cpp:270] Iteration 1000, Testing net (#0)
I0529 17:21:46.564299 25389 solver.cpp:319]     Test net output #0: accuracy = 0.7456
I0529 17:21:46.564323 25389 solver.cpp:319]     Test net output #1: loss = 0.610764 (* 1 = 0.610764 loss)
I0529 17:21:46.564324 25389 solver.cpp:294] Optimization Done.
"""  # noqa: E501
NVIDIA = """\
I0329 06:59:50.000000     1 caffe.cpp:204] Using GPUs 0, 1
I0329 06:59:52.000000     1 solver.cpp:43] Solver data type: FLOAT
I0329 06:59:52.000001     1 net.cpp:71] Initializing net from parameters:
name: "small"
layer { data_param { batch_size: 64 } }
I0329 06:59:53.000000     1 solver.cpp:295] Solving small
I0329 06:59:53.100000     1 solver.cpp:340] [0] Iteration 2 (97.3 iter/s, 0.02s/2 iter), 0.1/12ep, loss = 2.5
I0329 06:59:53.100001     1 solver.cpp:356] [0]     Train net output #0: loss = 2.4 (* 1 = 2.4 loss)
I0329 06:59:53.100002     1 sgd_solver.cpp:161] [0] Iteration 2, lr = 9.99e-05, m = 0.9, wd = 0.0005, gs = 1
I0329 06:59:53.100003     2 sgd_solver.cpp:161] [1] Iteration 2, lr = 9.99e-05, m = 0.9, wd = 0.0005, gs = 1
I0329 06:59:55.182549     1 solver.cpp:334] Iteration 100 (497.307 iter/s, 0.197061s/98 iter), loss = 2.18689
I0329 06:59:55.182579     1 solver.cpp:356]     Train net output #0: loss = 2.18689 (* 1 = 2.18689 loss)
I0329 06:59:55.182588     1 sgd_solver.cpp:161] Iteration 100, lr = 9.92565e-05, m = 0.9, wd = 0.0005, gs = 1
I0329 06:59:55.200000     1 solver.cpp:546] Iteration 100, Testing net (#0)
I0329 06:59:56.200000     1 solver.cpp:631]     Test net output #0: top-1 = 0.25
I0329 06:59:56.200001     1 solver.cpp:631]     Test net output #1: top-5 = 0.75
I0329 06:59:56.200002     1 solver.cpp:631]     Test net output #2: loss = 2.25 (* 1 = 2.25 loss)
I0329 06:59:56.200003     1 caffe.cpp:200] Tested 100 batches
"""  # noqa: E501
HEAD = """\
I1231 23:59:00.000000 131744 caffe.cpp:218] Using GPUs 0, 1, 2, 3
I1231 23:59:00.000001 131744 solver.cpp:44] Initializing solver from parameters:
test_iter: 200
test_interval: 100
base_lr: 0.1
max_iter: 7080
snapshot_prefix: "elsewhere"
net: "nets/gResnet56.prototxt"
I1231 23:59:01.000000 131744 net.cpp:51] Initializing net from parameters:
name: "Cifar-Resnet"
layer {
  data_param {
    batch_size: 131
  }
  convolution_param {
    weight_filler {
      type: "xavier"
    }
  }
I1231 23:59:02.000000 131744 layer_factory.hpp:77] Creating layer dataLayer
I1231 23:59:03.000000 131745 solver.cpp:44] Initializing solver from parameters:
max_iter: 1
I1231 23:59:04.000000 131744 net.cpp:51] Initializing net from parameters:
layer { data_param { batch_size: 32 } }
I1231 23:59:50.000000 131744 solver.cpp:273] Solving Cifar-Resnet
"""


def display(clock: str, iteration: int, loss: float, lr: float, raw: float | None = None) -> str:
    """One display in the format of the report's logs, with the lines between that they have."""
    raw = loss if raw is None else raw
    return (
        f"I{clock} 131744 solver.cpp:218] Iteration {iteration} (3.2 iter/s, 30.8s/100 iters), "
        f"loss = {loss}\n"
        f"I{clock} 131744 solver.cpp:237]     Train net output #0: accuracy_training = 0.5\n"
        f"I{clock} 131744 solver.cpp:237]     Train net output #1: loss = {raw} "
        f"(* 1 = {raw} loss)\n"
        f"I{clock} 131744 sgd_solver.cpp:212] Iteration {iteration}, lr = {lr}, momentum = 0.95, "
        "weight decay = 0.0001\n"
        f"I{clock} 131744 sgd_solver.cpp:172] Gradient: L2 norm 0.740117\n"
        f"I{clock} 131745 sgd_solver.cpp:172] Gradient: L2 norm 0.740117\n"
    )


def test(clock: str, iteration: int, accuracy: float, loss: float) -> str:
    return (
        f"I{clock} 131744 solver.cpp:330] Iteration {iteration}, Testing net (#0)\n"
        f"I{clock} 131744 solver.cpp:397]     Test net output #0: accuracy = {accuracy}\n"
        f"I{clock} 131744 solver.cpp:397]     Test net output #1: loss = {loss} "
        f"(* 1 = {loss} loss)\n"
    )


test.__test__ = False  # type: ignore[attr-defined]


def read(folder: Path, text: str | bytes, name: str = "train.log"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_log(path)


def columns(table, *names: str) -> list[list[float]]:
    return [table[name].tolist() for name in names]


# --- formats --------------------------------------------------------------------------------------


def test_early_2014(tmp_path):
    log = read(tmp_path, EARLY_2014)
    assert log.state == "log" and log.name == "train" and log.iteration == 221
    assert columns(log.metrics, "iteration", "lr") == [[200, 220], [0.01, 0.01]]
    np.testing.assert_equal(log.metrics["loss"], [6.55622, np.nan])
    np.testing.assert_equal(log.metrics["momentum"], [np.nan, np.nan])
    assert log.metrics["seconds"] == pytest.approx([4.672341, 21.206111])
    assert columns(log.tests, "iteration", "score_0", "score_1", "loss") == [
        [0], [0.1013], [2.3076], [2.31]
    ]  # fmt: skip
    # The log does not say which score is an accuracy.
    assert np.isnan(log.final_accuracy) and log.final_loss == 2.31


def test_2015(tmp_path):
    log = read(tmp_path, OF_2015)
    assert columns(log.metrics, "iteration", "loss", "smoothed_loss", "lr") == [
        [0], [0.689531], [0.689532], [0.01]
    ]  # fmt: skip
    assert columns(log.tests, "iteration", "net", "accuracy", "loss") == [
        [0, 1000], [0, 0], [0.5252, 0.7456], [0.692741, 0.610764]
    ]  # fmt: skip
    assert log.iteration == 1000 and log.reason == "Optimization Done"
    assert log.record == {} and log.batch == log.max_iter == 0


def test_nvidias(tmp_path):
    log = read(tmp_path, NVIDIA)
    assert columns(log.metrics, "iteration", "loss", "smoothed_loss", "lr", "momentum") == [
        [2, 100], [2.4, 2.18689], [2.5, 2.18689], [9.99e-5, 9.92565e-5], [0.9, 0.9]
    ]  # fmt: skip
    assert log.metrics["weight_decay"].tolist() == [0.0005, 0.0005]
    assert log.final_accuracy == 0.25 and log.last_test("top-5") == 0.75
    # Versions differ in whether the net's batch is of one GPU or of all.
    assert log.batch == 0 and log.record["batch_size"] == 64 and log.record["replicas"] == 2


def test_the_reports_with_head_and_new_year(tmp_path):
    log = read(
        tmp_path,
        HEAD
        + test("1231 23:59:51.000000", 0, 0.1, 2.5)
        + display("1231 23:59:55.500000", 0, 2.5, 0.1, raw=2.25)
        + test("0101 00:00:10.000000", 100, 0.5, 1.5)
        + display("0101 00:00:12.000000", 100, 1.25, 0.2)
        + "I0101 00:00:13.000000 131744 sgd_solver.cpp:394] Snapshotting solver state to binary "
        "proto file examples/x_iter_120.solverstate\n"
        "I0101 00:00:13.000001 131744 solver.cpp:315] Optimization Done.\n",
    )
    assert (log.max_iter, log.batch, log.iteration) == (7080, 4 * 131, 120)
    assert log.record["net_name"] == "Cifar-Resnet"
    assert log.record["net_file"] == "nets/gResnet56.prototxt"
    assert log.record["fillers"] == ["xavier"] and log.record["replicas"] == 4
    assert log.record["settings"].startswith("test_iter: 200\n")
    assert log.metrics["seconds"].tolist() == [5.5, 22]
    assert log.tests["seconds"].tolist() == [1, 20]
    assert log.seconds_at(np.array([0, 50, 100])).tolist() == [5.5, 13.75, 22]
    assert log.seconds == 22
    assert log.metrics["loss"].tolist() == [2.25, 1.25]
    assert log.metrics["smoothed_loss"].tolist() == [2.5, 1.25]
    assert log.metrics["accuracy_training"].tolist() == [0.5, 0.5]
    assert log.lr_at(np.array([50.0])).tolist() == pytest.approx([0.15])


def test_a_head_that_glog_cut_and_one_that_is_missing(tmp_path):
    cut = HEAD.replace('  convolution_param {\n    weight_filler {\n      type: "xav', "  convo")
    cut = cut.replace('ier"\n    }\n  }\n', "")
    log = read(tmp_path, cut + display("1231 23:59:55.000000", 0, 2.5, 0.1))
    assert log.batch == 524 and "fillers" not in log.record
    # Without the first line of its first display, as the report's ImageNet logs are.
    headless = display("0224 15:13:25.673419", 0, 6.5, 0.1).split("\n", 1)[1]
    log = read(tmp_path, headless + display("0224 15:13:27.673419", 500, 6.0, 0.1))
    assert log.metrics["loss"].tolist() == [6.5, 6.0]
    np.testing.assert_equal(log.metrics["smoothed_loss"], [np.nan, 6.0])
    assert log.metrics["seconds"] == pytest.approx([0, 2])


def test_several_losses_and_several_test_nets(tmp_path):
    log = read(
        tmp_path,
        "I0101 00:00:01.0 1 solver.cpp:1] Iteration 0, loss = 3\n"
        "I0101 00:00:01.0 1 solver.cpp:1]     Train net output #0: aux/loss = 2 (* 0.5 = 1 loss)\n"
        "I0101 00:00:01.0 1 solver.cpp:1]     Train net output #1: loss = 1.5 (* 1 = 1.5 loss)\n"
        "I0101 00:00:01.0 1 solver.cpp:1] Iteration 0, lr = 1e-05\n"
        "I0101 00:00:02.0 1 solver.cpp:1] Iteration 1, Testing net (#0)\n"
        "I0101 00:00:02.0 1 solver.cpp:1]     Test net output #0: prob = 0.25\n"
        "I0101 00:00:02.0 1 solver.cpp:1]     Test net output #1: prob = 0.75\n"
        "I0101 00:00:02.0 1 solver.cpp:1] Iteration 1, Testing net (#1)\n"
        "I0101 00:00:02.0 1 solver.cpp:1]     Test net output #0: acc = 1\n",
    )
    assert columns(log.metrics, "loss", "smoothed_loss", "aux/loss", "lr") == [
        [2.5], [3], [2], [1e-5]
    ]  # fmt: skip
    assert columns(log.tests, "iteration", "net") == [[1, 1], [0, 1]]
    np.testing.assert_equal(log.tests["prob[0]"], [0.25, np.nan])
    np.testing.assert_equal(log.tests["prob[1]"], [0.75, np.nan])
    assert log.last_test("accuracy", net=1) == 1


def check_golden(folder: Path) -> int:
    checked = 0
    for path in sorted(folder.glob("*/run.log")):
        log, run = read_log(path), json.loads((path.parent / "run.json").read_text())
        iterations = [int(at) for at in log.metrics["iteration"]]
        rows = {row["iter"]: row for row in run["rows"]}
        assert iterations == sorted(rows)
        for name in ("lr", "momentum"):
            expected = [rows[at][name] for at in iterations]
            assert log.metrics[name] == pytest.approx(expected, rel=1e-5)
        expected = [rows[at]["loss"] for at in iterations]
        assert log.metrics["loss"] == pytest.approx(expected, rel=1e-5)
        assert len(log.tests["iteration"]) == len(run["tests"]) > 0
        assert (np.diff(log.metrics["seconds"]) >= 0).all()
        checked += 1
    return checked


def test_golden_logs_hold_what_caffe_computed():
    assert check_golden(GOLDEN) >= 2


def test_every_golden_log_holds_what_caffe_computed(shared):
    assert check_golden(shared / "golden" / "trajectories") >= 20


# --- whole and broken ones ------------------------------------------------------------------------


def test_a_resumed_log_goes_on_from_where_it_went_back_to(tmp_path):
    first = (
        HEAD
        + display("1231 23:59:51.000000", 0, 2.5, 0.1)
        + test("1231 23:59:52.000000", 100, 0.2, 2.0)
        + display("1231 23:59:53.000000", 100, 2.0, 0.1)
        + display("1231 23:59:58.000000", 200, 1.5, 0.1)
        + test("1231 23:59:59.000000", 300, 0.9, 9.0)
        + "F1231 23:59:59.500000 131745 math_functions.cu:79] Check failed: error == cudaSuccess\n"
        "*** Check failure stack trace: ***\n    @     0x3fff7efd3884  caffe::Net<>::Forward()\n"
    )
    # By its header, days later; and, with the header cut off, by its number alone.
    head = HEAD.replace("I1231 23:59", "I0105 12:00").replace("max_iter: 7080", "max_iter: 400")
    rest = display("0105 12:00:52.000000", 200, 1.25, 0.2) + display(
        "0105 12:00:55.000000", 300, 1.0, 0.2
    )
    log = read(tmp_path, first)
    assert log.reason == "Check failed: error == cudaSuccess" and log.iteration == 300
    log = read(tmp_path, first + head + rest)
    assert log.metrics["iteration"].tolist() == [0, 100, 200, 300]
    assert log.metrics["lr"].tolist() == [0.1, 0.1, 0.2, 0.2]
    # 2 seconds from `Solving`, after the 3 of the last row before it.
    assert log.metrics["seconds"].tolist() == [1, 3, 5, 8]
    assert log.tests["iteration"].tolist() == [100]
    assert log.max_iter == 400 and log.reason == "ends at iteration 300"
    log = read(tmp_path, first + rest)
    assert log.metrics["loss"].tolist() == [2.5, 2.0, 1.25, 1.0]
    assert log.metrics["seconds"].tolist() == [1, 3, 3, 6]
    assert log.max_iter == 7080


def test_time_that_a_stopped_run_rested_does_not_count(tmp_path):
    log = read(
        tmp_path,
        display("0225 10:00:00.000000", 0, 2.5, 0.1)
        + display("0225 10:00:30.000000", 100, 2.0, 0.1)
        + test("0225 10:00:31.000000", 101, 0.25, 1.5)
        + "I0225 10:00:31.000000 1 solver.cpp:315] Optimization stopped early.\n"
        + display("0301 10:00:00.000000", 101, 1.75, 0.1)
        + display("0301 10:00:10.000000", 200, 1.5, 0.1),
    )
    assert log.metrics["iteration"].tolist() == [0, 100, 101, 200]
    assert log.metrics["seconds"].tolist() == [0, 30, 31, 41]
    assert log.tests["accuracy"].tolist() == [0.25]


def test_a_log_put_together_of_two_runs_goes_by_the_second(tmp_path):
    """One of the report's logs goes on with a run that was days earlier at that iteration."""
    log = read(
        tmp_path,
        display("0325 01:00:00.0", 0, 2.5, 0.1)
        + test("0325 01:01:00.0", 100, 0.2, 1.5)
        + display("0325 01:01:10.0", 100, 2.0, 0.1)
        + display("0323 10:00:00.0", 100, 1.75, 0.1)
        + display("0323 10:00:30.0", 200, 1.5, 0.1),
    )
    assert log.metrics["loss"].tolist() == [2.5, 1.75, 1.5]
    assert log.metrics["seconds"].tolist() == [0, 60, 90]
    assert log.tests["iteration"].tolist() == [100]


def test_a_pause_shows_in_what_the_log_says_was_spent(tmp_path):
    """As when a run goes on from a checkpoint of ours: no header, and no iteration twice."""
    log = read(
        tmp_path,
        display("0225 10:00:00.0", 0, 2.5, 0.1)
        + display("0225 10:00:30.0", 100, 2.0, 0.1)
        + test("0226 15:00:00.0", 200, 0.25, 1.5)
        + display("0226 15:00:01.0", 200, 1.5, 0.1)
        + test("0226 15:00:25.0", 300, 0.5, 1.25)
        + display("0226 15:00:31.0", 300, 1.25, 0.1),
    )
    assert log.metrics["seconds"] == pytest.approx([0, 30, 60.8, 90.8])
    assert log.tests["seconds"] == pytest.approx([60.8, 84.8])


def test_leap_days_count_where_a_log_has_one(tmp_path):
    line = "I{} 1 solver.cpp:189] Iteration {}, loss = 1\n"
    before, after = line.format("0228 23:59:59.0", 0), line.format("0301 00:00:01.0", 100)
    assert read(tmp_path, before + after).metrics["seconds"].tolist() == [0, 2]
    between = "I0229 12:00:00.0 1 blocking_queue.cpp:50] Waiting for data\n"
    log = read(tmp_path, before + between + after)
    assert log.metrics["seconds"].tolist() == [0, 86402]


def test_lines_without_a_time_have_no_seconds(tmp_path):
    log = read(tmp_path, "Iteration 0, loss = 2.5\nIteration 0, lr = 0.1\nIteration 1, loss = 2\n")
    assert log.metrics["loss"].tolist() == [2.5] and np.isnan(log.metrics["seconds"]).all()


def test_an_unfinished_last_line_is_not_used(tmp_path):
    whole = display("0101 00:00:00.0", 0, 2.5, 0.125) + test("0101 00:00:01.0", 100, 0.25, 1.5)
    for length in range(0, len(whole), 3):
        try:
            log = read(tmp_path, whole[:length])
        except DataError:
            assert length < whole.index("\n") + 1
            continue
        for table, name, value in (
            (log.metrics, "loss", 2.5), (log.metrics, "lr", 0.125),
            (log.tests, "accuracy", 0.25), (log.tests, "loss", 1.5),
        ):  # fmt: skip
            assert set(table.get(name, np.empty(0)).tolist()) <= {value} or np.isnan(table[name][0])
    assert log.final_accuracy == 0.25


def test_garbage_between_the_lines_is_passed_over(tmp_path):
    garbage = (
        b"\x00\xff\xfe\x80 Iteration \x00\n"
        b"F0315 16:20:40.622244     F 315  2:20:40. 40634 622251math_functions.cu 97] Check\n"
        b"I9999 99:99:99.9 1 x] Iteration 7, lr\n"
        b"I0101 00:00:00.0 1 solver.cpp:1]     Train net output #0: loss = 1.2.3 (* 1 = x loss)\n"
        b"I0101 00:00:00.0 1 solver.cpp:1]     Test net output #9\n"
        b"IteratioIteration 50I0101 00:00:00.0 1 solver.cpp:1] Test score #: 4\n"
        b"_iter_99.solverstate\n"
        b"Iteration 1e5, loss = 3\n"
    )
    clean = display("0101 00:00:00.0", 0, 2.5, 0.1) + test("0101 00:00:01.0", 100, 0.25, 1.5)
    lines = clean.encode().splitlines(keepends=True)
    expected = read(tmp_path, clean)
    log = read(tmp_path, garbage.join([b"", *lines, b""]))
    for table, same in ((log.metrics, expected.metrics), (log.tests, expected.tests)):
        assert list(table) == list(same)
        for name in table:
            np.testing.assert_equal(table[name], same[name])


def test_no_damage_does_more_than_lose_lines(tmp_path):
    """Bytes changed, taken out, repeated and put in, at places that a fixed seed draws."""
    draw = random.Random(5)
    source = (GOLDEN / "v_sgd" / "run.log").read_bytes()
    pieces = (b"nan", b"-", b"e999", b"\n", b"Iteration 9999999999999999", b"iter/s, 1.2.3s/",
              b"I0230 25:61:99.1 ", b"Initializing solver from parameters:\n",
              b"Snapshotting x_iter_x.solverstate")  # fmt: skip
    read_as_logs = 0
    for _ in range(150):
        data = bytearray(source)
        for _ in range(draw.randint(1, 150)):
            at = draw.randrange(len(data))
            other = draw.randrange(len(data))
            match draw.randrange(4):
                case 0:
                    data[at] = draw.randrange(256)
                case 1:
                    del data[at : at + draw.randint(1, 300)]
                case 2:
                    data[at:at] = data[other : other + draw.randint(1, 400)]
                case 3:
                    data[at:at] = draw.choice(pieces)
        try:
            log = read(tmp_path, bytes(data))
        except DataError:
            continue
        read_as_logs += 1
        assert len(log.test()["accuracy"]) == len(log.tests.get("iteration", ()))
        assert len({len(column) for column in log.metrics.values()}) == 1
    assert read_as_logs > 100


def test_outputs_whose_test_was_lost_do_not_change_the_one_before(tmp_path):
    log = read(
        tmp_path,
        test("0101 00:00:01.0", 100, 0.25, 1.5)
        + test("0101 00:00:01.0", 200, 0.75, 0.5).split("\n", 1)[1],
    )
    assert log.tests["accuracy"].tolist() == [0.25]


@pytest.mark.parametrize("text", [b"", b"\n", b"\x00" * 4096, b"I am no log\n", bytes(range(256))])
def test_what_is_no_log_is_a_data_error(tmp_path, text):
    with pytest.raises(DataError, match=r"train\.log: holds no line of a training log"):
        read(tmp_path, text)


def test_a_log_is_read_compressed_or_not(tmp_path):
    path = tmp_path / "run.log.gz"
    path.write_bytes(gzip.compress(OF_2015.encode()))
    log = pycaffe_clr.read_log(path)
    assert log.name == "run" and log.final_accuracy == 0.7456
    path.write_bytes(gzip.compress(OF_2015.encode())[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        read_log(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_log(tmp_path / "missing.log")
    with pytest.raises(DataError, match="cannot be read"):
        read_log(tmp_path)


def test_a_large_log_is_read_quickly(tmp_path):
    text = HEAD + "".join(
        test("0101 00:00:10.000000", at, 0.5, 1.5) + display("0101 00:00:12.000000", at, 1.25, 0.2)
        for at in range(0, 400_000, 100)
    )
    assert len(text) > 3_000_000
    begin = time.perf_counter()
    log = read(tmp_path, text)
    assert time.perf_counter() - begin < 2
    assert len(log.metrics["iteration"]) == len(log.tests["iteration"]) == 4000


# --- the logs of the report -----------------------------------------------------------------------

# Last logged accuracy in %, test loss, updates, tests.
AUTHORS = {
    "c100Resnet56_C100Res1CycLR.1001.2CM0.95.85WD1e-4Epoch145BS256g_1": (67.80, 1.551, 7080, 70),
    "cifar100_C100CycLR.0020.02CM0.95.8WD6e-4Epoch50BS128l_1": (52.85, 1.841, 4882, 24),
    "gResnet56_ResTBS512LR.0800.8M.95WD1e-4Epoch95BS128b_1": (91.91, 0.340, 9277, 46),
    "genDensenet40_Den1CycLR.1004M0.9WD1e-6Epoch50BS128c_1": (91.53, 0.383, 4882, 24),
    "genDensenet40_DenOrigLR0.10.1M0.9WD1e-4Epoch400BS128c_1": (93.03, 0.327, 39062, 195),
    "wide32cifar_Wide1CycLR.1001CM0.95.85WD1e-4Epoch50BS128a_1": (91.38, 0.316, 4882, 24),
    "wide32cifar_Wide1CycLR.1001M0.95WD1e-5Epoch100BS128j_1": (89.03, 0.802, 9765, 48),
    "inception-resnetCM9585CLR.051WD1e-5BS28_20Epochs_1": (43.64, 2.517, 129501, 259),
    "inception-resnetCM9585CLR.051WD1e-6BS28_20Epochs_1": (72.96, 1.245, 220000, 440),
    "inception-resnetCM9585CLR.051WD1e-6BS28_20Epochs_2": (72.26, 1.263, 220000, 440),
    "inception-resnetCM9585CLR.051WD3e-6BS28_20Epochs_1": (73.82, 1.083, 220000, 440),
    "inception-resnetCM9585CLR.051WD3e-6BS28_20Epochs_2": (73.86, 1.083, 220000, 440),
    "inception-resnetM9LR.1WD1e-4BS28_145Epochs_1": (68.02, 1.618, 1090001, 2180),
    "inception-resnetM9LR.1WD1e-4BS28_145Epochs_2": (65.24, 1.503, 610001, 1220),
    "resnetCM9585CLR.051WD1e-6BS32_20Epochs_1": (63.61, 1.631, 200000, 400),
    "resnetCM9585CLR.051WD3e-6BS32_20Epochs_1": (66.37, 1.399, 200000, 400),
    "resnetM9LR1WD1e-4BS32_145Epochs_1": (63.70, 1.600, 1337501, 2675),
}


def test_the_authors_logs(shared):
    found = {path.name: path for path in (shared / "originals").glob("*/results/*")}
    assert set(found) == set(AUTHORS)
    for name, (accuracy, loss, iteration, tests) in AUTHORS.items():
        log = read_log(found[name])
        assert 100 * log.final_accuracy == pytest.approx(accuracy, abs=0.006), name
        assert log.final_loss == pytest.approx(loss, abs=6e-4), name
        assert (log.iteration, len(log.tests["iteration"])) == (iteration, tests), name
        for table in (log.metrics, log.tests):
            assert (np.diff(table["iteration"]) > 0).all(), name
            assert (np.diff(table["seconds"]) >= 0).all(), name
            assert all(np.isfinite(column[1:]).all() for column in table.values()), name
        if "/Cifar/" in str(found[name]):
            assert log.max_iter == iteration and log.record["replicas"] == 4
            batch = 1036 if "BS256" in name else 524 if "Densenet" in name else 512
            assert log.batch == batch, name
