"""What AnnotatedData's settings may say. Source: the checks of SSD's sampler.cpp and
im_transforms.cpp."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pycaffe_clr.errors import ConfigError

# A side of a picture, in pixels; how much larger than the picture a canvas may be; parts that are
# drawn for one picture.
_MOST_SIDE, _MOST_RATIO, _MOST_TRIALS = 1 << 14, 64.0, 1 << 16
# Any finite number, and any that is not negative.
_FINITE, _FREE = (-3.4e38, 3.4e38), (0.0, 3.4e38)
_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "resize_param": {"height": (1, _MOST_SIDE), "width": (1, _MOST_SIDE)},
    "expand_param": {"max_expand_ratio": (1.0, _MOST_RATIO)},
    "distort_param": {
        name: _FREE
        for name in ("brightness_delta", "contrast_lower", "contrast_upper", "hue_delta",
                     "saturation_lower", "saturation_upper")
    },
    "sampler": {
        "min_scale": (1e-6, 1.0),
        "max_scale": (1e-6, 1.0),
        "min_aspect_ratio": (1e-6, 1e6),
        "max_aspect_ratio": (1e-6, 1e6),
    },
}  # fmt: skip


def check_settings(
    transform: Mapping[str, Any], samplers: Sequence[Mapping[str, Any]], where: str
) -> None:
    """Raise ConfigError for what a transform_param and batch_samplers may not say, or what of
    SSD's is not supported."""
    resize = transform.get("resize_param", {})
    if not resize.get("height") or not resize.get("width"):
        raise ConfigError(
            f"{where}: transform_param needs a resize_param with height and width: pictures of a "
            "batch must be of one size"
        )
    if resize.get("resize_mode", "WARP") != "WARP":
        raise ConfigError(f"{where}: resize_mode {resize['resize_mode']} is not supported; WARP is")
    for field in ("noise_param", "crop_size", "crop_h", "crop_w", "mean_file"):
        if transform.get(field):
            raise ConfigError(f"{where}: {field} is not supported with boxes")
    if len(transform.get("mean_value", [])) not in (0, 1, 3):
        raise ConfigError(f"{where}: mean_value must be given once, or for 3 channels")
    for value in (transform.get("scale", 1), *transform.get("mean_value", [])):
        _check("a scale or mean_value", value, _FINITE, where)
    for name in ("resize_param", "expand_param", "distort_param"):
        _check_message(name, transform.get(name, {}), where)
    _check_order(transform.get("distort_param", {}), "{}_lower", "{}_upper",
                 ("contrast", "saturation"), 0, where)  # fmt: skip
    for each in samplers:
        sampler = each.get("sampler", {})
        _check_message("sampler", sampler, where)
        _check_order(sampler, "min_{}", "max_{}", ("scale", "aspect_ratio"), 1, where)
        _check("batch_sampler max_trials", each.get("max_trials", 0), (0, _MOST_TRIALS), where)


def _check_message(name: str, message: Mapping[str, Any], where: str) -> None:
    for field, limits in _RANGES[name].items():
        if field in message:
            _check(f"{name} {field}", message[field], limits, where)


def _check(what: str, value: Any, limits: tuple[float, float], where: str) -> None:
    if not (math.isfinite(value) and limits[0] <= value <= limits[1]):
        raise ConfigError(f"{where}: {what} is {value:g}, expected {limits[0]:g} to {limits[1]:g}")


def _check_order(
    message: Mapping[str, Any],
    low: str,
    high: str,
    names: Sequence[str],
    default: float,
    where: str,
) -> None:
    """That one field is not above another."""
    for name in names:
        first, last = (message.get(form.format(name), default) for form in (low, high))
        if first > last:
            raise ConfigError(
                f"{where}: {low.format(name)}, {first:g}, is above {high.format(name)}, {last:g}"
            )
