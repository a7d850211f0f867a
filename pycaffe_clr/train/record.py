"""run.json: what a run's folder says of the run. Read as what it is, a file that anybody wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pycaffe_clr.errors import DataError

RECORD = "run.json"

# What is read of it, where it is there. None stands for what is not known.
_NUMBERS = ("batch", "images", "first_iteration", "seconds", "test_seconds", "images_per_second")
_TEXTS = ("name", "reason", "solver", "started", "finished")
_COUNTS = ("iteration", "max_iter")


def read_record(folder: Path) -> dict[str, Any]:
    """run.json of a run's folder. Raises DataError, also for values of another kind than a run's
    are."""
    path = folder / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder}: no run lies there (no {RECORD})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("state"), str):
        raise DataError(f"{path}: is not the record of a run")
    _check(found, path)
    return found


def _check(record: Mapping[str, Any], path: Path) -> None:
    for name in _COUNTS:
        if name in record and not (_is_number(record[name]) and record[name] == int(record[name])):
            raise _wrong(path, name, "a whole number", record[name])
    for name in _NUMBERS:
        if record.get(name) is not None and not _is_number(record[name]):
            raise _wrong(path, name, "a number", record[name])
    for name in _TEXTS:
        if record.get(name) is not None and not isinstance(record[name], str):
            raise _wrong(path, name, "text", record[name])
    if not isinstance(record.get("labels", {}), dict):
        raise _wrong(path, "labels", "names with values", record["labels"])
    tests = record.get("tests", [])
    if not isinstance(tests, list) or not all(map(_is_test, tests)):
        raise _wrong(path, "tests", "a list of results", tests)


def _is_number(value: Any) -> bool:
    """Whether it is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < float("inf")


def _is_test(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    results = [entry[name] for name in ("last", "whole") if name in entry]
    return all(
        isinstance(result, dict)
        and isinstance(result.get("outputs"), dict)
        and all(isinstance(value, int | float) for value in result["outputs"].values())
        for result in results
    )


def _wrong(path: Path, name: str, expected: str, value: Any) -> DataError:
    return DataError(f"{path}: {name} should be {expected}, and is {str(value)[:40]!r}")
