"""What a run says at its beginning and end, and what run.json keeps of its results."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pycaffe_clr.durations import duration
from pycaffe_clr.errors import PycaffeClrError
from pycaffe_clr.prototxt.writer import format_float
from pycaffe_clr.train.evaluate import WholeTest, describe
from pycaffe_clr.train.result import is_accuracy, is_loss, measured
from pycaffe_clr.train.run_folder import CURVE, METRICS, TESTS, RunFolder
from pycaffe_clr.train.schedule import core_settings
from pycaffe_clr.train.session import Session
from pycaffe_clr.train.tables import read_table

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter

_log = logging.getLogger(__name__)


def opening(session: Session, record: dict[str, Any], folder: Path, batch: int) -> str:
    """One line: what is trained how, and where the results go."""
    left = session.param.max_iter - session.iteration
    ranks = f"{session.net.ranks} ranks, " if session.net.ranks > 1 else ""
    return (
        f"{record['name']}: {left} iterations of {batch} samples, "
        f"{record['parameters']:,} parameters, {ranks}{record['backend']}, "
        f"{record['threads']} threads, seed {record['seed']}, in {folder}"
    )


def test_results(
    path: Path, session: Session, whole: Sequence[WholeTest | None]
) -> list[dict[str, Any]]:
    """For each test net its last logged test, and its whole database where that was tested."""
    table = measured(read_table(path))
    results = []
    for index in range(len(session.test_nets)):
        rows = (table["net"] == index).nonzero()[0]
        entry: dict[str, Any] = {"net": index}
        if len(rows):
            entry["last"] = _test(table, rows[-1])
            entry["best"] = _test(table, _best(table, rows))
        tested = whole[index] if index < len(whole) else None
        if tested is not None:
            entry["whole"] = {
                "outputs": dict(tested.outputs),
                "records": tested.records,
                "exact": tested.exact,
            }
        results.append(entry)
    return results


def _test(table: Mapping[str, np.ndarray], row: int) -> dict[str, Any]:
    """One row of tests.csv for run.json."""
    return {
        "iteration": int(table["iteration"][row]),
        "outputs": {
            name: float(column[row])
            for name, column in table.items()
            if name not in ("iteration", "net") and math.isfinite(column[row])
        },
    }


def _best(table: Mapping[str, np.ndarray], rows: np.ndarray) -> int:
    """The row of the highest accuracy; of the lowest loss where there is no accuracy."""
    for belongs, sign in ((is_accuracy, 1), (is_loss, -1)):
        for name, column in table.items():
            if belongs(name) and np.isfinite(column[rows]).any():
                return int(rows[np.nanargmax(sign * column[rows])])
    return int(rows[-1])


def closing(
    record: dict[str, Any], folder: Path, iterations: int, seconds: float, samples: int
) -> list[str]:
    """The last lines of a run: how it ended, its test results, the picture."""
    rate = f", {samples / seconds:.0f} images/s" if seconds > 0 and samples else ""
    lines = [
        f"{record['state']} at iteration {record['iteration']}: "
        f"{iterations} iterations in {duration(seconds)}{rate}"
    ]
    several = len(record["tests"]) > 1
    for entry in record["tests"]:
        name = f"test net #{entry['net']}" if several else "test"
        if "last" in entry:
            last = entry["last"]
            what = describe(list(last["outputs"].items()))
            at = last["iteration"]
            lines.append(f"{name} {what} (last test, at iteration {at}, as Caffe logs it)")
        if "whole" in entry:
            whole = entry["whole"]
            what = describe(list(whole["outputs"].items()))
            kind = "the whole test set" if whole["exact"] else "the test set, the end wrapped"
            lines.append(f"{name} {what} ({kind}: {whole['records']:,} records)")
    if record["state"] == "stopped":
        lines.append(go_on(folder))
    if "curve" in record:
        lines.append(f"{folder / record['curve']}")
    return lines


def settings(solver: SolverParameter) -> dict[str, Any]:
    """The hyper-parameters of a solver for run.json, its numbers as prototxt prints them."""
    return {name: _printed(value) for name, value in core_settings(solver).items()}


def _printed(value: Any) -> Any:
    if isinstance(value, list):
        return [_printed(each) for each in value]
    return float(format_float(value)) if isinstance(value, float) else value


def subtitle(record: Mapping[str, Any]) -> str:
    """The hyper-parameters of a run in one line:

    `1cycle, lr 0.005 to 0.05, momentum 0.95 to 0.8, weight decay 0.0005, batch 64, 8.0 epochs`
    """
    found = record.get("settings", {})
    rate = f"lr {found.get('base_lr', 0):g}"
    if found.get("max_lr"):
        rate += f" to {found['max_lr']:g}"
    momentum = f"momentum {found.get('momentum', 0):g}"
    cyclical = found.get("cyclical_momentum", ())
    if len(cyclical) == 2:
        momentum += f" to {cyclical[0]:g}"
    parts = [found.get("lr_policy", ""), rate, momentum]
    parts.append(f"weight decay {found.get('weight_decay', 0):g}")
    parts.append(f"batch {record['batch']}")
    if record.get("epochs"):
        parts.append(f"{record['epochs']:.3g} epochs")
    return ", ".join(part for part in parts if part)


def go_on(folder: Path) -> str:
    """The command that resumes the run in a folder."""
    return f"go on with: pycaffe_clr run --resume --out {folder}"


def accuracy_of(outputs: Sequence[tuple[str, float]]) -> float | None:
    """The first output that is an accuracy by its name."""
    return next((value for name, value in outputs if is_accuracy(name)), None)


def draw(folder: RunFolder, record: dict[str, Any]) -> bool:
    """Draw curve.png; False, with a warning, where that fails: results count more than pictures."""
    try:
        from pycaffe_clr.train.curve import Captions, draw_curve

        whole = next((entry.get("whole") for entry in record.get("tests", ())), None)
        captions = Captions(
            f"{record['name']}, seed {record['seed']}",
            subtitle(record),
            record["images"] / record["batch"] if record.get("images") else 0.0,
            accuracy_of(list(whole["outputs"].items())) if whole else None,
        )
        metrics, tests = folder / METRICS, folder / TESTS
        draw_curve(metrics, tests, folder / CURVE, captions)
    except (PycaffeClrError, ImportError, OSError) as error:
        _log.warning("no %s: %s", CURVE, error)
        return False
    return True
