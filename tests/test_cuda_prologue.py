"""Runs whose convolutions normalise what they read. test_cuda_host.py has them run, on the host."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cuda_cases import arrays_of, session_of, write_case

from pycaffe_clr.train.events import Listener

pytestmark = pytest.mark.skipif(
    "not config.getoption('--cuda-host')", reason="test_cuda_host.py runs it"
)
LEFT = {"resnet": 2, "densenet": 2}


class Outputs(Listener):
    """Of training and of tests."""

    def __init__(self) -> None:
        self.all: list[list[tuple[str, float]]] = []

    def rows(self, rows) -> None:
        self.all += [list(row.outputs) for row in rows]

    def tested(self, result) -> None:
        self.all.append(list(result.outputs))


def trained(monkeypatch, which: str, solver: Path, **settings):
    monkeypatch.setenv("PYCAFFE_CLR_PROLOGUE", which)
    outputs = Outputs()
    session = session_of(solver, listener=outputs, **settings)
    left = sum("in its readers" in row["implementation"] for row in session.net.plan())
    session.step(4)
    return outputs.all, arrays_of(session), left


@pytest.mark.parametrize("name", LEFT)
@pytest.mark.parametrize(("precision", "replicas"), [("bf16", 1), ("tf32", 2)])
def test_a_run_is_the_same_either_way(tmp_path, monkeypatch, name, precision, replicas):
    monkeypatch.chdir(tmp_path)
    solver = write_case(tmp_path, name)
    settings = {"precision": precision, "replicas": replicas}
    written, expected, none = trained(monkeypatch, "never", solver, **settings)
    made, arrays, left = trained(monkeypatch, "always", solver, **settings)
    assert (none, left) == (0, LEFT[name])
    assert made == written and len(made) > 4
    for key, array in expected.items():
        assert np.array_equal(arrays[key], array), key


def test_a_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solver = write_case(tmp_path, "densenet")
    _, whole, _ = trained(monkeypatch, "always", solver, precision="bf16")
    first = session_of(solver, precision="bf16")
    first.step(2)
    _, state = first.snapshot()
    second = session_of(solver, precision="bf16")
    second.restore(state)
    second.step(2)
    for key, array in arrays_of(second).items():
        assert np.array_equal(array, whole[key]), key
