"""A test net on its whole database, each record counted equally often."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycaffe_clr.catalog import find_net
from pycaffe_clr.engine import Records, build_net
from pycaffe_clr.errors import DataError
from pycaffe_clr.proto import TEST
from pycaffe_clr.prototxt import load_net
from pycaffe_clr.train import detection, positions
from pycaffe_clr.train.passes import mean_outputs
from pycaffe_clr.train.tables import output_columns
from pycaffe_clr.train.training import Training
from pycaffe_clr.weights import load_weights, read_weights

if TYPE_CHECKING:
    from pycaffe_clr._core import Net

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


def whole_test(session: Training, index: int) -> WholeTest | None:
    """Test net `index` on all its records, from the first one on, and put it back where it stood.

    None if it does not read exactly one database of known size, or if the session was stopped.
    """
    test = session.tests[index]
    version = detection.version_of(session.param)
    return _whole(test.net, test.feeds, lambda: not session.stopping, version)


def _whole(
    net: Net, feeds: positions.Feeds, going: Callable[[], bool], version: str | None
) -> WholeTest | None:
    """version: of the average precision that detections are rated by; None: means of outputs."""
    if len(feeds) != 1:
        return None
    name, feed = next(iter(feeds.items()))
    records = positions.records_in(feed)
    if not records:
        return None
    batch = positions.records_per_pass(net, name)
    if version is None:
        passes, exact = plan_passes(records, batch)
    else:  # in one round: of a detection that comes twice precision is another
        passes, exact = math.ceil(records / batch), records % batch == 0
    place = positions.capture(net, feeds)
    try:
        feed.position = 0
        if version is None:
            sums, _, _ = net.test(passes, going)
            outputs = mean_outputs(net, sums, passes)
        else:
            rated, _ = detection.rate(net, passes, going, version)
            outputs = [(name, detection.mean(precisions)) for name, precisions in rated]
        return WholeTest(outputs, records, passes, exact) if going() else None
    finally:
        positions.restore(net, feeds, place)


def evaluate(
    net: str | Path,
    weights: str | Path,
    *,
    data_dir: str | Path | None = None,
    device: str = "cpu",
    precision: str | None = None,
    defines: Mapping[str, str] | None = None,
    ap_version: str = "Integral",
) -> dict[str, float]:
    """Outputs of a net in TEST with these weights, means over its whole database.

    net: a path, or the name of one that ships; a run's folder has its own as net.prototxt. weights:
    a .caffemodel, or several, separated by commas. Every record counts equally often where the
    batches can come out even, else the last batch wraps to the beginning. Of a net with a
    DetectionEvaluate layer: the mean average precision, by ap_version, a solver's. Raises
    ConfigError, DataError.
    """
    param, source = load_net(find_net(net), defines)
    records = Records(data_dir)
    core, feeds = build_net(
        param,
        phase=TEST,
        device=device,
        precision=precision,
        fuse=True,
        records=records,
        source=source,
    )
    for each in str(weights).split(","):
        load_weights(core, read_weights(each), each)
    rated = any(row["type"] == "DetectionEvaluate" for row in core.layers())
    whole = _whole(core, feeds, lambda: True, ap_version if rated else None)
    if whole is None:
        raise DataError(
            f"{source.name}: in TEST it reads {len(feeds)} databases; to be tested as a whole it "
            "must read one"
        )
    names = output_columns([name for name, _ in whole.outputs])
    return dict(zip(names, (value for _, value in whole.outputs), strict=True))


def describe(outputs: list[tuple[str, Any]]) -> str:
    """`accuracy 0.9712, loss 0.0931`"""
    return ", ".join(f"{name} {float(value):.6g}" for name, value in outputs)
