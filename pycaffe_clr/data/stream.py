"""A source as the engine's data layers take it: the next so many records, from a position on."""

from __future__ import annotations

import numpy as np

from pycaffe_clr.data.feeder import Feeder, Share
from pycaffe_clr.data.sources import Source


class Counted:
    """A feed that gives something else each time: its position counts all that it handed out."""

    _position = 0

    @property
    def position(self) -> int:
        """Records handed out, of every round."""
        return self._position

    def seek(self, position: int) -> None:
        """Go on as if so many had been handed out."""
        self._position = position


class RecordStream:
    """Records of `source` in order, wrapping at the end, read ahead by background threads.

    The position is that of the records handed out, modulo the size of the source; what was read
    ahead does not count. Reading ahead starts with the first `next` and again after a `seek` or
    another count. share: which records of each batch are of use; None: all. Errors of the source
    are raised when their records' turn comes.
    """

    def __init__(
        self, source: Source, depth: int = 3, threads: int = 1, share: Share | None = None
    ) -> None:
        self.source = source
        self._share = share
        self.shape = source.shape
        self._depth, self._threads = depth, threads
        self._feeder: Feeder | None = None
        self._count = 0
        self._position = 0

    def __len__(self) -> int:
        return len(self.source)

    @property
    def position(self) -> int:
        """Number of the record that the next batch begins with."""
        return self._position

    def seek(self, position: int) -> None:
        """Go on with record `position`, modulo the size of the source."""
        self.close()
        self._position = position % len(self.source)

    def next(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Images (count, C, H, W) and int32 labels (count,), valid until the next call."""
        if self._feeder is None or count != self._count:
            self.close()
            self._feeder = Feeder(
                self.source,
                count,
                start=self._position,
                depth=self._depth,
                threads=self._threads,
                share=self._share,
            )
            self._count = count
        batch = self._feeder.next()
        self._position = batch.position % len(self.source)
        return batch.data, batch.labels

    def close(self) -> None:
        """Stop the threads; `next` starts new ones."""
        if self._feeder is not None:
            self._feeder.close()
            self._feeder = None
