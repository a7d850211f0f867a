"""The settings of a run: from Python, from JSON, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pycaffe_clr
from pycaffe_clr import cli
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.train.spec import RunSpec, flags


def test_settings_survive_json_and_the_command_line(monkeypatch):
    spec = RunSpec(
        solver="s.prototxt", out=Path("o"), batch=32, filler="msra", whole_test=False, seed=0,
        sets={"base_lr": 0.5, "test_iter": [1, 2]}, net_sets={"force_backward": True},
        defines={"a": "b c"}, checkpoint_every=1,
    )  # fmt: skip
    assert spec.out == "o" and spec.sets == {"base_lr": "0.5", "test_iter": "1,2"}
    assert spec.net_sets == {"force_backward": "true"} and spec.checkpoint_every == 1.0
    for data in (spec.to_json(), json.dumps(spec.to_json())):
        assert RunSpec.from_json(data) == spec
    assert RunSpec().to_json() == {}
    seen = []
    monkeypatch.setattr("pycaffe_clr.train.run.train", lambda spec, **_: seen.append(spec) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main([*spec.words(), "--debug"])
    assert seen == [spec]


def test_every_setting_has_a_flag(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    said = capsys.readouterr().out
    assert all(flag.name in said for flag in flags().values() if flag.name.startswith("-"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": 0}, "threads must be 1 or more, not 0"),
        ({"threads": 10**9}, "threads must be at most 1024"),
        ({"batch": 10**12}, "batch must be at most 2147483647"),
        ({"seed": -1}, "seed must be 0 or more, not -1"),
        ({"batch": 2.5}, "batch takes a whole number, not 2.5"),
        ({"seed": "x"}, "seed takes a whole number"),
        ({"max_iter": True}, "max_iter takes a whole number"),
        ({"resume": 1}, "resume takes True or False"),
        ({"solver": 3}, "solver takes text or a path"),
        ({"sets": ["a=1"]}, "sets takes a mapping"),
        ({"checkpoint_every": float("nan")}, "checkpoint_every takes"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"weights": "a", "snapshot": "b"}, "exclude each other"),
    ],
)
def test_wrong_settings_are_told_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        RunSpec(**settings)


def test_unknown_settings_are_errors():
    with pytest.raises(ConfigError, match="no setting sole; did you mean solver"):
        RunSpec.from_json({"sole": 1})
    with pytest.raises(ConfigError, match="no setting batches; did you mean batch"):
        pycaffe_clr.run("lenet_sample", batches=3)
    with pytest.raises(ConfigError, match="callbacks takes a list"):
        pycaffe_clr.run("lenet_sample", callbacks=print)
