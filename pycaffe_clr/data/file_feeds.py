"""What layers get that read other files than databases of Datums: HDF5Data, ImageData, WindowData,
AnnotatedData, and InfogainLoss its matrix."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pycaffe_clr.data.feeder import Share
from pycaffe_clr.data.mean import read_mean
from pycaffe_clr.data.resolve import resolve
from pycaffe_clr.data.stream import RecordStream
from pycaffe_clr.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pycaffe_clr.core_types import LayerSpec
    from pycaffe_clr.core_types import RecordSource as StreamSource

PARAMS = {
    "HDF5Data": "hdf5_data_param",
    "ImageData": "image_data_param",
    "WindowData": "window_data_param",
    "AnnotatedData": "data_param",
    "InfogainLoss": "infogain_loss_param",
    "DetectionEvaluate": "detection_evaluate_param",
}
_THREADS = 4  # that decode pictures, at most


class FileFeeds:
    """Opens what such layers name. data_dir: where relative paths are looked up after the working
    directory; seed: of the orders that are random."""

    def __init__(self, data_dir: str | Path | None, seed: int) -> None:
        self._data_dir = data_dir
        self._seed = seed
        # What reads so many pictures of a list, to see how fast that is.
        self.readers: dict[Path, Callable[[int], object]] = {}

    def open(
        self,
        spec: LayerSpec,
        settings: Mapping[str, Any],
        transform: Mapping[str, Any],
        share: Share | None = None,
    ) -> StreamSource:
        """The records of a layer of one of these types. settings: its own message; transform: its
        transform_param; share: which pictures of a batch have to be read. Raises ConfigError and
        DataError."""
        where = f"{spec['where']}: layer '{spec['name']}'"
        if not settings.get("source"):
            raise ConfigError(f"{where}: {PARAMS[spec['type']]} needs a source, the path of a list")
        boxes = spec["type"] == "AnnotatedData"
        path = self._resolve(settings["source"], "database" if boxes else "list")
        # Of its own for each layer, and the same at each start.
        seed = (self._seed << 32) ^ zlib.crc32(spec["name"].encode())
        if boxes and share is not None:
            raise ConfigError(f"{where}: several ranks cannot share out pictures with boxes")
        if boxes:
            return self._annotated(path, spec, transform, seed, where)
        if spec["type"] == "HDF5Data":
            return self._hdf5(path, spec["tops"], settings, seed)
        if spec["type"] == "ImageData":
            return self._images(path, settings, seed, where, share)
        return self._windows(path, spec["tops"], settings, transform, seed, where)

    def table(self, settings: Mapping[str, Any]) -> np.ndarray | None:
        """What a layer reads that names a file of numbers: InfogainLoss's matrix (C, C),
        DetectionEvaluate's heights and widths of pictures (n, 2). None where it names none. Raises
        DataError."""
        if settings.get("source"):
            return read_mean(self._resolve(settings["source"], "matrix"))
        if settings.get("name_size_file"):
            return _read_sizes(self._resolve(settings["name_size_file"], "list"))
        return None

    def _resolve(self, path: str, kind: str) -> Path:
        return resolve(path, self._data_dir, kind)

    def _hdf5(
        self, path: Path, tops: list[str], settings: Mapping[str, Any], seed: int
    ) -> StreamSource:
        from pycaffe_clr.data.hdf5_lists import Hdf5Records, read_lines

        files = [self._resolve(line, "HDF5 file") for line in read_lines(path)]
        return Hdf5Records(files, tops, seed if settings.get("shuffle") else None)

    def _images(
        self,
        path: Path,
        settings: Mapping[str, Any],
        seed: int,
        where: str,
        share: Share | None,
    ) -> StreamSource:
        from pycaffe_clr.data.image_list import read_list
        from pycaffe_clr.data.image_source import ImageSource, Look
        from pycaffe_clr.data.pictures import in_threads

        height, width = int(settings.get("new_height", 0)), int(settings.get("new_width", 0))
        if (height > 0) != (width > 0):
            raise ConfigError(f"{where}: set both new_height and new_width, or neither")
        look = Look(height, width, bool(settings.get("is_color", True)))
        entries = read_list(path)
        skip = int(settings.get("rand_skip", 0))
        if skip:
            skip = int(np.random.default_rng(seed).integers(min(skip, len(entries))))
        source = ImageSource(
            str(path),
            entries,
            settings.get("root_folder", ""),
            look,
            seed if settings.get("shuffle") else None,
            skip,
        )
        threads = min(_THREADS, os.cpu_count() or 1)
        self.readers[path] = lambda count: list(
            in_threads(lambda number: source.read(number, 1), range(count), threads)
        )
        return RecordStream(source, threads=threads, share=share)

    def _windows(
        self,
        path: Path,
        tops: list[str],
        settings: Mapping[str, Any],
        transform: Mapping[str, Any],
        seed: int,
        where: str,
    ) -> StreamSource:
        from pycaffe_clr.data.windows import Sampling, WindowRecords, read_windows

        if len(tops) != 2:
            raise ConfigError(f"{where}: WindowData has two tops, windows and labels")
        crop = int(transform.get("crop_size", 0))
        pad = int(settings.get("context_pad", 0))
        if crop <= 2 * pad:
            raise ConfigError(
                f"{where}: transform_param's crop_size {crop} must be above twice the context_pad, "
                f"{pad}"
            )
        mode = settings.get("crop_mode", "warp")
        if mode not in ("warp", "square"):
            raise ConfigError(f"{where}: crop_mode '{mode}' is unknown; expected warp or square")
        mean = self._window_mean(transform, crop, where)
        thresholds = {
            name: float(settings[name])
            for name in ("fg_threshold", "bg_threshold", "fg_fraction")
            if name in settings
        }
        for name, value in thresholds.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"{where}: {name} is {value:g}, expected 0 to 1")
        how = Sampling(
            crop,
            bool(transform.get("mirror", False)),
            float(transform.get("scale", 1)),
            mean,
            context_pad=pad,
            square=mode == "square",
            cache=bool(settings.get("cache_images", False)),
            **thresholds,
        )
        windows = read_windows(path, settings.get("root_folder", ""))
        records = WindowRecords(str(path), windows, how, tops, seed)
        self.readers[path] = lambda count: records.read(0, count)
        return records

    def _annotated(
        self, path: Path, spec: LayerSpec, transform: Mapping[str, Any], seed: int, where: str
    ) -> StreamSource:
        from pycaffe_clr.data.annotated import AnnotatedRecords
        from pycaffe_clr.data.annotated_settings import check_settings
        from pycaffe_clr.data.sources import RawRecords

        if len(spec["tops"]) > 2:
            raise ConfigError(f"{where}: AnnotatedData has two tops at most, pictures and boxes")
        samplers = spec["attributes"].get("annotated_data_param", {}).get("batch_sampler", [])
        check_settings(transform, samplers, where)
        return AnnotatedRecords(RawRecords(path), transform, samplers, spec["tops"], seed)

    def _window_mean(
        self, transform: Mapping[str, Any], crop: int, where: str
    ) -> np.ndarray | None:
        values = transform.get("mean_value", [])
        if "mean_file" in transform:
            mean = read_mean(self._resolve(transform["mean_file"], "mean file"))
            if mean.shape[0] != 3 or mean.shape[1] != mean.shape[2] or mean.shape[1] < crop:
                raise ConfigError(
                    f"{where}: its mean_file must hold a square of three channels, at least "
                    f"{crop}x{crop}; it holds {mean.shape}"
                )
            return mean
        if len(values) not in (0, 1, 3):
            raise ConfigError(f"{where}: mean_value is given {len(values)} times; expected 1 or 3")
        return np.resize(np.asarray(values, np.float32), 3) if len(values) else None


def _read_sizes(path: Path) -> np.ndarray | None:
    """Of the lines `name height width`; None where there are none."""
    sizes = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) < 3 or not all(side.isdecimal() and int(side) for side in words[-2:]):
            raise DataError(f"{path}:{number}: expected `name height width`, came {line!r:.60}")
        sizes.append([float(side) for side in words[-2:]])
    return np.asarray(sizes, np.float32) if sizes else None
