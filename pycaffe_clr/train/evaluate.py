"""A test net on its whole database, each record counted equally often."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pycaffe_clr.train import positions
from pycaffe_clr.train.session import Session, mean_outputs

# Where batches do not divide the database, going round it so often makes them come out even.
_MAX_ROUNDS = 32


@dataclass
class WholeTest:
    """outputs: (blob, mean) in order. records: of the database. exact: all count equally often."""

    outputs: list[tuple[str, float]]
    records: int
    passes: int
    exact: bool


def plan_passes(records: int, batch: int) -> tuple[int, bool]:
    """(passes, exact): the fewest whole batches after which all records count equally often.

    Where that takes more than a few rounds: one round, the last batch wrapping to the beginning.
    """
    even = records // math.gcd(records, batch)
    if even * batch <= _MAX_ROUNDS * records:
        return even, True
    return math.ceil(records / batch), False


def whole_test(session: Session, index: int) -> WholeTest | None:
    """Test net `index` on all its records, from the first one on, and put it back where it stood.

    None if it does not read exactly one database of known size, or if the session was stopped.
    """
    net, feeds = session.test_nets[index], session.test_feeds[index]
    if len(feeds) != 1:
        return None
    name, feed = next(iter(feeds.items()))
    records = positions.records_in(feed)
    if not records:
        return None
    passes, exact = plan_passes(records, positions.records_per_pass(net, name))
    place = positions.capture(net, feeds)
    try:
        feed.position = 0
        sums, _, _ = net.test(passes, lambda: not session.stopping)
        if session.stopping:
            return None
        return WholeTest(mean_outputs(net, sums, passes), records, passes, exact)
    finally:
        positions.restore(net, feeds, place)


def describe(outputs: list[tuple[str, Any]]) -> str:
    """`accuracy 0.9712, loss 0.0931`"""
    return ", ".join(f"{name} {float(value):.6g}" for name, value in outputs)
