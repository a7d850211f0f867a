"""Features of a net, written to databases as extract_features does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from pycaffe_clr import TEST
from pycaffe_clr.data import datum
from pycaffe_clr.data.writer import DatabaseWriter, check_free
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.pycaffe.net import Net


def extract(
    weights: str | Path,
    model: str | Path,
    blobs: Sequence[str],
    databases: Sequence[Path],
    batches: int,
    *,
    backend: str = "lmdb",
    data_dir: str | Path | None = None,
    force: bool = False,
    report: Callable[[str], None] | None = None,
) -> int:
    """Write each blob's values for so many batches, a record of floats for each sample, to the
    database (backend: "lmdb" or "leveldb") of its place; returns the number of records in each.

    Raises ConfigError for unknown blobs and for those that have no samples, DataError.
    """
    if len(blobs) != len(databases):
        raise ConfigError(f"{len(blobs)} blobs and {len(databases)} databases for them")
    if len(set(databases)) != len(databases):
        raise ConfigError("two blobs cannot go to one database")
    if batches < 1:
        raise ConfigError(f"the number of batches must be 1 or more, not {batches}")
    check_free(list(databases), force)
    net = Net(model, TEST, weights=weights, data_dir=data_dir)
    for name in blobs:
        if name not in net.blobs:
            raise ConfigError(f"{model}: the net has no blob '{name}'; its blobs are "
                              f"{', '.join(net.blobs)}")  # fmt: skip
        if not 1 <= len(net.blobs[name].shape) <= 4:
            raise ConfigError(f"blob '{name}' of shape {net.blobs[name].shape} has no samples of "
                              "channels, height and width")  # fmt: skip
    count = 0
    with ExitStack() as stack:
        writers = [
            stack.enter_context(DatabaseWriter(path, force, backend=backend)) for path in databases
        ]
        for _ in range(batches):
            net.forward()
            for name, writer in zip(blobs, writers, strict=True):
                blob = net.blobs[name]
                samples = blob.data.reshape(blob.num, blob.channels, blob.height, blob.width)
                for sample in samples:
                    value = datum.encode(sample, None)
                    writer.put(f"{writer.count:010d}".encode(), value)
            count = writers[0].count
            if report is not None:
                report(f"Extracted features of {count} query images")
    return count
