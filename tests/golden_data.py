"""What real Caffe computed: where it lies, and how a result is compared with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pycaffe_clr.engine import backend_of
from pycaffe_clr.errors import ConfigError

HERE = Path(__file__).parent / "golden"
SHARED = Path(os.environ.get("PYCAFFE_CLR_SHARED", Path(__file__).parents[2] / "shared"))

# How far from Caffe's largest value a single layer's may be, and from its value a training run's.
# For the former: Caffe's own sums, in float32 and in another order, differ from exact ones by about
# a tenth of that. conftest.py widens both for a GPU, whose functions are its own.
LAYER_BOUND, RUN_BOUND = 1e-5, 2e-4

# Devices, each of another backend; golden cases of types that none knows wait for their layers.
BACKENDS = ("reference", "kernels", "onednn")


def need(device: str) -> None:
    """Skip the test where the backend of a device does not work here."""
    try:
        backend_of(device)
    except ConfigError as error:
        pytest.skip(str(error))


def folders(kind: str) -> list[Path]:
    """Folders of golden data of a kind ("layers", "trajectories"): ours, then the shared ones."""
    return [f for f in (HERE / kind, SHARED / "golden" / kind) if f.is_dir()]


def files(kind: str, pattern: str) -> list[Path]:
    """Golden files or folders by name; where a name is in both places, ours."""
    found: dict[str, Path] = {}
    for folder in folders(kind):
        for path in sorted(folder.glob(pattern)):
            found.setdefault(path.name, path)
    return list(found.values())


def distance(ours: Any, caffes: Any) -> float:
    """Largest difference, relative to the largest finite value of Caffe's; inf where they differ
    in shape or in which values are nan or infinite."""
    a, b = np.asarray(ours, np.float64), np.asarray(caffes, np.float64)
    if a.shape != b.shape:
        return np.inf
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return np.inf
    if not finite.any():
        return 0.0
    difference = np.abs(a[finite] - b[finite]).max()
    if not np.isfinite(difference):
        return np.inf
    largest = np.abs(b[finite]).max()
    return float(difference / largest) if largest else float(difference)
