"""Sets of samples that are larger than a net's batch: cut into batches, and put together again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pycaffe_clr.errors import ConfigError

if TYPE_CHECKING:
    from pycaffe_clr.pycaffe.passes import Passes


def batches(net: Passes, arrays: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """Batches of the net, and how many samples each has; the last one is padded with zeros.

    arrays: by blob, all of one length. Raises ConfigError where they are not.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    unknown = sorted(set(arrays) - set(net.blobs))
    if not arrays or unknown or len(set(lengths.values())) > 1:
        raise ConfigError(
            f"expected arrays of one length for the inputs {net.inputs}, came {lengths}"
        )
    batch = net.blobs[next(iter(arrays))].shape[0]
    total = next(iter(lengths.values()))
    for begin in range(0, total, batch):
        piece: dict[str, Any] = {}
        for name, array in arrays.items():
            part = np.asarray(array)[begin : begin + batch]
            full = np.zeros((batch, *part.shape[1:]), np.float32)
            full[: len(part)] = part
            piece[name] = full
        yield piece, min(batch, total - begin)


class Gathered:
    """Arrays by blob, put together from batches."""

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = {}

    def add(self, arrays: Mapping[str, np.ndarray], size: int) -> None:
        """Copy the first `size` samples of one batch."""
        for name, array in arrays.items():
            if not array.ndim:
                raise ConfigError(f"blob '{name}' is one number for a batch, not one per sample")
            self._parts.setdefault(name, []).append(np.array(array[:size]))

    def joined(self) -> dict[str, np.ndarray]:
        """All samples of each blob."""
        return {name: np.concatenate(parts) for name, parts in self._parts.items()}
