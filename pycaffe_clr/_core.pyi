"""Types of the compiled module. Made by csrc/bindings/make_stub.py: do not edit."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, overload, type_check_only

from numpy import ndarray

from pycaffe_clr.core_types import (
    Fields,
    HostLayerMaker,
    Labels,
    LayerFeed,
    LayerRow,
    LayerSpec,
    NetSettings,
    ParamRow,
    PlanRow,
    Records,
    RecordSource,
    Schema,
    Shapes,
    SolverSettings,
    Values,
)

class Group:
    """Processes that train one net together. See csrc/ops/group.h."""

    def __init__(
        self,
        rank: int,
        ranks: int,
        from_: int,
        to: int,
        words: Sequence[int],
        patience: float = 0.0,
    ) -> None:
        """Over connected sockets, by descriptor, that the caller keeps open: from the rank
        before, to the one behind; words: of rank 0 one for every rank, -1 for its own,
        of the others the one to rank 0; empty: nobody leads. patience: seconds to wait
        for one that lives but does nothing; 0: for ever."""

    def abort(self) -> None:
        """Ends what goes on and all that comes, by an error; from any thread."""

    def broadcast(self, array: ndarray) -> None:
        """Rank 0's values come to all."""

    def end(self) -> None:
        """Rank 0 says that no iteration comes any more."""

    @property
    def rank(self) -> int:
        """The number of this process."""

    @property
    def ranks(self) -> int:
        """How many there are."""

class Net:
    """A net that was built and planned. See csrc/graph/net.h."""

    def __init__(
        self,
        layers: list[LayerSpec],
        settings: NetSettings = {},
        feeds: dict[str, LayerFeed] = {},
        share: Net | None = None,
    ) -> None:
        """feeds: by the names of the layers that read records. share: the net whose
        parameters are used, by their layers' names."""

    @property
    def arena_bytes(self) -> int:
        """Of it, what values share."""

    @property
    def backend(self) -> str:
        """Name of the backend that was asked for."""

    @overload
    def backward(self) -> None:
        """Runs all layers backward; adds to the diffs of parameters."""

    @overload
    def backward(self, first: int, last: int) -> None:
        """Runs layers backward by number, from the higher one, both included."""

    def blobs(self) -> list[str]:
        """Names of all blobs, in the order in which they are made."""

    def clear_param_diffs(self) -> None:
        """Sets the diff of every parameter to zero."""

    def data(self, blob: str) -> Values:
        """Values of a blob: a writable view in its shape, kept up to date from then on."""

    def diff(self, blob: str) -> Values:
        """The same of its diff."""

    def fallbacks(self) -> list[str]:
        """Ops that the backend refused and the reference backend runs."""

    @overload
    def forward(self) -> float:
        """Runs all layers; the weighted loss."""

    @overload
    def forward(self, first: int, last: int) -> float:
        """Runs layers by number, both included; their weighted loss."""

    def inputs(self) -> list[str]:
        """Names of the blobs that no layer makes."""

    def layers(self) -> list[LayerRow]:
        """All layers, in order."""

    def learnable(self) -> list[int]:
        """Indexes of the parameters whose memory is this net's."""

    def magnitude(self, layer: int, place: int, diff: bool) -> float:
        """Mean magnitude of a layer's top, or of the diff of its bottom; layers by number.
        Of nets built with fuse=False."""

    @property
    def memory_bytes(self) -> int:
        """Memory of values, parameters and ops."""

    def outputs(self) -> list[str]:
        """Names of the blobs that no layer reads."""

    def param_data(self, index: int) -> Values:
        """Values of a parameter: a writable view in its shape."""

    def param_diff(self, index: int) -> Values:
        """The same of its diff, summed since clear_param_diffs."""

    def params(self) -> list[ParamRow]:
        """All parameters, in the order of their layers."""

    @property
    def pass_count(self) -> int:
        """Forward passes made, which key the random numbers."""

    @pass_count.setter
    def pass_count(self, value: int) -> None: ...
    def plan(self) -> list[PlanRow]:
        """The ops that a pass runs, in order."""

    @property
    def precision(self) -> str:
        """What its convolutions and matrix products multiply: 'fp32', 'tf32' or 'bf16'."""

    def python_layer(self, layer: int) -> object:
        """The object that computes a layer written in Python, else None."""

    @property
    def ranks(self) -> int:
        """How many processes train it together, each with a share of its batches."""

    def read(self, blob: str) -> list[float]:
        """Values of an output; under replicas those of replica 0."""

    def reshape(self, inputs: Shapes, last: int = -1) -> None:
        """Gives inputs other shapes; the net follows. Views made before go stale. last:
        for a pass up to that layer, behind which layers need not fit."""

    @property
    def seed(self) -> int:
        """Of the random numbers."""

    @seed.setter
    def seed(self, value: int) -> None: ...
    def shape(self, blob: str) -> list[int]:
        """Sizes of a blob's axes."""

    def test(
        self, iterations: int, poll: Callable[[], bool] | None = None
    ) -> tuple[list[list[float]], float, int]:
        """Forward passes: (per output the summed values, summed loss, passes made). Stops
        early where poll() is false."""

    def time(self) -> list[tuple[str, str, list[int], float, float]]:
        """Runs one pass: (name, op, layers, seconds forward, seconds backward) of every
        op; those that begin with copy are ways to the host and back."""

    def warnings(self) -> list[str]:
        """What was noticed while the net was built."""

