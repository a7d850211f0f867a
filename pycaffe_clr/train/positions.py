"""Where nets stand: records consumed, and passes made, which key the random numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING, Any

from pycaffe_clr.errors import DataError

if TYPE_CHECKING:
    from pycaffe_clr._core import Net, RecordFeed

Feeds = Mapping[str, "RecordFeed"]


def capture(net: Net, feeds: Feeds) -> dict[str, Any]:
    """The place of one core net, as plain numbers that JSON can hold.

    Positions count records that were consumed; what was read ahead does not count.
    """
    return {
        "pass": int(net.pass_count),
        "feeds": {name: int(feed.position) for name, feed in feeds.items()},
    }


def check(feeds: Feeds, place: Mapping[str, Any]) -> None:
    """Raise DataError for a place of a net with other data layers."""
    positions = place["feeds"]
    if set(positions) != set(feeds):
        raise DataError(
            f"positions are there for the data layers {sorted(positions)}, "
            f"but the net has {sorted(feeds)}"
        )


def restore(net: Net, feeds: Feeds, place: Mapping[str, Any]) -> None:
    """Go back to a place that `capture` gave. Raises DataError for a place of another net."""
    check(feeds, place)
    for name, feed in feeds.items():
        feed.position = int(place["feeds"][name])
    net.pass_count = int(place["pass"])


def seek(net: Net, feeds: Feeds, passes: int) -> None:
    """Stand where the net would stand after so many forward passes from the start."""
    for name, feed in feeds.items():
        feed.position = passes * records_per_pass(net, name)
    net.pass_count = passes


def records_per_pass(net: Net, layer: str) -> int:
    """Records that a data layer consumes in one forward pass, replicas and ranks together."""
    top = next(row["tops"][0] for row in net.layers() if row["name"] == layer)
    return int(net.shape(top)[0]) * int(net.ranks)


def samples_per_pass(net: Net) -> int:
    """Samples in one forward pass: the first axis of the first blob, of all ranks together; 0 for a
    net without blobs."""
    for name in net.blobs():
        shape = net.shape(name)
        if shape:
            return int(shape[0]) * int(net.ranks)
    return 0


def records_in(feed: RecordFeed) -> int | None:
    """Records of the feed's database; None where that is not known."""
    try:
        return len(feed) if isinstance(feed, Sized) else None
    except TypeError:
        return None
