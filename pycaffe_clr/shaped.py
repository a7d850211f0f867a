"""What follows from a blob's shape."""

from __future__ import annotations

import math


class Shaped:
    """What follows from a shape; Caffe's old names of four axes, 1 for those that are not there."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        raise NotImplementedError

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def _dim(self, axis: int) -> int:
        return self.shape[axis] if axis < len(self.shape) else 1

    @property
    def num(self) -> int:
        """Size of axis 0."""
        return self._dim(0)

    @property
    def channels(self) -> int:
        """Size of axis 1."""
        return self._dim(1)

    @property
    def height(self) -> int:
        """Size of axis 2."""
        return self._dim(2)

    @property
    def width(self) -> int:
        """Size of axis 3."""
        return self._dim(3)