class RecordFeed:
    """Records for a data layer, in order, wrapping at the end."""

    @property
    def fields(self) -> dict[str, list[int]]:
        """Shapes of a record's fields by name."""

    @property
    def position(self) -> int:
        """Record that the next batch begins with."""

    @position.setter
    def position(self, value: int) -> None: ...
    @property
    def shape(self) -> list[int]:
        """Of a record's first field: (C, H, W) of pictures."""

class Schedule:
    """Learning rate and momentum by iteration; settings by their SolverParameter
    names."""

    def __init__(self, settings: SolverSettings) -> None: ...
    def current_step(self, iteration: int) -> int:
        """Steps that step and multistep have taken before that update."""

    def lr(self, iteration: int) -> float:
        """Of the update made at an iteration, counted from 0."""

    def momentum(self, iteration: int) -> float:
        """The same."""

    def restore(self, iteration: int, current_step: int) -> None:
        """Goes on from a snapshot."""

class Solver:
    """Iterations over one train net. See csrc/solver/solver.h."""

    def __init__(self, net: Net, settings: SolverSettings, group: Group | None = None) -> None:
        """group: those with whom the net is trained."""

    def apply_update(self) -> None:
        """Second half: the update."""

    @property
    def current_step(self) -> int:
        """Steps that step and multistep have taken."""

    def follow(self) -> None:
        """For other ranks than 0: makes the iterations that rank 0 begins, until it ends."""

    def forward_backward(self) -> float:
        """First half of an iteration: gradients. Returns the loss, averaged over
        iter_size."""

    @property
    def histories(self) -> int:
        """How many each parameter has."""

    def history(self, param: int, k: int = 0) -> Values:
        """History k of one learnable parameter (Net.learnable()): a writable view."""

    @property
    def iteration(self) -> int:
        """Updates made so far."""

    @property
    def lr(self) -> float:
        """Of the next update."""

    @property
    def momentum(self) -> float:
        """Of the next update."""

    def request_stop(self) -> None:
        """Makes a run end after its current iteration; callable from a signal handler."""

    def restore(self, iteration: int, current_step: int = 0) -> None:
        """Goes on from a snapshot."""

    def run(
        self,
        count: int,
        seconds: float = 1e30,
        on_gradients: Callable[[], None] | None = None,
    ) -> tuple[list[float], bool, bool]:
        """Whole iterations, at most `count`, for about `seconds`: (losses, stopped,
        diverged). on_gradients: called in each between gradients and update, may read
        and change diffs; what it raises ends the run before that update."""

    @property
    def schedule(self) -> Schedule:
        """Its Schedule, for iterations before and after; not to be restored."""

class ArrayFeed(RecordFeed):
    """Records held in memory."""

    @overload
    def __init__(self, records: Records, labels: Labels | None = None) -> None:
        """records: (n, C, H, W), uint8 or float32, not copied where contiguous. labels:
        (n,), or zeros."""

    @overload
    def __init__(self, fields: Fields) -> None:
        """fields: arrays (n, ..) of any shape by name: float32, uint8, or whole numbers of
        32 bits, not copied where they are that and contiguous."""

    def __len__(self) -> int: ...
    @overload
    def replace(self, records: Records, labels: Labels | None = None) -> None:
        """Goes on with other records of the same shape, from the first one."""

    @overload
    def replace(self, fields: Fields) -> None:
        """The same for fields by name."""

class StreamFeed(RecordFeed):
    """Records that a Python object delivers."""

    def __init__(self, source: RecordSource) -> None:
        """source: has position, seek(position), and shape (C, H, W) with next(count) ->
        (records, labels), or fields {name: shape} with next(count) -> {name: array}."""

    def __len__(self) -> int:
        """Records of the source; TypeError if it does not say."""

