"""What the results say of cyclical momentum: the report's rows by hand, runs beside a log."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from run_cases import make_run

from pycaffe_clr.experiments import author
from pycaffe_clr.experiments.manifest import load
from pycaffe_clr.experiments.momentum_page import beside_log, pairs, section
from pycaffe_clr.experiments.store import Store
from pycaffe_clr.train.tables import csv_line


def test_cyclical_rows_less_the_constant_ones_of_the_report():
    found = pairs(load())
    assert {pair.cycling.table for pair in found} == {1}
    starts = {pair.cycling.number: pair for pair in found if pair.starts}
    rows = {number: pair.constant.number for number, pair in starts.items()}
    assert rows == {1: 5, 2: 4, 6: 10, 7: 9, 11: 15, 12: 14, 16: 20, 17: 19}
    # 81.3 +- 0.1 less 81.2 +- 0.2, of four runs each.
    assert starts[1].comparison.t == pytest.approx(0.1 / math.sqrt((0.01 + 0.04) / 4))
    assert max(abs(pair.comparison.t) for pair in starts.values()) < 1.5
    first = [pair for pair in found if pair.cycling.number == 1]
    assert [(pair.momentum, pair.constant.number) for pair in first] == [
        (0.85, 3),
        (0.9, 4),
        (0.95, 5),
    ]
    assert first[0].comparison.t == pytest.approx(1.8 / math.sqrt((0.01 + 0.01) / 4))


NAME = "cifar3_cifar100_1cycle"


def a_run_like_the_log(root, name: str = NAME, more: float = 0.0) -> None:
    """A run whose tests are those of the author's log, its losses larger by `more`."""
    log = author.load(*load().logs_of(NAME))
    folder = make_run(root, name, "run4", max_iter=4882, iteration=4882)
    rows = zip(log.tests["iteration"], log.tests["accuracy"], log.tests["loss"], strict=True)
    lines = [csv_line(["iteration", "net", "accuracy", "loss"])]
    lines += [csv_line([str(i), "0", str(a), str(loss + more)]) for i, a, loss in rows]
    (folder / "tests.csv").write_text("".join(lines))
    assert json.loads((folder / "run.json").read_text())["state"] == "finished"


def test_a_run_beside_the_authors_log(tmp_path):
    a_run_like_the_log(tmp_path)
    a_run_like_the_log(tmp_path, f"{NAME}_m95", 0.5)
    store, manifest = Store([tmp_path]), load()
    same, higher = (beside_log(name, manifest, store) for name in (NAME, f"{NAME}_m95"))
    assert same and higher
    assert (same.loss.points, same.loss.rms, higher.loss.points) == (24, 0, 24)
    assert higher.loss.rms == pytest.approx(0.5) and higher.accuracy.rms == 0
    assert same.setting.momentum == (0.95, 0.8) and higher.setting.momentum == (0.95,)
    assert beside_log("resnet56_1cycle_m95_same_batch", manifest, store) is None
    assert beside_log("cifar3_1cycle", manifest, store) is None
    text = "\n".join(section(manifest, store))
    assert f"| [{NAME}]({NAME}) | 1 | 0.95 to 0.8 | 24, 4,800 | loss | 0.000 |" in text
    assert "| 1 | 3-layer | 0.95-0.85 | 81.3 ± 0.1 | +25.5 | +5.3 | **+0.9** (row 5) |" in text


def test_our_runs_of_a_row_applied_and_constant(tmp_path):
    for name, accuracy in (("lenet_1cycle", 0.9905), ("lenet_1cycle_m95", 0.992)):
        make_run(tmp_path, name, "run1", accuracy=accuracy, max_iter=1406, iteration=1406)
    # In other batches it is another row's reading, not this one's.
    make_run(tmp_path, "lenet_1cycle_m95_batch128", "run1", max_iter=5625, iteration=5625)
    text = "\n".join(section(load(), Store([tmp_path])))
    assert "| 99.050, n 1 (-0.20) | 99.200, n 1 (-0.05) |" in text
    assert text.count("of table 2 |") == 1


def test_where_nothing_cycles_nothing_is_said(tmp_path):
    make_run(tmp_path, "lenet_inv", "run1")
    make_run(tmp_path, "mine", "run1")
    assert not list(section(load(), Store([tmp_path])))
    make_run(tmp_path, "lenet_1cycle", "run1")
    text = "\n".join(section(load(), Store([tmp_path])))
    assert "less constant 0.95" in text and "by quarter" not in text
    assert not np.isnan([pair.comparison.t for pair in pairs(load())]).any()
