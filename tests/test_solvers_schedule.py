"""pycaffe_clr.Schedule against what Caffe computed and what the report's author logged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import pycaffe_clr
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments import author
from pycaffe_clr.experiments.logs import read_log
from pycaffe_clr.train.result import RunResult

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "schedules.json"

# The public logs of the ImageNet runs start after the settings; they belong to these solvers.
IMAGENET = {
    "resnetM9LR1WD1e-4": "resnet50_step",
    "resnetCM9585CLR.051WD1e-6": "resnet50_1cycle_wd1e-6",
    "resnetCM9585CLR.051WD3e-6": "resnet50_1cycle",
    "inception-resnetM9LR.1WD1e-4": "inception_resnet_v2_step",
    "inception-resnetCM9585CLR.051WD1e-5": "inception_resnet_v2_1cycle_wd1e-5",
    "inception-resnetCM9585CLR.051WD1e-6": "inception_resnet_v2_1cycle_wd1e-6",
    "inception-resnetCM9585CLR.051WD3e-6": "inception_resnet_v2_1cycle",
}


def schedule_of(text: str, folder: Path):
    path = folder / "solver.prototxt"
    path.write_text(text)
    return pycaffe_clr.Schedule(path)


def check_exactly(cases: list[dict], folder: Path) -> None:
    for case in cases:
        schedule = schedule_of(case["solver"], folder)
        lr = np.array([schedule.lr(i) for i in case["iter"]], np.float32)
        momentum = np.array([schedule.momentum(i) for i in case["iter"]], np.float32)
        assert np.array_equal(lr, np.array(case["lr"], np.float32)), case["solver"]
        assert np.array_equal(momentum, np.array(case["momentum"], np.float32)), case["solver"]


def test_a_schedule_equals_caffes_bit_for_bit(tmp_path):
    check_exactly(json.loads(GOLDEN.read_text()), tmp_path)


def test_every_golden_schedule_is_reproduced(tmp_path, shared):
    check_exactly(json.loads((shared / "golden" / "schedules.json").read_text()), tmp_path)


def settings_of(log: RunResult) -> str:
    """The solver of a log: what its header printed, or the solver that made it."""
    if "settings" in log.record:
        return log.record["settings"]
    name = IMAGENET[re.sub(r"BS\d+_.*", "", log.name)]
    return (ROOT / "solvers" / f"{name}.prototxt").read_text()


def test_every_line_of_the_authors_logs_is_reproduced(tmp_path):
    lines = 0
    for log in map(author.load, author.names()):
        schedule = schedule_of(settings_of(log), tmp_path)
        table = [log.metrics[name].tolist() for name in ("iteration", "lr", "momentum")]
        for iteration, *printed in zip(*table, strict=True):
            lr, momentum = schedule.lr(int(iteration)), schedule.momentum(int(iteration))
            # The log has six digits.
            assert [f"{lr:g}", f"{momentum:g}"] == [f"{x:g}" for x in printed], (
                log.name,
                iteration,
            )
            lines += 1
    assert lines > 9000


def test_the_authors_weight_decays_are_those_of_the_settings(shared):
    for path in sorted((shared / "originals").glob("*/results/*")):
        log = read_log(path)
        found = re.search(r"^weight_decay: (\S+)", settings_of(log), re.MULTILINE)
        assert found and set(log.metrics["weight_decay"]) == {float(found[1])}


@pytest.mark.parametrize(
    "text, expected",
    [
        ('lr_policy: "triangluar" base_lr: 1 max_iter: 9', "known: fixed, step"),
        ('lr_policy: "step" base_lr: 1 gamma: 0.1 max_iter: 9', "stepsize"),
        ('lr_policy: "1cycle" base_lr: 1 stepsize: 5 max_iter: 9', "max_lr"),
        ('lr_policy: "fixed" base_lr: nan max_iter: 9', "base_lr"),
    ],
)
def test_a_setting_that_a_policy_cannot_use_is_a_config_error(text, expected, tmp_path):
    with pytest.raises(ConfigError, match=expected):
        schedule_of(text, tmp_path)