def backend_of(device: str, described: bool = False) -> str:
    """The backend that a device means: its own name, 'kernels' (our own alone), or
    'cpu', the fastest on the processor. described: the device itself need not be
    there."""

def backend_problems() -> list[str]:
    """One line for each backend that was asked for and cannot be loaded."""

def backend_remarks() -> list[str]:
    """One line for each loaded backend that has something to say of the libraries it
    found."""

def backends() -> list[str]:
    """Names of the backends that work here, plainest first."""

def devices(backend: str) -> tuple[list[str], str]:
    """(names of a backend's devices, by number; why there are none)."""

def find_libraries_by(find: Callable[[str], bool]) -> None:
    """Names a function that loads what a backend's library lacks: it gets the loader's
    words, and returns whether it found something."""

def layer_types() -> list[str]:
    """Layer types that can be built, as a prototxt names them."""

def lr_policies() -> list[str]:
    """Policies that a schedule may follow."""

def register_layer(type: str, maker: HostLayerMaker) -> None:
    """Adds a type of layer that maker(spec) makes. ConfigError if there is one of that
    name."""

def set_schema(schema: Schema) -> None:
    """Hands over the defaults of every message (prototxt.spec.schema()). Once per
    process, before any Net."""

def set_threads(count: int) -> None:
    """Sets that number, for the whole process."""

def solver_types() -> dict[str, int]:
    """Histories that a solver keeps for each parameter, by its type."""

def threads() -> int:
    """Number of threads that passes use."""

def unregister_layer(type: str) -> bool:
    """Takes a registered type away; nets that have such layers keep them. False if
    there is none."""

def version() -> str:
    """Version of the package this module was built for."""

_ArrayFeed: TypeAlias = ArrayFeed
_Group: TypeAlias = Group
_Net: TypeAlias = Net
_RecordFeed: TypeAlias = RecordFeed
_Schedule: TypeAlias = Schedule
_Solver: TypeAlias = Solver
_StreamFeed: TypeAlias = StreamFeed

@type_check_only
class Module(Protocol):
    """This module as a value."""

    @property
    def ArrayFeed(self) -> type[_ArrayFeed]: ...
    @property
    def Group(self) -> type[_Group]: ...
    @property
    def Net(self) -> type[_Net]: ...
    @property
    def RecordFeed(self) -> type[_RecordFeed]: ...
    @property
    def Schedule(self) -> type[_Schedule]: ...
    @property
    def Solver(self) -> type[_Solver]: ...
    @property
    def StreamFeed(self) -> type[_StreamFeed]: ...
    def backend_of(self, device: str, described: bool = False) -> str:
        """The backend that a device means: its own name, 'kernels' (our own alone), or
        'cpu', the fastest on the processor. described: the device itself need not be
        there."""

    def backend_problems(self) -> list[str]:
        """One line for each backend that was asked for and cannot be loaded."""

    def backend_remarks(self) -> list[str]:
        """One line for each loaded backend that has something to say of the libraries it
        found."""

    def backends(self) -> list[str]:
        """Names of the backends that work here, plainest first."""

    def devices(self, backend: str) -> tuple[list[str], str]:
        """(names of a backend's devices, by number; why there are none)."""

    def find_libraries_by(self, find: Callable[[str], bool]) -> None:
        """Names a function that loads what a backend's library lacks: it gets the loader's
        words, and returns whether it found something."""

    def layer_types(self) -> list[str]:
        """Layer types that can be built, as a prototxt names them."""

    def lr_policies(self) -> list[str]:
        """Policies that a schedule may follow."""

    def register_layer(self, type: str, maker: HostLayerMaker) -> None:
        """Adds a type of layer that maker(spec) makes. ConfigError if there is one of that
        name."""

    def set_schema(self, schema: Schema) -> None:
        """Hands over the defaults of every message (prototxt.spec.schema()). Once per
        process, before any Net."""

    def set_threads(self, count: int) -> None:
        """Sets that number, for the whole process."""

    def solver_types(self) -> dict[str, int]:
        """Histories that a solver keeps for each parameter, by its type."""

    def threads(self) -> int:
        """Number of threads that passes use."""

    def unregister_layer(self, type: str) -> bool:
        """Takes a registered type away; nets that have such layers keep them. False if
        there is none."""

    def version(self) -> str:
        """Version of the package this module was built for."""
