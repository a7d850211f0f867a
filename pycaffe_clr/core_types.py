"""What the compiled module takes and gives, beyond what its own signatures can say.

csrc/bindings/typed.h names these types in the signatures, _core.pyi imports them from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from pycaffe_clr._core import RecordFeed

# float32, of nets made so float64.
Values = NDArray[np.floating[Any]]
# (n, C, H, W), uint8 or float32.
Records = NDArray[np.generic]
# (n,), taken as int32.
Labels = ArrayLike
# Arrays (n, ..) by the names of records' fields: floats, uint8, or whole numbers of 32 bits.
Fields = dict[str, ArrayLike]
# The feed of a layer that reads records, and its mean image (C, H, W).
LayerFeed = tuple["RecordFeed | None", "np.ndarray | None"]
# Makes a layer of a type that was registered.
HostLayerMaker = Callable[["HostLayerSpec"], "HostLayer"]
# Sizes of the axes, by blob.
Shapes = dict[str, list[int]]
# What prototxt.spec.schema() gives.
Schema = Mapping[str, Any]


# --- taken ----------------------------------------------------------------------------------------


class LayerSpec(TypedDict):
    """A layer as prototxt.spec gives it. attributes: the fields that were set, as a tree of dicts
    and lists with enums by name; where: `file:line`."""

    type: str
    name: str
    bottoms: list[str]
    tops: list[str]
    attributes: dict[str, Any]
    where: str


class NetSettings(TypedDict, total=False):
    """How a net is built. backend: by name, "" for the default; described: to be looked at, for a
    device that need not be there; dtype: "float32" or "float64"; precision: "fp32", "tf32", "bf16",
    or "" for the backend's own; keep_blobs: every blob can be looked at, which fuse does not go
    with (default: without it); index: 0 for a train net, 1 + i for test net i;
    rank, ranks: of the processes that train it together, each with so many replicas;
    merge: how many batches a test takes in one pass at most (0: as many as the device gains by, 1:
    no more than one)."""

    train: bool
    backend: str
    described: bool
    dtype: str
    precision: str
    fuse: bool
    keep_blobs: bool
    keep: list[str]
    replicas: int
    rank: int
    ranks: int
    seed: int
    index: int
    merge: int
    force_backward: bool


class SolverSettings(TypedDict, total=False):
    """The fields of a SolverParameter that the core reads, by their names there."""

    type: str
    lr_policy: str
    base_lr: float
    max_lr: float
    gamma: float
    power: float
    stepsize: int
    max_iter: int
    stepvalue: list[int]
    momentum: float
    cyclical_momentum: list[float]
    weight_decay: float
    regularization_type: str
    clip_gradients: float
    iter_size: int
    delta: float
    momentum2: float
    rms_decay: float


class Positioned(Protocol):
    """Where a source of records stands. A length is not needed."""

    @property
    def position(self) -> int:
        """Number of the record that the next batch begins with."""

    def seek(self, position: int) -> None:
        """Go on with that record."""


class PictureSource(Positioned, Protocol):
    """Pictures with labels that a StreamFeed hands on: data.RecordStream."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a record."""

    def next(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Records (count, C, H, W), uint8 or float32, and int32 labels (count,)."""


class FieldSource(Positioned, Protocol):
    """Records of named fields that a StreamFeed hands on."""

    @property
    def fields(self) -> Mapping[str, Sequence[int]]:
        """Shapes of a record's fields; () of a number. They stay."""

    def next(self, count: int) -> Mapping[str, np.ndarray]:
        """Arrays (count, ..) of every field: floats, uint8, or whole numbers of 32 bits."""


RecordSource = PictureSource | FieldSource


class HostLayerSpec(TypedDict):
    """A layer that is written in Python. title: how errors begin; phase: 0 or 1; dtype: of its
    arrays; module, layer, param_str: python_param's."""

    title: str
    bottoms: list[str]
    tops: list[str]
    phase: int
    dtype: str
    module: str
    layer: str
    param_str: str


class HostBlob(Protocol):
    """What the core fills before a call and reads after it: python_layer.LayerBlob."""

    @property
    def data(self) -> np.ndarray:
        """Values, contiguous, of the layer's dtype."""

    @property
    def diff(self) -> np.ndarray:
        """The same of their gradient."""


class HostLayer(Protocol):
    """A layer that the core calls: python_layer.Host."""

    @property
    def layer(self) -> Any:
        """What Net.python_layer gives."""

    @property
    def bottoms(self) -> Sequence[HostBlob]:
        """By the names of the layer's bottoms; one in place is in tops, too."""

    @property
    def tops(self) -> Sequence[HostBlob]:
        """By the names of its tops."""

    @property
    def blobs(self) -> Sequence[HostBlob]:
        """Its parameters."""

    def reshape(self, bottoms: list[list[int]]) -> list[list[int]]:
        """Shapes of the tops for those of the bottoms."""

    def params(self) -> list[np.ndarray]:
        """First values of the parameters, float64. Asked after the first reshape."""

    @property
    def held(self) -> bool:
        """Whether the tops are those of the pass that goes on: forward is not called then."""

    def hold(self, held: bool) -> None:
        """Say that."""

    def forward(self) -> bool:
        """Write the tops' data. False: they have other shapes than reshape gave last; asked again,
        once held, it gives those."""

    def backward(self, propagate_down: list[bool]) -> None:
        """Write the diffs of those bottoms, add to the parameters'."""


# --- given ----------------------------------------------------------------------------------------


class LayerRow(TypedDict):
    """A layer of a net. loss_weights: by top; params: numbers of its parameters among the net's;
    bottom_need_backward: by bottom."""

    name: str
    type: str
    bottoms: list[str]
    tops: list[str]
    loss_weights: list[float]
    params: list[int]
    need_backward: bool
    bottom_need_backward: list[bool]


class ParamRow(TypedDict):
    """A parameter of a net. index: among those of its layer; name: by which it is shared, or "";
    owner: number of the parameter whose memory it uses, its own where it is not shared; statistic:
    whether a pass and not the solver changes it."""

    layer: str
    index: int
    name: str
    shape: list[int]
    owner: int
    statistic: bool
    lr_mult: float
    decay_mult: float


class Work(TypedDict):
    """What calls ask of a device. launches: of kernels, copies and fills, 0 on the host; bytes:
    read and written; flops: of products, a multiplication with its addition as two."""

    launches: int
    bytes: int
    flops: int


class PlanRow(TypedDict):
    """An op of a net's plan. ins, outs: shape and layout of its values, `64x16x32x32 c8`; bytes: of
    its outputs; backward: whether it has a backward half; forward_work, backward_work: of its calls
    in an iteration."""

    op: str
    implementation: str
    backend: str
    layers: list[str]
    ins: list[str]
    outs: list[str]
    bytes: int
    backward: bool
    forward_work: Work
    backward_work: Work
