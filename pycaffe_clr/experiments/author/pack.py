"""Writes the packaged curves from the author's logs: python -m pycaffe_clr.experiments.author.pack
FOLDER, the folder of a checkout of https://github.com/lnsmith54/hyperParam1."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.author import FOLDER, METRICS, SUFFIX, TESTS
from pycaffe_clr.experiments.logs import read_log

SOURCE = "https://github.com/lnsmith54/hyperParam1"


def pack(log: Path, name: str, to: Path) -> Path:
    """Write one log's columns; name: of the log in the author's repository. Raises DataError."""
    run = read_log(log)
    tests, metrics = run.test(), run.metrics
    # Where a process died, its last words are several lines.
    record = {
        "source": f"{SOURCE}/blob/master/{name}",
        "reason": run.reason.partition("  ")[0],
        "iteration": run.iteration,
        "max_iter": run.max_iter,
        "batch": run.batch,
    } | {key: run.record[key] for key in run.record if key != "net_file"}
    arrays: dict[str, Any] = {f"tests/{key}": _narrow(tests[key]) for key in TESTS}
    arrays |= {f"metrics/{key}": _narrow(metrics[key]) for key in METRICS}
    path = to / f"{log.name}{SUFFIX}"
    np.savez_compressed(path, record=np.array(json.dumps(record)), **arrays)
    return path


def _narrow(column: np.ndarray) -> np.ndarray:
    return column.astype(np.int32 if column.dtype.kind == "i" else np.float32)


def main(arguments: Sequence[str]) -> int:
    """Pack all logs below the folder that is named."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    folder = Path(arguments[0])
    logs = sorted(folder.glob("*/results/*"))
    if not logs:
        raise DataError(f"{folder}: has no */results/* with the author's logs")
    for log in logs:
        path = pack(log, log.relative_to(folder).as_posix(), FOLDER)
        print(f"wrote {path.name} ({path.stat().st_size:,} bytes)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
