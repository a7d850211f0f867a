"""Nets that classify windows of images, as R-CNN does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr import io as caffe_io
from pycaffe_clr.classifier import ImageNet
from pycaffe_clr.errors import ConfigError


class Detector(ImageNet):
    """A net that classifies windows of images.

    context_pad: pixels of the net's input, on each side, that show what is around the window; what
    lies outside of the image is the mean there. The other settings: see io.Transformer.
    """

    def __init__(
        self,
        model_file: str | Path,
        pretrained_file: str | Path | None,
        mean: np.ndarray | None = None,
        input_scale: Any = None,
        raw_scale: Any = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, pretrained_file, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(
        self, images_windows: Iterable[tuple[str, Iterable[Any]]]
    ) -> list[dict[str, Any]]:
        """Predictions of windows, which are warped to the net's input.

        images_windows: (image file, windows), a window being ymin, xmin, ymax, xmax. Returns
        {"filename", "window", "prediction"} of each. Raises ConfigError for an empty window,
        DataError for an image that cannot be read.
        """
        found: list[dict[str, Any]] = []
        crops = []
        for filename, windows in images_windows:
            image = caffe_io.load_image(filename)
            for window in windows:
                crops.append(self.crop(image, window))
                found.append({"window": window, "filename": filename})
        if not crops:
            return []
        for each, prediction in zip(found, self._predictions(crops), strict=True):
            each["prediction"] = prediction
        return found

    def detect_selective_search(self, image_fnames: Sequence[str]) -> list[dict[str, Any]]:
        """detect_windows over the proposals of the package selective_search_ijcv_with_python.

        Raises ConfigError where that is not installed.
        """
        try:
            import selective_search_ijcv_with_python as selective_search
        except ImportError as error:
            raise ConfigError(
                "selective search needs the package selective_search_ijcv_with_python, and MATLAB; "
                "give windows of your own to detect_windows"
            ) from error
        names = [str(Path(name).resolve()) for name in image_fnames]
        windows = selective_search.get_windows(names, cmd="selective_search_rcnn")
        return self.detect_windows(zip(names, windows, strict=True))

    def crop(self, im: np.ndarray, window: Any) -> np.ndarray:
        """A window of an (H, W, K) image: ymin, xmin, ymax, xmax; with context_pad in the size of
        the net's input, with what is around it. Raises ConfigError for an empty window."""
        box = np.asarray(window, np.float64)
        top, left, bottom, right = box.astype(int)
        crop = im[max(top, 0) : bottom, max(left, 0) : right]
        if not crop.size:
            raise ConfigError(f"window {tuple(box)} holds no pixel of an image of {im.shape[:2]}")
        return self._with_context(im, box) if self.context_pad else crop

    def _with_context(self, im: np.ndarray, box: np.ndarray) -> np.ndarray:
        """As R-CNN crops: the box is scaled about its centre so that it fills the input without
        its border, and what then reaches beyond the image stays the mean."""
        size = int(self.crop_dims[1])
        scale = size / (size - 2.0 * (self.context_pad or 0))
        half = (box[2:] - box[:2] + 1) / 2
        centre = box[:2] + half
        low, high = np.round(centre - scale * half), np.round(centre + scale * half)
        ratio = size / (high - low + 1)
        pad = np.round(np.maximum(0, -low) * ratio).astype(int)
        limits = np.array(im.shape[:2])
        low, high = np.clip(low, 0, limits), np.clip(high, 0, limits)
        room = np.round((high - low + 1) * ratio).astype(int)
        room = np.minimum(room, size - pad)
        (y, x), (bottom, right) = low.astype(int), high.astype(int)
        crop = np.array(np.broadcast_to(self.crop_mean, self.crop_dims), np.float32)
        inside = caffe_io.resize_image(im[y:bottom, x:right], room)
        crop[pad[0] : pad[0] + room[0], pad[1] : pad[1] + room[1]] = inside
        return crop

    def configure_crop(self, context_pad: int | None) -> None:
        """Set the context of crops, and the mean around them, as images have it before they are
        prepared. Raises ConfigError where the context leaves no room for the window."""
        _, channels, height, width = self.blobs[self.inputs[0]].shape
        self.crop_dims = np.array((height, width, channels))
        self.context_pad = context_pad
        if not context_pad:
            return
        if height != width or not 0 < 2 * context_pad < width:
            raise ConfigError(
                f"a context_pad of {context_pad} needs a square input that is wider than "
                f"{2 * context_pad}; the net's is {height}x{width}"
            )
        name, transformer = self.inputs[0], self.transformer
        mean = transformer.mean.get(name, np.zeros((channels, 1, 1), np.float32))
        if name in transformer.channel_swap:
            mean = np.broadcast_to(mean, (channels, *mean.shape[1:]))
            mean = mean[np.argsort(transformer.channel_swap[name])]
        if name in transformer.raw_scale:
            mean = mean / transformer.raw_scale[name]
        self.crop_mean = np.asarray(mean.transpose(1, 2, 0), np.float32)
