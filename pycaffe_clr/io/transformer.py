"""Preparing images for a net's inputs, and undoing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.io.images import resize_image


class Transformer:
    """Brings (H, W, K) images into the form of input blobs, by settings for each input.

    inputs: shapes of the input blobs by name, {"data": (N, K, H, W)}. The order is: resize,
    transpose, channel swap, raw scale, mean, input scale; what was not set is left out.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, Any] = {}
        self.mean: dict[str, np.ndarray] = {}
        self.input_scale: dict[str, Any] = {}

    def _shape(self, in_: str) -> tuple[int, ...]:
        if in_ not in self.inputs:
            raise ConfigError(f"{in_} is not one of the net inputs: {', '.join(self.inputs)}")
        return tuple(self.inputs[in_])

    def preprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """An image, (H', W', K), as the input blob takes it: float32, (K, H, W) with the usual
        transpose. The image itself is not changed. Raises ConfigError for an unknown input."""
        shape = self._shape(in_)
        values = data.astype(np.float32, copy=False)
        if values.shape[:2] != shape[2:]:
            values = resize_image(values, shape[2:])
        if in_ in self.transpose:
            values = values.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            values = values[list(self.channel_swap[in_])]
        if in_ in self.raw_scale:
            values = values * np.float32(self.raw_scale[in_])
        if in_ in self.mean:
            values = values - self.mean[in_]
        if in_ in self.input_scale:
            values = values * np.float32(self.input_scale[in_])
        return values.astype(np.float32, copy=False)

    def deprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """What an input blob holds, as the image that it was: the inverse of preprocess, but for
        the size. Axes of size 1 are dropped."""
        self._shape(in_)
        values = data.copy().squeeze()
        if in_ in self.input_scale:
            values = values / self.input_scale[in_]
        if in_ in self.mean:
            values = values + self.mean[in_]
        if in_ in self.raw_scale:
            values = values / self.raw_scale[in_]
        if in_ in self.channel_swap:
            values = values[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            values = values.transpose(np.argsort(self.transpose[in_]))
        return values

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Order of the axes, (2, 0, 1) from (H, W, K) to (K, H, W). Raises ConfigError where it
        has another number of axes than a sample of the input."""
        if len(order) != len(self._shape(in_)) - 1:
            raise ConfigError(
                f"input '{in_}': the transpose order {tuple(order)} needs an entry for each of the "
                f"{len(self._shape(in_)) - 1} axes of a sample"
            )
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Order of the channels after the transpose, (2, 1, 0) from RGB to BGR. Raises ConfigError
        where it has another number of channels than the input."""
        if len(order) != self._shape(in_)[1]:
            raise ConfigError(
                f"input '{in_}': the channel swap {tuple(order)} needs an entry for each of the "
                f"{self._shape(in_)[1]} channels"
            )
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: Any) -> None:
        """Factor before the mean, 255 for nets that were trained on pixels from 0 to 255."""
        self._shape(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: np.ndarray) -> None:
        """What is subtracted: (K,), one value for each channel, or (K, H', W') or (H', W'), which
        is resized to the input. Raises ValueError for other shapes."""
        shape = self._shape(in_)[1:]
        mean = np.asarray(mean, np.float32)
        if mean.ndim == 1:
            if len(mean) != shape[0]:
                raise ValueError(f"a mean of {len(mean)} channels for an input of {shape[0]}")
            mean = mean[:, None, None]
        elif mean.ndim == 2:
            mean = mean[None]
        elif mean.ndim != 3 or mean.shape[0] not in (1, shape[0]):
            raise ValueError(f"a mean of shape {mean.shape} for an input of {shape}")
        if mean.shape[1:] != (1, 1) and mean.shape[1:] != shape[1:]:
            mean = resize_image(mean.transpose(1, 2, 0), shape[1:]).transpose(2, 0, 1)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: Any) -> None:
        """Factor after the mean."""
        self._shape(in_)
        self.input_scale[in_] = scale
