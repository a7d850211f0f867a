"""The author's public logs as curves: what the figures draw beside our runs.

The needed columns of the 17 logs of https://github.com/lnsmith54/hyperParam1 (Cifar/results and
Imagenet/results), one compressed file each under its log's name. pack.py writes them from the logs.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.train.result import RunResult

FOLDER = Path(__file__).parent
SUFFIX = ".npz"
# Of each table; tests have `net` as well, 0 throughout.
TESTS = ("iteration", "accuracy", "loss", "seconds")
METRICS = ("iteration", "loss", "smoothed_loss", "lr", "momentum", "seconds")


def names() -> tuple[str, ...]:
    """Names of the logs, sorted."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}")))


@lru_cache(maxsize=32)
def load(name: str) -> RunResult:
    """The curves of a log, by its name, as read_log would give them; state "log".

    tests: iteration, net, accuracy (a fraction; of ImageNet top-1), loss, seconds. metrics: a row
    per display. record: where the log is from, its batch per GPU, fillers and settings. Raises
    DataError that lists the names.
    """
    path = FOLDER / f"{name}{SUFFIX}"
    if name not in names():
        raise DataError(f"no log of the author is called {name!r}; known: {', '.join(names())}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            record = json.loads(str(stored["record"]))
            tests = {key: _wide(stored[f"tests/{key}"]) for key in TESTS}
            metrics = {key: _wide(stored[f"metrics/{key}"]) for key in METRICS}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    tests["net"] = np.zeros(len(tests["iteration"]), np.int64)
    return RunResult(
        name=name,
        state="log",
        reason=record.pop("reason"),
        path=path,
        iteration=record.pop("iteration"),
        max_iter=record.pop("max_iter"),
        batch=record.pop("batch"),
        metrics=metrics,
        tests=tests,
        record=record,
    )


def _wide(column: np.ndarray) -> np.ndarray:
    """Stored in 4 bytes, used in 8: the digits that the log printed come back."""
    if column.dtype.kind == "i":
        return column.astype(np.int64)
    return np.array([f"{value:.6g}" for value in column], np.float64)
