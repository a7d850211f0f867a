"""What a run says at its beginning and end, and what run.json keeps of its results."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pycaffe_clr.errors import PycaffeClrError
from pycaffe_clr.train import folder as files
from pycaffe_clr.train.evaluate import WholeTest, describe
from pycaffe_clr.train.progress import duration
from pycaffe_clr.train.result import is_accuracy
from pycaffe_clr.train.session import Session
from pycaffe_clr.train.tables import read_table

_log = logging.getLogger(__name__)


def opening(session: Session, record: dict[str, Any], folder: Path, batch: int) -> str:
    """One line: what is trained how, and where the results go."""
    rows = session.net.params()
    count = sum(math.prod(rows[i]["shape"]) for i in session.net.learnable())
    left = session.param.max_iter - session.iteration
    return (
        f"{record['name']}: {left} iterations of {batch} samples, {count:,} parameters, "
        f"{record['backend']}, {record['threads']} threads, seed {record['seed']}, in {folder}"
    )


def test_results(
    path: Path, session: Session, whole: Sequence[WholeTest | None]
) -> list[dict[str, Any]]:
    """For each test net its last logged test, and its whole database where that was tested."""
    table = read_table(path)
    results = []
    for index in range(len(session.test_nets)):
        rows = (table["net"] == index).nonzero()[0]
        entry: dict[str, Any] = {"net": index}
        if len(rows):
            last = rows[-1]
            entry["last"] = {
                "iteration": int(table["iteration"][last]),
                "outputs": {
                    name: float(column[last])
                    for name, column in table.items()
                    if name not in ("iteration", "net") and math.isfinite(column[last])
                },
            }
        tested = whole[index] if index < len(whole) else None
        if tested is not None:
            entry["whole"] = {
                "outputs": dict(tested.outputs),
                "records": tested.records,
                "exact": tested.exact,
            }
        results.append(entry)
    return results


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


def go_on(folder: Path) -> str:
    """The command that resumes the run in a folder."""
    return f"go on with: pycaffe_clr run --resume --out {folder}"


def accuracy_of(outputs: Sequence[tuple[str, float]]) -> float | None:
    """The first output that is an accuracy by its name."""
    return next((value for name, value in outputs if is_accuracy(name)), None)


def draw(folder: files.RunFolder, record: dict[str, Any]) -> bool:
    """Draw curve.png; False, with a warning, where that fails: results count more than pictures."""
    try:
        from pycaffe_clr.train.curve import draw_curve

        draw_curve(
            folder / files.METRICS,
            folder / files.TESTS,
            folder / files.CURVE,
            f"{record['name']}, seed {record['seed']}",
        )
    except (PycaffeClrError, ImportError, OSError) as error:
        _log.warning("no %s: %s", files.CURVE, error)
        return False
    return True
