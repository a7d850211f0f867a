"""Parts of pictures with boxes: which to cut out, and what becomes of the boxes. Source: SSD's
sampler.cpp, bbox_util.cpp and im_transforms.cpp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Part(NamedTuple):
    """A part of a picture, its sides as shares of the picture's."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Boxes:
    """A picture's boxes. rows (n, 7): class, instance, x1, y1, x2, y2 as shares of the picture,
    difficult."""

    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sides(self) -> np.ndarray:
        """x1, y1, x2, y2: (n, 4)."""
        return self.rows[:, 2:6]

    def mirrored(self) -> Boxes:
        """Of the picture the other way round."""
        rows = self.rows.copy()
        rows[:, 2], rows[:, 4] = 1 - self.rows[:, 4], 1 - self.rows[:, 2]
        return Boxes(rows)

    def within(self, part: Part, emit: Mapping[str, Any] | None) -> Boxes:
        """What a part of the picture shows of them, as shares of the part; emit: which of them are
        kept, an emit_constraint."""
        keep = np.ones(len(self), bool)
        if emit is not None and emit.get("emit_type", "CENTER") == "CENTER":
            centre = (self.sides[:, :2] + self.sides[:, 2:]) / 2
            keep = ((centre >= part[:2]) & (centre <= part[2:])).all(1)
        elif emit is not None:
            keep = _covered(self.sides, part) > float(emit.get("emit_overlap", 0))
        low = np.asarray(part[:2] * 2, np.float32)
        size = np.asarray([part.x2 - part.x1, part.y2 - part.y1] * 2, np.float32)
        rows = self.rows.copy()
        rows[:, 2:6] = np.clip((self.sides - low) / size, 0, 1)
        keep &= (rows[:, 4] > rows[:, 2]) & (rows[:, 5] > rows[:, 3])
        return Boxes(rows[keep])


def _shared(sides: np.ndarray, part: Part) -> np.ndarray:
    """Areas that boxes have in common with a part."""
    low, high = np.maximum(sides[:, :2], part[:2]), np.minimum(sides[:, 2:], part[2:])
    return np.asarray(np.maximum(high - low, 0).prod(1))


def _area(sides: np.ndarray) -> np.ndarray:
    return np.asarray((sides[..., 2:] - sides[..., :2]).prod(-1))


def _covered(sides: np.ndarray, part: Part) -> np.ndarray:
    """Which share of each box lies in a part."""
    area = _area(sides)
    return _shared(sides, part) / np.where(area > 0, area, 1)


def _meets(boxes: Boxes, part: Part, constraint: Mapping[str, Any]) -> bool:
    """Whether one of the boxes has with the part what a sample_constraint asks for."""
    kinds = ("jaccard_overlap", "sample_coverage", "object_coverage")
    asked = [k for k in kinds if f"min_{k}" in constraint or f"max_{k}" in constraint]
    if not asked:
        return True
    shared, own = _shared(boxes.sides, part), _area(np.asarray(part))
    area = _area(boxes.sides)
    values = {
        "jaccard_overlap": shared / (own + area - shared),
        "sample_coverage": shared / own,
        "object_coverage": shared / np.where(area > 0, area, 1),
    }
    # As the fork has it, a box that meets one of several bounds before it fails another will do.
    found = False
    for box in range(len(boxes)):
        for kind in asked:
            least = float(constraint.get(f"min_{kind}", -np.inf))
            most = float(constraint.get(f"max_{kind}", np.inf))
            if not least <= values[kind][box] <= most:
                break
            found = True
        if found:
            return True
    return False


def _draw(sampler: Mapping[str, Any], random: np.random.Generator) -> Part:
    """A part of the scale and shape that a sampler asks for, anywhere."""
    scale = random.uniform(float(sampler.get("min_scale", 1)), float(sampler.get("max_scale", 1)))
    ratio = random.uniform(
        float(sampler.get("min_aspect_ratio", 1)), float(sampler.get("max_aspect_ratio", 1))
    )
    ratio = min(max(ratio, scale**2), 1 / scale**2)
    width, height = min(scale * ratio**0.5, 1.0), min(scale / ratio**0.5, 1.0)
    x, y = random.uniform(0, 1 - width), random.uniform(0, 1 - height)
    return Part(x, y, x + width, y + height)


def choose(
    boxes: Boxes, samplers: Sequence[Mapping[str, Any]], random: np.random.Generator
) -> Part | None:
    """One of the parts that batch_samplers find; None: the whole picture, where there are none."""
    parts: list[Part] = []
    for each in samplers:
        if not each.get("use_original_image", True):
            continue
        found = 0
        for _ in range(int(each.get("max_trials", 100))):
            if "max_sample" in each and found >= int(each["max_sample"]):
                break
            part = _draw(each.get("sampler", {}), random)
            if _meets(boxes, part, each.get("sample_constraint", {})):
                found += 1
                parts.append(part)
    return parts[int(random.integers(len(parts)))] if parts else None


def crop(
    image: np.ndarray, boxes: Boxes, part: Part, emit: Mapping[str, Any] | None
) -> tuple[np.ndarray, Boxes]:
    """A part of a picture (3, H, W), and its boxes."""
    height, width = image.shape[1:]
    part = Part(*(min(max(side, 0.0), 1.0) for side in part))
    top, left = int(part.y1 * height), int(part.x1 * width)
    rows = max(int((part.y2 - part.y1) * height), 1)
    columns = max(int((part.x2 - part.x1) * width), 1)
    return image[:, top : top + rows, left : left + columns], boxes.within(part, emit)


def expand(
    image: np.ndarray,
    boxes: Boxes,
    param: Mapping[str, Any],
    mean: np.ndarray,
    emit: Mapping[str, Any] | None,
    random: np.random.Generator,
) -> tuple[np.ndarray, Boxes]:
    """By chance the picture somewhere on a larger canvas of the mean's colour. param: an
    expand_param."""
    if random.uniform() > float(param.get("prob", 1)):
        return image, boxes
    ratio = random.uniform(1, max(1.0, float(param.get("max_expand_ratio", 1))))
    if ratio - 1 < 1e-2:
        return image, boxes
    rows, columns = image.shape[1:]
    height, width = int(rows * ratio), int(columns * ratio)
    top, left = int(random.uniform(0, height - rows)), int(random.uniform(0, width - columns))
    canvas = np.empty((3, height, width), np.uint8)
    canvas[:] = np.clip(mean, 0, 255).astype(np.uint8)[:, None, None]
    canvas[:, top : top + rows, left : left + columns] = image
    around = Part(-left / columns, -top / rows, (width - left) / columns, (height - top) / rows)
    return canvas, boxes.within(around, emit)
