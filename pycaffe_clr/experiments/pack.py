"""Finished runs as small files, to be kept beside the solvers.

A packed run is a folder that read_run reads like any other: run.json, train.log.gz, metrics.csv.gz
with at most 1,000 rows, tests.csv.gz and the prototxts. Equal runs give equal bytes, and nothing
in them names folders of the machine or the machine itself.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr.atomic import write_atomically
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.experiments.logs import read_log
from pycaffe_clr.experiments.outcome import log_in, time_of
from pycaffe_clr.experiments.store import Store, StoredRun
from pycaffe_clr.train.result import (
    FINAL_STATES,
    LOG,
    METRICS,
    RECORD,
    TESTS,
    TIMINGS,
    Table,
    read_record,
    table_of,
)
from pycaffe_clr.train.tables import cell, csv_line

MAX_ROWS = 1000
# Prototxts up to this size are kept as they are, longer ones compressed.
_PLAIN = 4096
# What of a record says where a run was made, not what it was.
_PLACES = ("cwd", "data_dir", "out", "host", "pid", "user")
_AVERAGED = ("loss", "smoothed_loss")


@dataclass(frozen=True)
class Packed:
    """What became of one run.

    state: "packed", "unchanged", "unfinished", "kept" (what lies there is further than this run),
    "scaled" (a trial, which is never packed), "unreadable". size: bytes of its files. reason: why
    not, in words.
    """

    run: StoredRun
    state: str
    size: int = 0
    reason: str = ""


def pack(names: Sequence[str], source: Path, target: Path, partial: bool = False) -> list[Packed]:
    """Pack the runs under `source` into `target`, as <setting>/<run>; what became of each.

    names: of settings, `*` stands for anything; none: all. partial: also runs that are not through;
    they keep a state that no mean counts. Raises ConfigError where a name fits nothing or both
    folders are one, DataError where files cannot be written.
    """
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; expected one that holds <setting>/run1 ...")
    if target.exists() and source.samefile(target):
        raise ConfigError(f"{source}: is where the packed runs go; name the folder of the runs")
    store = Store([source])
    known = store.settings()
    for name in names:
        if not any(fnmatchcase(setting, name) for setting in known):
            raise ConfigError(f"{source}: holds no run of {name}; there are: {', '.join(known)}")
    wanted = [s for s in known if not names or any(fnmatchcase(s, name) for name in names)]
    return [
        pack_run(run, target / setting / run.plan, partial)
        for setting in wanted
        for run in store.runs(setting)
    ]


def pack_run(run: StoredRun, folder: Path, partial: bool = False) -> Packed:
    """Pack one run into a folder of its own. Raises DataError where that cannot be written."""
    if run.state == "unreadable":
        return Packed(run, "unreadable", reason="its run.json cannot be read")
    if run.scaled is not None:
        return Packed(run, "scaled", reason=f"a trial, scaled by {run.scaled}: it proves nothing")
    if not run.final:
        if not partial:
            reason = f"{run.state} at {run.iteration:,} of {run.max_iter:,} iterations"
            return Packed(run, "unfinished", reason=reason)
        if _state_there(folder) in FINAL_STATES:
            return Packed(run, "kept", reason=f"{folder} holds a run that is through")
    try:
        files = packed_files(run)
    except DataError as error:
        return Packed(run, "unreadable", reason=str(error))
    changed = False
    for name, data in files.items():
        if not _same(folder / name, data):
            write_atomically(folder / name, [data])
            changed = True
    size = sum(map(len, files.values()))
    return Packed(run, "packed" if changed else "unchanged", size)


def _state_there(folder: Path) -> str:
    try:
        return str(read_record(folder)["state"])
    except DataError:
        return ""


def _same(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


# --- what is written ------------------------------------------------------------------------------


def packed_files(run: StoredRun) -> dict[str, bytes]:
    """The files of a packed run by name, run.json last. Raises DataError."""
    scrub = _scrubber(run)
    metrics, tests = table_of(run.folder, METRICS), table_of(run.folder, TESTS)
    interval = interval_of(metrics, tests)
    packed = run.record.get("packed") or {
        "rows": len(metrics.get("iteration", ())),
        "interval": interval,
        "metrics": "as they were"
        if interval == 1
        else f"loss and smoothed_loss are means over {interval} iterations, of which the row has "
        "the first; the rest is as it was in that one; the last row is the last iteration alone",
    }
    files: dict[str, bytes] = {}
    log = _read(run.folder, LOG)
    if log is not None:
        text = log.decode("utf-8", errors="replace")
        files[f"{LOG}.gz"] = _compressed(scrub(text).encode())
    timings = table_of(run.folder, TIMINGS)
    for name, table in (
        (METRICS, thinned(metrics, interval)),
        (TESTS, tests),
        (TIMINGS, timings),
    ):
        if table:
            files[f"{name}.gz"] = _compressed(_csv(table))
    for path in sorted(run.folder.glob("*.prototxt*")):
        name = path.name.removesuffix(".gz")
        data = scrub((_read(run.folder, name) or b"").decode("utf-8", errors="replace")).encode()
        if len(data) <= _PLAIN:
            files[name] = data
        else:
            files[f"{name}.gz"] = _compressed(data)
    files[RECORD] = _json(_record(run, scrub) | {"packed": packed})
    return files


def _record(run: StoredRun, scrub: Callable[[str], str]) -> dict[str, Any]:
    """What run.json keeps; what an early record lacks, from the log."""
    found = _without(run.record, _PLACES)
    found.pop("curve", None)  # the picture stays behind
    found["spec"] = _without(found.get("spec", {}), _PLACES)
    if not run.final:
        # Whoever reads it elsewhere cannot ask whether its process lives.
        ended = run.state not in ("running", "starting")
        found["state"] = run.state if ended else "stopped"
        found["reason"] = found.get("reason") or ("" if ended else "packed while it ran")
        found["iteration"] = run.iteration
    seconds, speed = time_of(run)
    if math.isfinite(speed):
        found.setdefault("seconds", round(seconds, 1))
        found.setdefault("images_per_second", round(speed, 1))
    if not (found.get("batch") and found["spec"].get("filler")):
        log = _log(run)
        found["batch"] = found.get("batch") or log.get("batch", 0)
        found.setdefault("fillers", log.get("fillers", []))
    scrubbed: dict[str, Any] = _strings(found, scrub)
    return scrubbed


def _without(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _log(run: StoredRun) -> Mapping[str, Any]:
    try:
        log = read_log(log_in(run.folder))
    except DataError:
        return {}
    return {**log.record, "batch": log.batch}


def interval_of(metrics: Table, tests: Table) -> int:
    """Iterations that become one row: the fewest that leave MAX_ROWS, and such that tests fall
    between two rows where their distance allows it."""
    count = len(metrics.get("iteration", ()))
    if count <= MAX_ROWS:
        return 1
    least = math.ceil((count - 1) / (MAX_ROWS - 1))
    at = np.unique(tests.get("iteration", np.empty(0))).astype(int)
    distance = int(np.gcd.reduce(np.diff(at))) if len(at) > 2 else 0
    fitting = [k for k in range(least, distance + 1) if distance % k == 0]
    return fitting[0] if fitting else least


def thinned(metrics: Table, interval: int) -> Table:
    """A row for every `interval` rows, and the last row.

    loss and smoothed_loss: means over the rows; all else, the iteration too: of their first.
    """
    if interval == 1 or not metrics:
        return metrics
    count = len(metrics["iteration"])
    # The last iteration stays by itself: where the run ended, and with which rates.
    starts = np.arange(0, count - 1, interval)
    counts = np.diff(np.append(starts, count - 1))
    found = {}
    for name, column in metrics.items():
        if name in _AVERAGED:
            rows = np.add.reduceat(column[:-1], starts) / counts
        else:
            rows = column[starts]
        found[name] = np.append(rows, column[-1])
    return found


def _csv(table: Table) -> bytes:
    stream = io.StringIO()
    stream.write(csv_line(list(table)))
    for row in zip(*table.values(), strict=True):
        stream.write(csv_line([cell(value) for value in row]))
    return stream.getvalue().encode()


def _json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()


def _compressed(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def _read(folder: Path, name: str) -> bytes | None:
    """A file of a run, packed or not; None where it is not there. Raises DataError."""
    try:
        if (folder / name).is_file():
            return (folder / name).read_bytes()
        if (folder / f"{name}.gz").is_file():
            return gzip.decompress((folder / f"{name}.gz").read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{folder / name}: cannot be read: {error}") from error
    return None


# --- names of places ------------------------------------------------------------------------------

# A path from the root, of two names or more: not the second part of `a/b`, nor of an address.
_ABSOLUTE = re.compile(r"(?<![\w.~:/+-])/(?:[\w.+@~-]+/)+(?=[\w.+@~-])")


def _scrubber(run: StoredRun) -> Callable[[str], str]:
    """A function that takes the machine's folders out of a text: paths below the run's folder or
    its working directory become relative, of all others the last name remains."""
    here = str(run.folder.absolute())
    places = [here, str(run.record.get("cwd") or "")]
    prefixes = sorted((p.rstrip("/") + "/" for p in places if p.strip("/")), key=len, reverse=True)
    inside = re.compile("|".join(map(re.escape, prefixes)))

    def scrub(text: str) -> str:
        return _ABSOLUTE.sub("", inside.sub("", text))

    return scrub


def _strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(key)): _strings(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_strings(each, change) for each in value]
    return value
