"""Nets that classify images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr import TEST
from pycaffe_clr import io as caffe_io
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.pycaffe.net import Net


class ImageNet(Net):
    """A net in the test phase whose first input takes images, with what prepares them.

    mean, input_scale, raw_scale, channel_swap: as the settings of io.Transformer. Raises
    ConfigError where the net has no input of four axes.
    """

    def __init__(
        self,
        model_file: str | Path,
        pretrained_file: str | Path | None,
        mean: np.ndarray | None = None,
        input_scale: Any = None,
        raw_scale: Any = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        shape = self.blobs[self.inputs[0]].shape if self.inputs else ()
        if len(shape) != 4:
            raise ConfigError(f"{model_file}: the net has no input for images (N x K x H x W)")
        self.transformer = caffe_io.Transformer({self.inputs[0]: shape})
        self.transformer.set_transpose(self.inputs[0], (2, 0, 1))
        if mean is not None:
            self.transformer.set_mean(self.inputs[0], mean)
        if input_scale is not None:
            self.transformer.set_input_scale(self.inputs[0], input_scale)
        if raw_scale is not None:
            self.transformer.set_raw_scale(self.inputs[0], raw_scale)
        if channel_swap is not None:
            self.transformer.set_channel_swap(self.inputs[0], channel_swap)

    def _predictions(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """The first output for each (H, W, K) image, which is resized to the input."""
        name = self.inputs[0]
        inputs: dict[str, Any] = {
            name: np.stack([self.transformer.preprocess(name, image) for image in images])
        }
        out: np.ndarray = self.forward_all(**inputs)[self.outputs[0]]
        return out


class Classifier(ImageNet):
    """A net that classifies images.

    image_dims: (height, width) to which images are scaled before crops of the input's size are cut
    from them; by default that size. The other settings: see io.Transformer.
    """

    def __init__(
        self,
        model_file: str | Path,
        pretrained_file: str | Path | None,
        image_dims: Sequence[int] | None = None,
        mean: np.ndarray | None = None,
        input_scale: Any = None,
        raw_scale: Any = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, pretrained_file, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else np.array(image_dims)
        if (self.image_dims < self.crop_dims).any():
            raise ConfigError(
                f"image_dims {tuple(self.image_dims)} are smaller than the net's input, "
                f"{tuple(self.crop_dims)}"
            )

    def predict(self, inputs: Sequence[np.ndarray], oversample: bool = True) -> np.ndarray:
        """The first output for each image, (N, classes): probabilities.

        inputs: (H, W, K) images. oversample: the mean over the ten crops of io.oversample; without
        it, of the centre alone.
        """
        images = [caffe_io.resize_image(image, self.image_dims) for image in inputs]
        if oversample:
            crops = caffe_io.oversample(images, self.crop_dims)
            out = self._predictions(crops)
            return np.asarray(out.reshape(len(out) // 10, 10, -1).mean(axis=1))
        top, left = (self.image_dims - self.crop_dims) // 2
        height, width = self.crop_dims
        return self._predictions(
            [image[top : top + height, left : left + width] for image in images]
        )
