"""Records of AnnotatedData layers: pictures with boxes, as SSD's databases hold them. Source: the
fork's annotated_data_layer.cpp, data_transformer.cpp and bbox_util.cpp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from google.protobuf.message import DecodeError

from pycaffe_clr import proto
from pycaffe_clr.data import box_sampling, colors, datum, pictures
from pycaffe_clr.data.box_sampling import Boxes
from pycaffe_clr.data.stream import Counted
from pycaffe_clr.errors import DataError

# Boxes for which there is room, of each sample of a batch.
MOST_BOXES = 128


class Values(Protocol):
    """The records of a database as bytes."""

    name: str

    def __len__(self) -> int: ...

    def value(self, record: int) -> bytes:
        """A record's bytes."""

    def describe(self, record: int) -> str:
        """Name, record number and key, to open an error message."""


def _resized(image: np.ndarray, height: int, width: int, mode: str) -> np.ndarray:
    """A (3, H, W) uint8 picture in another size. mode: an Interp_mode; all but LINEAR are Pillow's
    of that kind."""
    if mode == "LINEAR":
        return pictures.resize(image, height, width)
    from PIL import Image

    kinds = {
        "AREA": Image.Resampling.BOX,
        "NEAREST": Image.Resampling.NEAREST,
        "CUBIC": Image.Resampling.BICUBIC,
        "LANCZOS4": Image.Resampling.LANCZOS,
    }
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    return np.asarray(picture.resize((width, height), kinds[mode])).transpose(2, 0, 1)


class AnnotatedRecords(Counted):
    """Pictures (3, height, width), changed as transform_param and batch_samplers say, and with
    each batch a list of its boxes: sample, class, instance, x1, y1, x2, y2, difficult; rows that
    are left over hold -1. names: of the two fields; the second may be missing.

    Raises DataError for records that are no AnnotatedDatum, or that have no boxes but a label.
    """

    def __init__(
        self,
        values: Values,
        transform: Mapping[str, Any],
        samplers: Sequence[Mapping[str, Any]],
        names: Sequence[str],
        seed: int,
    ) -> None:
        resize = transform["resize_param"]
        self._values = values
        self._size = int(resize["height"]), int(resize["width"])
        self._modes = resize.get("interp_mode", ["LINEAR"])
        self._transform = transform
        self._samplers = samplers
        self._names = tuple(names)
        self._seed = seed
        mean = np.asarray(transform.get("mean_value", [0]), np.float32)
        self._mean = np.resize(mean if len(mean) else np.zeros(1, np.float32), 3)
        shapes = ((3, *self._size), (MOST_BOXES, 8))
        self.fields: dict[str, tuple[int, ...]] = dict(zip(self._names, shapes, strict=False))
        self._read(0)

    def __len__(self) -> int:
        return len(self._values)

    def next(self, count: int) -> dict[str, np.ndarray]:
        """Pictures (count, 3, height, width) float32 and boxes (count, MOST_BOXES, 8)."""
        data = np.empty((count, 3, *self._size), np.float32)
        boxes = np.full((count * MOST_BOXES, 8), -1, np.float32)
        rows = 0
        for sample in range(count):
            record = (self._position + sample) % len(self)
            random = np.random.default_rng((self._seed, self._position + sample))
            image, found = self._change(*self._read(record), random)
            data[sample] = image
            if rows + len(found) > len(boxes):
                raise DataError(
                    f"{self._values.describe(record)}: a batch of {count} samples has more than "
                    f"{len(boxes)} boxes, {MOST_BOXES} for each sample"
                )
            boxes[rows : rows + len(found), 0] = sample
            boxes[rows : rows + len(found), 1:] = found.rows
            rows += len(found)
        self._position += count
        fields = (data, boxes.reshape(count, MOST_BOXES, 8))
        return dict(zip(self._names, fields, strict=False))

    def _read(self, record: int) -> tuple[np.ndarray, Boxes]:
        where = self._values.describe(record)
        message = proto.AnnotatedDatum()
        try:
            message.ParseFromString(self._values.value(record))
        except DecodeError as error:
            raise DataError(f"{where}: not an AnnotatedDatum") from error
        if not message.HasField("datum") or not message.HasField("type"):
            raise DataError(
                f"{where}: expected an AnnotatedDatum with boxes, as SSD's convert_annoset makes it"
            )
        picture = datum.decode(message.datum.SerializeToString(), where, True).image
        if picture.shape[0] != 3 or picture.dtype != np.uint8:
            raise DataError(f"{where}: expected a picture of 3 channels of bytes")
        rows = [
            [g.group_label, a.instance_id, b.xmin, b.ymin, b.xmax, b.ymax, b.difficult]
            for g in message.annotation_group
            for a in g.annotation
            for b in (a.bbox,)
        ]
        found = Boxes(np.asarray(rows, np.float32).reshape(-1, 7))
        if not np.isfinite(found.rows).all():
            raise DataError(f"{where}: a box has sides that are no numbers")
        return picture, found

    def _change(
        self, image: np.ndarray, boxes: Boxes, random: np.random.Generator
    ) -> tuple[np.ndarray, Boxes]:
        """What transform_param and the samplers make of a picture: float32, and its boxes."""
        transform = self._transform
        emit = transform["emit_constraint"] if "emit_constraint" in transform else None
        if "distort_param" in transform:
            image = colors.distort(image, transform["distort_param"], random)
        if "expand_param" in transform:
            image, boxes = box_sampling.expand(
                image, boxes, transform["expand_param"], self._mean, emit, random
            )
        part = box_sampling.choose(boxes, self._samplers, random)
        if part is not None:
            image, boxes = box_sampling.crop(image, boxes, part, emit)
        mode = self._modes[int(random.integers(len(self._modes)))]
        image = _resized(image, *self._size, mode)
        if transform.get("mirror", False) and random.integers(2):
            image, boxes = image[:, :, ::-1], boxes.mirrored()
        values = image.astype(np.float32) - self._mean[:, None, None]
        return values * np.float32(transform.get("scale", 1)), boxes
