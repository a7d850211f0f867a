"""The nets of a session, built in the order of Caffe's solver and with its lines in the log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pycaffe_clr.engine import Records, build_net, loss_weights
from pycaffe_clr.prototxt import SolverNets, filter_net, format_message
from pycaffe_clr.train import detection, positions
from pycaffe_clr.train.log import CaffeLog

if TYPE_CHECKING:
    from pycaffe_clr._core import Net, RecordFeed
    from pycaffe_clr.proto import NetParameter, SolverParameter


class Built(NamedTuple):
    """A net that was built. param: the NetParameter with only the layers that it has, as snapshots
    and the log show them. net: the core net. feeds: the core feeds by data layer. loss_weights: by
    top, 0 for those that are no loss."""

    param: NetParameter
    net: Net
    feeds: dict[str, RecordFeed]
    loss_weights: dict[str, float]


class Nets(NamedTuple):
    """The nets of a solver, and the databases that they read."""

    train: Built
    tests: list[Built]
    records: Records


def build_nets(
    solver: SolverParameter,
    nets: SolverNets,
    log: CaffeLog,
    *,
    device: str,
    precision: str | None,
    fuse: bool,
    seed: int,
    replicas: int,
    ranks: int,
    rank: int,
    data_dir: str | Path | None,
) -> Nets:
    """Build them; the train net with its share of the replicas where there are several ranks.
    Raises ConfigError, DataError."""
    train_param, *test_params = [
        filter_net(net, source=source)
        for net, source in zip([nets.train, *nets.tests], nets.sources, strict=True)
    ]
    log.settings(format_message(solver))
    records = Records(data_dir)
    # debug_info looks into every blob, which the fused plan does not keep.
    fuse = fuse and not solver.debug_info
    common: dict[str, Any] = {
        "device": device,
        "precision": precision,
        "fuse": fuse,
        "seed": seed,
        "records": records,
    }
    log.write(f"Creating training net {_train_source(solver)}", "solver.cpp:87")
    # By the unfiltered nets, in which a layer's place is that in its file.
    net, feeds = build_net(
        nets.train,
        replicas=replicas // ranks,
        rank=rank,
        ranks=ranks,
        source=nets.sources[0],
        **common,
    )
    train = Built(train_param, net, feeds, loss_weights(net))
    _log_net(log, train)
    tests = []
    for index, param in enumerate(test_params):
        log.write(
            f"Creating test net (#{index}) specified by {_test_source(solver, index)}",
            "solver.cpp:172",
        )
        source = nets.sources[index + 1]
        net, feeds = build_net(
            nets.tests[index], index=index + 1, share=train.net, source=source, **common
        )
        if detection.version_of(solver):
            detection.check_outputs(net)
        tests.append(Built(param, net, feeds, loss_weights(net)))
        _log_net(log, tests[-1])
        _warn_small_databases(log, tests[-1], index, solver.test_iter[index])
    return Nets(train, tests, records)


def _log_net(log: CaffeLog, built: Built) -> None:
    if log.streams:
        net = built.net
        shapes = {name: net.shape(name) for name in net.blobs()}
        log.net(format_message(built.param), net.layers(), shapes, net.outputs())


def _warn_small_databases(log: CaffeLog, built: Built, index: int, passes: int) -> None:
    for name, feed in built.feeds.items():
        asked = passes * positions.records_per_pass(built.net, name)
        size = positions.records_in(feed)
        if size is not None and asked > size:
            log.write(
                f"Test net #{index}, layer '{name}': a test reads {asked} records (test_iter "
                f"times batch_size) of a database of {size}: some count more than once",
                "solver.cpp:172",
                "W",
            )


def _train_source(solver: SolverParameter) -> str:
    """Where the train net comes from, in Caffe's words and order of precedence."""
    for name in ("train_net_param", "net_param"):
        if solver.HasField(name):
            return f"specified in {name}."
    if solver.HasField("train_net"):
        return f"from train_net file: {solver.train_net}"
    return f"from net file: {solver.net}"


def _test_source(solver: SolverParameter, index: int) -> str:
    """The same for a test net: test_net_param come first, then test_net, then net as often."""
    params = len(solver.test_net_param)
    if index < params:
        return "test_net_param"
    if index - params < len(solver.test_net):
        return f"test_net file: {solver.test_net[index - params]}"
    return "net_param" if solver.HasField("net_param") else f"net file: {solver.net}"
