"""Weights (.caffemodel) and solver states (.solverstate), binary and HDF5, read and written.

Both forms are Caffe's, in either direction. Which one a file has is told by its first bytes, not
by its name. Every file is taken as untrusted: broken bytes give DataError.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pycaffe_clr.atomic import write_atomically
from pycaffe_clr.errors import DataError
from pycaffe_clr.weights import hdf5 as h5
from pycaffe_clr.weights import wire
from pycaffe_clr.weights.wire import Array

if TYPE_CHECKING:
    from pycaffe_clr.proto import LayerParameter, NetParameter

_log = logging.getLogger(__name__)

# Layer name -> its arrays, in Caffe's order. None stands for a shared parameter that an HDF5 file
# keeps only at the layer that owns it.
Weights = dict[str, list[Array | None]]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_MAX_MESSAGE = 2**31 - 1  # protobuf's own limit

# Field numbers of NetParameter; of the name and the blobs in each of the three forms of a layer.
_NET_NAME, _NET_LAYER, _NET_V1_LAYER = 1, 100, 2
_LAYER, _V1_LAYER, _V0_LAYER = (1, 7), (4, 6), (1, 50)
_V0_IN_V1 = 1


@dataclass
class SolverState:
    """What a solver goes on from: iterations done, weights file, histories, multistep's place.

    history: float32 arrays, one per parameter in the net's order; under AdaDelta and Adam all
    second histories follow, in that order, too.
    """

    iter: int = 0
    learned_net: str = ""
    history: list[Array] = field(default_factory=list)
    current_step: int = 0


def read_weights(path: str | Path, diff: bool = False) -> Weights:
    """Read a .caffemodel: the arrays of each layer that has some.

    diff: the gradients instead of the weights (snapshot_diff). Old V0 and V1 files keep their
    four-axis shapes; see fit. Raises DataError.
    """
    data = _read(path)
    if data[:8] == _HDF5_MAGIC:
        return h5.read_weights(Path(path), diff)
    return parse_weights(data, str(path), diff)


def parse_weights(data: bytes, name: str = "<weights>", diff: bool = False) -> Weights:
    """A binary .caffemodel from its bytes; see read_weights."""
    weights: Weights = {}
    layers = 0
    for number, kind, value in wire.fields(memoryview(data), _kind_hint(data, name)):
        if number == _NET_NAME and kind == wire.VARINT:
            raise DataError(f"{name}: is a .solverstate; the weights are in the .caffemodel")
        if number == _NET_NAME:
            wire.expect(kind, wire.BYTES, "name", name)
        elif number in (_NET_LAYER, _NET_V1_LAYER):
            wire.expect(kind, wire.BYTES, "layer", name)
            numbers = _LAYER if number == _NET_LAYER else _V1_LAYER
            layer, arrays = _layer(value, numbers, f"{name}: layer {layers}", diff)
            layers += 1
            if arrays:
                if layer in weights:
                    _log.warning('%s: two layers called "%s"; the later one counts', name, layer)
                weights[layer] = arrays
    if not layers:
        raise DataError(f"{name}: holds no layers; is it a .caffemodel?")
    return weights


def write_weights(
    path: str | Path,
    net: NetParameter,
    weights: Mapping[str, Sequence[Array | None]],
    diffs: Mapping[str, Sequence[Array | None]] | None = None,
    shared: Collection[tuple[str, int]] = (),
    hdf5: bool | None = None,
) -> None:
    """Write a .caffemodel that Caffe reads, atomically.

    net: NetParameter with the layers of the net that was built; names, types, bottoms, tops and
    settings are saved with the weights. diffs: gradients to save as well. shared: (layer, index)
    of parameters owned by another layer, which HDF5 leaves out. hdf5: by default whether the name
    ends in .h5. Raises DataError.
    """
    unknown = set(weights) - {layer.name for layer in net.layer}
    if unknown:
        raise DataError(f"{path}: weights for layers that the net lacks: {sorted(unknown)}")
    if hdf5 is None:
        hdf5 = str(path).endswith(".h5")
    if hdf5:
        names = [layer.name for layer in net.layer]
        image = h5.weights_image(names, weights, diffs or {}, shared)
        write_atomically(path, [image])
        return
    pieces = wire.encode_bytes(_NET_NAME, net.name.encode()) if net.name else []
    for layer in net.layer:
        before, after = _around_blobs(layer, net)
        arrays = weights.get(layer.name, ())
        gradients = (diffs or {}).get(layer.name) or [None] * len(arrays)
        body: wire.Pieces = [before]
        for array, gradient in zip(arrays, gradients, strict=True):
            if array is None:
                raise DataError(f'{path}: layer "{layer.name}" lacks the values of a parameter')
            body += wire.encode_bytes(_LAYER[1], *wire.encode_blob(array, gradient))
        pieces += wire.encode_bytes(_NET_LAYER, *body, after)
    if sum(map(len, pieces)) > _MAX_MESSAGE:
        raise DataError(f"{path}: more than 2 GiB of weights; use snapshot_format: HDF5")
    write_atomically(path, pieces)


def _around_blobs(layer: LayerParameter, net: NetParameter) -> tuple[bytes, bytes]:
    """The fields of a layer of a net in front of its blobs, and those behind them, as protobuf
    orders them."""
    parts = []
    for in_front in (True, False):
        part = type(layer)()
        part.CopyFrom(layer)
        if not part.HasField("phase"):
            part.phase = net.state.phase
        for described, _ in part.ListFields():
            if described.number == _LAYER[1] or (described.number < _LAYER[1]) != in_front:
                part.ClearField(described.name)
        parts.append(part.SerializeToString())
    return parts[0], parts[1]


def read_state(path: str | Path) -> SolverState:
    """Read a .solverstate. Raises DataError."""
    data = _read(path)
    if data[:8] == _HDF5_MAGIC:
        return SolverState(*h5.read_state(Path(path)))
    return parse_state(data, str(path))


def parse_state(data: bytes, name: str = "<solverstate>") -> SolverState:
    """A binary .solverstate from its bytes; see read_state."""
    state = SolverState()
    for number, kind, value in wire.fields(memoryview(data), _kind_hint(data, name)):
        if number == 1 and kind == wire.BYTES:
            raise DataError(f"{name}: holds weights (.caffemodel), expected a .solverstate")
        if number == 1:
            wire.expect(kind, wire.VARINT, "iter", name)
            state.iter = _count(value, "iter", name)
        elif number == 2:
            wire.expect(kind, wire.BYTES, "learned_net", name)
            state.learned_net = wire.decode_text(value)
        elif number == 3:
            what = f"{name}: history {len(state.history)}"
            wire.expect(kind, wire.BYTES, "history", name)
            state.history.append(wire.decode_blob(value, what))
        elif number == 4:
            wire.expect(kind, wire.VARINT, "current_step", name)
            state.current_step = _count(value, "current_step", name)
    if not state.history and not state.learned_net:
        raise DataError(f"{name}: holds no history and names no weights; is it truncated?")
    return state


def write_state(path: str | Path, state: SolverState, hdf5: bool | None = None) -> None:
    """Write a .solverstate that Caffe reads, atomically. hdf5: by default if the name ends in .h5.

    Raises DataError.
    """
    if hdf5 is None:
        hdf5 = str(path).endswith(".h5")
    if hdf5:
        image = h5.state_image(state.iter, state.learned_net, state.history, state.current_step)
        write_atomically(path, [image])
        return
    pieces = wire.encode_int(1, state.iter)
    pieces += wire.encode_bytes(2, state.learned_net.encode())
    for array in state.history:
        pieces += wire.encode_bytes(3, *wire.encode_blob(array))
    pieces += wire.encode_int(4, state.current_step)
    write_atomically(path, pieces)


def fit(array: Array, shape: Sequence[int]) -> Array | None:
    """The array in a parameter's shape, or None if it is not of that shape.

    Old files pad every shape with ones in front to four axes; that is taken as equal, as in
    blob.cpp, ShapeEquals.
    """
    shape = tuple(shape)
    if array.shape == shape:
        return array
    if array.ndim == 4 and len(shape) < 4 and array.shape == (1,) * (4 - len(shape)) + shape:
        return array.reshape(shape)
    return None


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from None


def _kind_hint(data: bytes, name: str) -> str:
    """What errors call the file: with a remark if it is plainly of another kind."""
    if not data:
        raise DataError(f"{name}: is empty")
    start = data[:64]
    if start.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return f"{name} (which looks like text, not a binary file)"
    return name


def _count(value: int, field_name: str, name: str) -> int:
    if value >= 2**31:
        raise DataError(f"{name}: {field_name} is {wire.signed(value)}, expected 0 or more")
    return value


def _layer(
    data: memoryview, numbers: tuple[int, int], what: str, diff: bool
) -> tuple[str, list[Array | None]]:
    """(name, arrays) of one layer. numbers: fields of its name and of its blobs."""
    name, arrays = "", []
    blobs = []
    for number, kind, value in wire.fields(data, what):
        if number == numbers[0]:
            wire.expect(kind, wire.BYTES, "name", what)
            name = wire.decode_text(value)
        elif number == numbers[1]:
            wire.expect(kind, wire.BYTES, "blobs", what)
            blobs.append(value)
        elif numbers == _V1_LAYER and number == _V0_IN_V1:
            wire.expect(kind, wire.BYTES, "layer", what)
            inner = _layer(value, _V0_LAYER, what, diff)
            name, arrays = inner[0] or name, inner[1]
    for index, blob in enumerate(blobs):
        arrays.append(wire.decode_blob(blob, f'{what} ("{name}"): blob {index}', diff))
    return name, arrays
