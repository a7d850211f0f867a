"""run.json is read as a file that anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.store import Store
from pycaffe_clr.train.record import read_record

GOOD = {
    "state": "finished",
    "name": "tiny",
    "iteration": 60,
    "max_iter": 60,
    "batch": None,
    "seconds": 1.5,
    "labels": {"part": "a"},
    "tests": [{"net": 0, "last": {"iteration": 60, "outputs": {"accuracy": 0.5}}}, {"net": 1}],
}


def put(folder: Path, record: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(record if isinstance(record, str) else json.dumps(record))
    return folder


def test_what_a_run_writes_is_read(tmp_path):
    assert read_record(put(tmp_path, GOOD)) == GOOD
    assert read_record(put(tmp_path, {"state": "starting"})) == {"state": "starting"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iteration": "x"}, "iteration should be a whole number, and is 'x'"),
        ({"iteration": 1.5}, "iteration should be a whole number"),
        ({"max_iter": None}, "max_iter should be a whole number, and is 'None'"),
        ({"max_iter": True}, "max_iter should be a whole number"),
        ({"max_iter": float("inf")}, "max_iter should be a whole number"),
        ({"seconds": "long"}, "seconds should be a number"),
        ({"images": float("nan")}, "images should be a number"),
        ({"name": 3}, "name should be text"),
        ({"labels": []}, "labels should be names with values"),
        ({"tests": {}}, "tests should be a list of results"),
        ({"tests": [3]}, "tests should be a list of results"),
        ({"tests": [{"net": 0, "last": {}}]}, "tests should be a list of results"),
        ({"tests": [{"whole": {"outputs": {"a": "b"}}}]}, "tests should be a list of results"),
        ({"state": None}, "is not the record of a run"),
    ],
)
def test_values_of_another_kind_are_refused_by_name(tmp_path, change, message):
    folder = put(tmp_path / "setting" / "run1", GOOD | change)
    with pytest.raises(DataError, match=f"run.json: {message}"):
        read_record(folder)
    (run,) = Store([tmp_path]).runs("setting")
    assert run.state == "unreadable"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "[" * 100_000])
def test_other_texts_are_refused(tmp_path, text):
    with pytest.raises(DataError, match="run.json"):
        read_record(put(tmp_path, text))
