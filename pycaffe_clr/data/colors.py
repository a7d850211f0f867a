"""Changes of a picture's colours by chance: brightness, contrast, saturation, hue. Source: SSD's
im_transforms.cpp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def distort(image: np.ndarray, param: Mapping[str, Any], random: np.random.Generator) -> np.ndarray:
    """A (3, H, W) uint8 picture, blue, green, red, as a distort_param changes it."""

    def chance(name: str) -> bool:
        return bool(random.uniform() < float(param.get(f"{name}_prob", 0)))

    def between(name: str) -> float:
        low, high = float(param.get(f"{name}_lower", 0)), float(param.get(f"{name}_upper", 0))
        return float(random.uniform(low, max(low, high)))

    def around(name: str) -> float:
        delta = abs(float(param.get(f"{name}_delta", 0)))
        return float(random.uniform(-delta, delta))

    contrast_first = random.uniform() > float(param.get("random_order_prob", 0))
    if chance("brightness"):
        image = _saturated(image.astype(np.float32) + around("brightness"))
    contrast = between("contrast") if chance("contrast") else 1.0
    if contrast_first:
        image = _saturated(image * np.float32(contrast))
    strength = between("saturation") if chance("saturation") else 1.0
    turn = around("hue") if chance("hue") else 0.0
    if strength != 1 or turn != 0:
        image = _coloured(image, strength, turn)
    return image if contrast_first else _saturated(image * np.float32(contrast))


def _saturated(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _coloured(image: np.ndarray, strength: float, turn: float) -> np.ndarray:
    """Saturation times strength, and hue turned, in OpenCV's steps of 2 degrees."""
    blue, green, red = image.astype(np.float32)
    most, least = image.max(0).astype(np.float32), image.min(0).astype(np.float32)
    span = np.where(most > least, most - least, 1)
    hue = np.where(
        most == red,
        (green - blue) / span,
        np.where(most == green, 2 + (blue - red) / span, 4 + (red - green) / span),
    )
    hue = (np.where(most > least, hue, 0) * 30 + turn) % 180 / 30  # 0 to 6
    share = np.where(most > 0, (most - least) / np.where(most > 0, most, 1), 0)
    share = np.clip(share * strength, 0, 1)
    # Each colour's distance from the hue tells how much of the saturation it loses.
    shades = [most * (1 - share * np.clip(_near(hue, n), 0, 1)) for n in (1, 3, 5)]
    return _saturated(np.stack(shades))


def _near(hue: np.ndarray, shift: int) -> np.ndarray:
    """min(k, 4 - k) for k = (shift + hue) mod 6: the usual formula from hue to a colour."""
    k = (shift + hue) % 6
    return np.asarray(np.minimum(k, 4 - k))
