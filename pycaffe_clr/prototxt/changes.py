"""Changes to a solver's nets: another net, batch sizes, fillers, single fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pycaffe_clr import proto
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt.rules import layer_is_included
from pycaffe_clr.prototxt.sets import apply_sets
from pycaffe_clr.prototxt.source import Parsed, Source

if TYPE_CHECKING:
    from pycaffe_clr.proto import LayerParameter, NetParameter, NetState, SolverParameter

# Types as the core knows them.
FILLERS = ("constant", "uniform", "gaussian", "xavier", "msra", "positive_unitball", "bilinear")
# Data layers and the message that holds their batch_size.
_BATCH_SIZE = {
    "Data": "data_param",
    "ImageData": "image_data_param",
    "HDF5Data": "hdf5_data_param",
    "WindowData": "window_data_param",
    "AnnotatedData": "data_param",
    "MemoryData": "memory_data_param",
}
# Layers whose tops have shapes of their own, of which the first axis is the batch.
_SHAPES = {"Input": "input_param", "DummyData": "dummy_data_param"}
_NET_FIELDS = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param")


@dataclass(frozen=True)
class NetChanges:
    """What to change in the nets that a solver names; None and {}: nothing.

    net: another net file or shipped net, in place of all that the solver names. batch, test_batch:
    samples per pass of the data layers in TRAIN and in TEST. filler: type of the weight filler of
    every layer that has one. sets: fields of the net by dotted path.
    """

    net: str | None = None
    batch: int | None = None
    test_batch: int | None = None
    filler: str | None = None
    sets: Mapping[str, str] = field(default_factory=dict)


def replace_net(solver: SolverParameter, net: str, source: Source) -> None:
    """Let a solver train and test this net instead of what it names, in place."""
    for name in _NET_FIELDS:
        solver.ClearField(name)
    solver.net = net
    source.notes["net"] = f"net {net}"


def apply_net_sets(nets: Sequence[Parsed[NetParameter]], sets: Mapping[str, str]) -> None:
    """Set fields of the nets in place, each in all nets that have it. Raises ConfigError."""
    for path, text in sets.items():
        errors = []
        for net in nets:
            try:
                apply_sets(net.message, {path: text}, "--set-net", net.source)
            except ConfigError as error:
                errors.append(error)
        if len(errors) == len(nets):
            raise errors[0]


def set_filler(nets: Sequence[Parsed[NetParameter]], kind: str) -> None:
    """Give every weight_filler of the nets another type, in place; bias fillers stay.

    Its settings go with the old type, but for variance_norm, which is that of the fan-in and
    fan-out. Raises ConfigError for an unknown type, and where no layer has a weight_filler.
    """
    if kind not in FILLERS:
        raise ConfigError(f'filler "{kind}" is unknown; known: {", ".join(FILLERS)}')
    found = False
    for net in nets:
        for layer in net.message.layer:
            for descriptor, message in layer.ListFields():
                names = descriptor.message_type and descriptor.message_type.fields_by_name
                if not names or "weight_filler" not in names:
                    continue
                if message.HasField("weight_filler"):
                    norm = message.weight_filler
                    kept = norm.variance_norm if norm.HasField("variance_norm") else None
                    message.ClearField("weight_filler")
                    message.weight_filler.type = kind
                    if kept is not None:
                        message.weight_filler.variance_norm = kept
                    found = True
    if not found:
        files = ", ".join(net.source.name for net in nets)
        raise ConfigError(f'filler "{kind}": no layer of {files} has a weight_filler')


def set_batches(
    uses: Sequence[tuple[Parsed[NetParameter], NetState]], batch: int | None, test_batch: int | None
) -> None:
    """Set the batch of the data layers of nets, in place.

    uses: (net, its NetState) of every net that is built; a file that serves as train net
    and as test net comes once with each state. batch: of layers in TRAIN; test_batch: in TEST. A
    layer in both takes `batch`. Raises ConfigError where there is no data layer, where two
    different sizes are asked of one layer, and for a layer that has no batch of its own.
    """
    wanted: dict[tuple[int, int], int] = {}
    layers: dict[tuple[int, int], tuple[Any, str]] = {}
    for phase, size in ((proto.TRAIN, batch), (proto.TEST, test_batch)):
        if size is None:
            continue
        found = False
        own = [(net, state) for net, state in uses if state.phase == phase]
        for net, state in own:
            for index, layer in enumerate(net.message.layer):
                where = net.source.layer(index)
                if not _has_batch(layer) or not layer_is_included(layer, state, where):
                    continue
                found = True
                key = (id(net.message), index)
                if wanted.setdefault(key, size) != size:
                    raise ConfigError(
                        f"{where}: layer '{layer.name}' is in TRAIN and in TEST: it cannot have a "
                        f"batch of {wanted[key]} and of {size}; give it include rules"
                    )
                layers[key] = layer, where
        if own and not found:
            names = ", ".join(dict.fromkeys(net.source.name for net, _ in own))
            raise ConfigError(
                f"batch {size}: no layer of {names} in {proto.phase_name(phase)} has a batch that "
                f"could be set; such are {', '.join([*_BATCH_SIZE, *_SHAPES])}"
            )
    for key, size in wanted.items():
        _set_batch(*layers[key], size)


def _has_batch(layer: LayerParameter) -> bool:
    return layer.type in _BATCH_SIZE or layer.type in _SHAPES


def _set_batch(layer: LayerParameter, where: str, size: int) -> None:
    if layer.type in _BATCH_SIZE:
        getattr(layer, _BATCH_SIZE[layer.type]).batch_size = size
        return
    param = getattr(layer, _SHAPES[layer.type])
    if layer.type == "DummyData" and len(param.num):
        param.num[:] = [size] * len(param.num)
        return
    if not len(param.shape) or not all(len(shape.dim) for shape in param.shape):
        raise ConfigError(f"{where}: layer '{layer.name}' has no shape whose first axis is a batch")
    for shape in param.shape:
        shape.dim[0] = size
