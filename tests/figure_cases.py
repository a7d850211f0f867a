"""Made-up runs with plausible curves, for the tests of figures and of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

_CLASSES = {"mnist": 10, "cifar10": 10, "cifar100": 100, "imagenet": 1000}
_TESTS = 40


def write_run(
    folder: Path,
    *,
    max_iter: int = 1000,
    lr: tuple[float, ...] = (0.1,),
    rising: bool = False,
    momentum: tuple[float, ...] = (0.9,),
    classes: int = 10,
    quality: float = 0.9,
    seed: int = 1,
    state: str = "finished",
    stop: int | None = None,
    start: int = 0,
    **record: Any,
) -> Path:
    """A run's folder as training leaves it: run.json, metrics.csv, tests.csv.

    quality: the accuracy that it comes near to. rising: a range test, else 1cycle for two rates.
    stop: iteration at which it diverged or has got to. start: that of the snapshot it goes on from.
    """
    random = np.random.default_rng(seed)
    last = max_iter if stop is None else stop
    steps = np.unique(np.linspace(start, last - 1, 300).astype(int))
    part = steps / max_iter
    if len(lr) == 1:
        rate = np.full(len(steps), lr[0])
    elif rising:
        rate = lr[0] + (lr[1] - lr[0]) * part
    else:
        x = part * 2.2
        rate = np.where(x < 1, lr[0] + (lr[1] - lr[0]) * x, lr[1] * np.maximum(2 - x, 0.001))
    first, then = momentum[0], momentum[-1]
    swing = part if rising or len(lr) == 1 else 1 - np.abs(np.minimum(part * 2.2, 2) - 1)
    chance = float(np.log(classes))
    floor = chance * (1 - quality) * 1.1

    def loss_at(progress: np.ndarray) -> np.ndarray:
        bump = 0.05 * chance * np.exp(-(((progress - 0.5) / 0.15) ** 2))
        return floor + (chance - floor) * np.exp(-9 * progress) + bump

    metrics = np.column_stack([
        steps,
        loss_at(part) * 0.9 + 0.05 * chance * random.normal(size=len(steps)) * (1 - 0.7 * part),
        loss_at(part) * 0.9,
        rate,
        first + (then - first) * swing,
    ])  # fmt: skip
    at = np.linspace(0, max_iter, _TESTS + 1).astype(int)
    at = at[(at <= last) & (at >= start)]
    noise = 0.02 * chance * random.normal(size=len(at))
    loss = loss_at(at / max_iter) + noise
    accuracy = np.clip(1 - loss / chance * 0.9, 1 / classes, 1)
    tests = np.column_stack([at, np.zeros(len(at)), accuracy, loss])
    folder.mkdir(parents=True, exist_ok=True)
    _table(folder / "metrics.csv", "iteration,loss,smoothed_loss,lr,momentum", metrics)
    _table(folder / "tests.csv", "iteration,net,accuracy,loss", tests)
    found = {
        "state": state,
        "name": folder.parent.name,
        "seed": seed,
        "iteration": last,
        "max_iter": max_iter,
        "batch": 128,
        **record,
    }
    (folder / "run.json").write_text(json.dumps(found))
    return folder


def _table(path: Path, header: str, rows: np.ndarray) -> None:
    np.savetxt(path, rows, "%.9g", ",", header=header, comments="")


def write_setting(
    root: Path, setting: Any, runs: int = 4, quality: float = 0.9, **record: Any
) -> None:
    """The first `runs` runs of a setting of the manifest, under ROOT/<setting>."""
    for number, plan in enumerate(setting.runs[:runs]):
        write_run(
            root / setting.name / plan.name,
            max_iter=setting.max_iter,
            lr=setting.lr,
            rising=setting.policy == "range",
            momentum=setting.momentum,
            classes=_CLASSES[setting.dataset],
            quality=quality,
            seed=number + 1,
            start=setting.start[1] if setting.start else 0,
            **record,
        )
