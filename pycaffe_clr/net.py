"""Net, with pycaffe's names and meaning."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr import TEST, TRAIN
from pycaffe_clr.batches import Gathered, batches
from pycaffe_clr.blobs import Blob, LayerView, ParamBlob
from pycaffe_clr.engine import Records, build_net, loss_weights, new_seed
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.prototxt import filter_net, load_net
from pycaffe_clr.prototxt.rules import merged_state
from pycaffe_clr.weights import load_weights, read_weights, save_weights

_log = logging.getLogger(__name__)


class Settings:
    """What set_mode_cpu, set_random_seed and their like set: the defaults of nets made later."""

    device = "cpu"
    seed: int | None = None


def fresh_seed() -> int:
    """The seed of set_random_seed, or one from the system."""
    if Settings.seed is not None:
        return Settings.seed
    return new_seed()


class Net:
    """A net read from a prototxt.

    Net(file, phase), Net(file, weights, phase), or by keyword as in pycaffe: Net(file, phase,
    level=, stages=, weights=). Every blob is kept; fuse=True builds the fast plan that `run` uses,
    in which only inputs and outputs (and the blobs in `keep`) can be looked at.

    device: "cpu", "reference" or "onednn"; dtype: "float32", or "float64" on the reference backend;
    data_dir: where databases lie; defines: values of placeholders, {"xBS": "128"}.
    Raises ConfigError for a wrong prototxt, DataError for wrong databases or weights.
    """

    def __init__(
        self,
        network_file: str | Path,
        *args: Any,
        phase: int | None = None,
        level: int = 0,
        stages: Sequence[str] | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        dtype: str = "float32",
        fuse: bool = False,
        keep: Sequence[str] = (),
        replicas: int = 1,
        seed: int | None = None,
        data_dir: str | Path | None = None,
        defines: Mapping[str, str] | None = None,
    ) -> None:
        if len(args) == 2:
            weights, phase = args
        elif len(args) == 1:
            (phase,) = args
        elif args:
            raise TypeError("Net takes a file, optional weights, and a phase")
        if phase not in (TRAIN, TEST):
            raise ConfigError(f"phase must be caffe.TRAIN (0) or caffe.TEST (1), not {phase!r}")
        param, source = load_net(network_file, defines)
        core, specs, feeds = build_net(
            param,
            phase=phase,
            level=level,
            stages=tuple(stages or ()),
            device=device or Settings.device,
            dtype=dtype,
            fuse=fuse,
            keep=keep,
            replicas=replicas,
            seed=fresh_seed() if seed is None else seed,
            records=Records(data_dir),
            source=source,
        )
        state = merged_state(phase, param)
        state.level = level
        state.stage.extend(stages or ())
        self._attach(core, filter_net(param, state, source), feeds, fuse)
        if weights is not None:
            self.copy_from(weights)

    @classmethod
    def from_core(cls, core: Any, param: Any, feeds: Mapping[str, Any], fused: bool = False) -> Net:
        """A Net around a core net that exists (a solver's). param: its filtered NetParameter."""
        net = cls.__new__(cls)
        net._attach(core, param, feeds, fused)
        return net

    def _attach(self, core: Any, param: Any, feeds: Mapping[str, Any], fused: bool) -> None:
        self._core = core
        self._fused = fused
        self._param = param
        self._feeds = dict(feeds)
        # Inputs that were reshaped, and what is written there until the net can follow.
        self._wanted: dict[str, list[int]] = {}
        self._staged: dict[str, np.ndarray] = {}
        self._callbacks: dict[str, list[Callable[[int], Any]]] = {}
        self._rows = core.layers()
        self._param_rows = core.params()
        self.inputs: list[str] = list(core.inputs())
        self.outputs: list[str] = list(core.outputs())
        self.name: str = param.name
        self.blobs: OrderedDict[str, Blob] = OrderedDict((n, Blob(self, n)) for n in core.blobs())
        self.params: OrderedDict[str, list[ParamBlob]] = OrderedDict()
        for row in self._rows:
            if row["params"]:
                self.params[row["name"]] = [
                    ParamBlob(self, i, self._param_rows[i]["shape"]) for i in row["params"]
                ]
        self.layers = [LayerView(self, row) for row in self._rows]
        self._layer_names = [row["name"] for row in self._rows]
        self.layer_dict = OrderedDict(zip(self._layer_names, self.layers, strict=True))
        self.bottom_names = OrderedDict((r["name"], list(r["bottoms"])) for r in self._rows)
        self.top_names = OrderedDict((r["name"], list(r["tops"])) for r in self._rows)

    # --- passes ---------------------------------------------------------------------------------

    def _layer_index(self, name: str | None, otherwise: int) -> int:
        if name is None:
            return otherwise
        if name not in self._layer_names:
            raise ConfigError(f"the net has no layer '{name}'")
        return self._layer_names.index(name)

    def _write(self, arrays: Mapping[str, Any], what: str) -> None:
        for name, array in arrays.items():
            view = getattr(self.blobs[name], what)
            array = np.asarray(array)
            if array.shape[:1] != view.shape[:1] or array.size != view.size:
                raise ConfigError(
                    f"blob '{name}' has shape {view.shape}, the array given for it {array.shape}"
                )
            view[...] = array.reshape(view.shape)

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: Any,
    ) -> dict[str, np.ndarray]:
        """Run the layers from `start` to `end` (by name, both included); by default all.

        kwargs: arrays for input blobs. Returns {blob: array} for the outputs and for `blobs`.
        Raises ConfigError for unknown names and arrays of another shape.
        """
        unknown = set(kwargs) - set(self.inputs)
        if unknown or (kwargs and set(kwargs) != set(self.inputs)):
            raise ConfigError(
                f"forward was given {sorted(kwargs)}, but this net's inputs are {self.inputs}"
            )
        self._write(kwargs, "data")
        self.reshape()
        first = self._layer_index(start, 0)
        last = self._layer_index(end, len(self._rows) - 1)
        self._run("forward", first, last)
        names = self.top_names[end] if end is not None else self.outputs
        return {name: self.blobs[name].data for name in [*names, *(blobs or ())]}

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: Any,
    ) -> dict[str, np.ndarray]:
        """Run backward from layer `start` down to `end`; by default through the whole net.

        kwargs: diffs of output blobs. Parameters' diffs are added to, as in Caffe: see
        clear_param_diffs. Returns {blob: diff} of the inputs, or of the bottoms of `end`, and of
        `diffs`.
        """
        first = self._layer_index(start, len(self._rows) - 1)
        last = self._layer_index(end, 0)
        tops = self.top_names[start] if start is not None else self.outputs
        if kwargs and set(kwargs) != set(tops):
            raise ConfigError(f"backward was given {sorted(kwargs)}, but starts at {tops}")
        self.reshape()
        self._write(kwargs, "diff")
        self._run("backward", first, last)
        names = self.bottom_names[end] if end is not None else self.inputs
        if self._fused:  # nothing but the parameters' diffs can be looked at
            names = []
        wanted = [*names, *(diffs or ())]
        return {name: self.blobs[name].diff for name in wanted}

    def _run(self, direction: str, first: int, last: int) -> None:
        """Run the layers' forward or backward, with the callbacks around each."""
        run = getattr(self._core, direction)
        before = self._callbacks.get(f"before_{direction}", ())
        after = self._callbacks.get(f"after_{direction}", ())
        if not before and not after:
            run(first, last)
            return
        for index in range(first, last + 1) if first <= last else range(first, last - 1, -1):
            for call in before:
                call(index)
            run(index, index)
            for call in after:
                call(index)

    def before_forward(self, call: Callable[[int], Any]) -> None:
        """Call a function with each layer's index before that layer's forward."""
        self._callbacks.setdefault("before_forward", []).append(call)

    def after_forward(self, call: Callable[[int], Any]) -> None:
        """Call a function with each layer's index after that layer's forward."""
        self._callbacks.setdefault("after_forward", []).append(call)

    def before_backward(self, call: Callable[[int], Any]) -> None:
        """Call a function with each layer's index before that layer's backward."""
        self._callbacks.setdefault("before_backward", []).append(call)

    def after_backward(self, call: Callable[[int], Any]) -> None:
        """Call a function with each layer's index after that layer's backward."""
        self._callbacks.setdefault("after_backward", []).append(call)

    def forward_all(self, blobs: Sequence[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """forward() over more samples than one batch holds; the last batch is padded.

        Returns {blob: array}, one entry per sample. Raises ConfigError for arrays that do not fit,
        and for an output that is one number for a whole batch.
        """
        values = Gathered()
        for piece, size in batches(self, kwargs):
            values.add(self.forward(blobs, **piece), size)
        return values.joined()

    def forward_backward_all(
        self, blobs: Sequence[str] | None = None, diffs: Sequence[str] | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """forward() and backward() over more samples than one batch holds: both results.

        kwargs: arrays for inputs, and diffs for outputs. Raises ConfigError as forward_all.
        """
        values, gradients = Gathered(), Gathered()
        tops = [name for name in kwargs if name in self.outputs]
        for piece, size in batches(self, kwargs):
            seeds = {name: piece.pop(name) for name in tops}
            values.add(self.forward(blobs, **piece), size)
            gradients.add(self.backward(diffs, **seeds), size)
        return values.joined(), gradients.joined()

    def reshape(self) -> None:
        """Let the whole net follow input blobs that were reshaped. Views made before go stale.

        Raises ConfigError where the shapes do not fit each other; the net stays as it was.
        """
        if not self._wanted:
            return
        self._core.reshape(self._wanted)
        staged = self._staged
        self._wanted, self._staged = {}, {}
        for name, array in staged.items():
            self._core.data(name)[...] = array

    def clear_param_diffs(self) -> None:
        """Set every parameter's diff to zero."""
        self._core.clear_param_diffs()

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray, ind: int = 0) -> None:
        """Feed the net's MemoryData layer number `ind`.

        data: (N, C, H, W) float32; labels: (N,). N must be a multiple of the batch size. Raises
        ConfigError if the net has no such layer, DataError for wrong shapes.
        """
        layers = [row["name"] for row in self._rows if row["type"] == "MemoryData"]
        if ind >= len(layers):
            raise ConfigError(f"the net has {len(layers)} MemoryData layers; number {ind} is asked")
        name = layers[ind]
        batch = self.blobs[self.top_names[name][0]].shape[0]
        if len(data) % batch:
            raise DataError(
                f"layer '{name}': {len(data)} samples are no multiple of its batch_size {batch}"
            )
        flat = np.asarray(labels).reshape(len(labels), -1)[:, 0].astype(np.int32)
        self._feeds[name].replace(np.ascontiguousarray(data, np.float32), flat)

    # --- weights --------------------------------------------------------------------------------

    def copy_from(self, weights: str | Path) -> None:
        """Copy the weights of layers of the same name from a .caffemodel (binary or HDF5).

        Layers that the net lacks are left out, as in Caffe. Nothing is changed if a shape does not
        fit. Raises DataError naming the layer and both shapes.
        """
        load_weights(self._core, read_weights(weights), str(weights))

    def share_with(self, other: Net) -> None:
        """Copy the weights of another net's layers of the same name into this one.

        Unlike in pycaffe later changes do not follow; a solver's test nets do share.
        """
        weights = {n: [p.data for p in blobs] for n, blobs in other.params.items()}
        load_weights(self._core, weights, f"net '{other.name}'")

    def save(self, path: str | Path, write_diff: bool = False) -> None:
        """Write a .caffemodel that Caffe reads; HDF5 where the name ends in .h5."""
        save_weights(path, self._core, self._param, write_diff)

    def save_hdf5(self, path: str | Path, write_diff: bool = False) -> None:
        """Write the weights as HDF5, whatever the name."""
        save_weights(path, self._core, self._param, write_diff, hdf5=True)

    load_hdf5 = copy_from

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """Loss weight of each blob."""
        weights = loss_weights(self._core)
        return OrderedDict((name, weights.get(name, 0.0)) for name in self.blobs)

    # pycaffe's own names for what its Python part was built on; scripts use them.

    @property
    def _blob_names(self) -> list[str]:
        return list(self.blobs)

    @property
    def _blob_loss_weights(self) -> list[float]:
        return list(self.blob_loss_weights.values())

    @property
    def _inputs(self) -> list[int]:
        return [self._blob_names.index(name) for name in self.inputs]

    @property
    def _outputs(self) -> list[int]:
        return [self._blob_names.index(name) for name in self.outputs]

    def _top_ids(self, layer: int) -> list[int]:
        return [self._blob_names.index(name) for name in self._rows[layer]["tops"]]

    def _bottom_ids(self, layer: int) -> list[int]:
        return [self._blob_names.index(name) for name in self._rows[layer]["bottoms"]]

    def __repr__(self) -> str:
        return f"Net('{self.name}', {len(self._rows)} layers, {self._core.backend})"
