"""Records of ImageData layers: files of pictures that a list names, decoded as they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pycaffe_clr.data import pictures
from pycaffe_clr.data.image_list import Entry
from pycaffe_clr.data.sources import Held, output_array
from pycaffe_clr.errors import DataError, shape_text


@dataclass(frozen=True)
class Look:
    """How pictures are read: height, width: 0 for their own; color: three channels, else one."""

    height: int = 0
    width: int = 0
    color: bool = True

    def load(self, path: Path) -> np.ndarray:
        """The picture in a file, (C, H, W) uint8. Raises DataError."""
        image = pictures.load(path, self.color)
        if self.height and image.shape[1:] != (self.height, self.width):
            image = pictures.resize(image, self.height, self.width)
        return image


class ImageSource:
    """The pictures of a list as data.Source has records; all must have the first one's shape.

    root: what stands before each path. With a seed the order changes from round to round, as
    Caffe's shuffle has it; skip: so many are left out at the beginning of the first.
    """

    encoded = True
    rounds = True
    held: Held | None = None

    def __init__(
        self,
        name: str,
        entries: Sequence[Entry],
        root: str = "",
        look: Look | None = None,
        seed: int | None = None,
        skip: int = 0,
    ) -> None:
        self.name = name
        self._entries = entries
        self._root = root
        self._look = look or Look()
        self._seed = seed
        self._skip = skip % len(entries)
        self._orders: dict[int, np.ndarray] = {}
        first = self._look.load(Path(root + self._entry(0).path))
        self.shape = (first.shape[0], first.shape[1], first.shape[2])
        self.dtype = first.dtype

    def __len__(self) -> int:
        return len(self._entries)

    def read(
        self,
        records: int | Sequence[int] | np.ndarray,
        count: int | None = None,
        out: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and labels as Source.read; a record beyond the end is of a later round."""
        numbers = np.atleast_1d(np.asarray(records, np.int64))
        if count is not None:
            numbers = numbers[0] + np.arange(count)
        out = output_array(out, (len(numbers), *self.shape), self.dtype)
        labels = np.empty(len(numbers), np.int32)
        for row, number in enumerate(numbers):
            entry = self._entry(int(number))
            path = Path(self._root + entry.path)
            image = self._look.load(path)
            if image.shape != self.shape:
                raise DataError(
                    f"{path}: is {shape_text(image.shape)} (C x H x W), the first picture "
                    f"{shape_text(self.shape)}; set new_height and new_width"
                )
            out[row], labels[row] = image, entry.label
        return out, labels

    def describe(self, record: int) -> str:
        """`LIST: picture 7 (PATH)`."""
        return f"{self.name}: picture {record} ({self._root}{self._entry(record).path})"

    def _entry(self, number: int) -> Entry:
        number += self._skip
        epoch, place = divmod(number, len(self._entries))
        if self._seed is None:
            return self._entries[place]
        if epoch not in self._orders:
            random = np.random.default_rng((self._seed, epoch))
            self._orders = {
                **{e: order for e, order in self._orders.items() if e >= epoch - 1},
                epoch: random.permutation(len(self._entries)),
            }
        return self._entries[int(self._orders[epoch][place])]
