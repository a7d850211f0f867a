"""Net, with pycaffe's names and meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pycaffe_clr import TEST, TRAIN
from pycaffe_clr.engine import FeedSource, Records, build_net
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.prototxt import filter_net, load_net
from pycaffe_clr.prototxt.rules import merged_state
from pycaffe_clr.pycaffe.passes import Passes
from pycaffe_clr.pycaffe.settings import Settings, fresh_seed
from pycaffe_clr.weights import load_weights, read_weights, save_weights

if TYPE_CHECKING:
    from pycaffe_clr._core import ArrayFeed, RecordFeed
    from pycaffe_clr._core import Net as CoreNet
    from pycaffe_clr.proto import NetParameter


class Net(Passes):
    """A net read from a prototxt.

    Net(file, phase, level, stages, weights), in this order or by keyword, or Net(file, weights,
    phase), as in pycaffe. Every blob is kept; fuse=True builds the fast plan that `run` uses,
    in which only inputs and outputs (and the blobs in `keep`) can be looked at.

    device: "cpu" (the fastest), "kernels", "onednn" or "reference"; dtype: "float32", or "float64"
    on the reference backend; precision: of products, "tf32" (as cuda has it), "fp32" or "bf16"
    there; data_dir: where databases lie; defines: values of placeholders,
    {"xBS": "128"}; feeds: records for Data layers, by their names, in place of databases, as
    engine.build_net takes them: {"data": {"image": array, "boxes": array}}.
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
        precision: str | None = None,
        fuse: bool = False,
        keep: Sequence[str] = (),
        replicas: int = 1,
        seed: int | None = None,
        data_dir: str | Path | None = None,
        defines: Mapping[str, str] | None = None,
        feeds: Mapping[str, FeedSource] | None = None,
    ) -> None:
        given = _by_name(args)
        phase = given.get("phase", phase)
        level, stages = given.get("level", level), given.get("stages", stages)
        weights = given.get("weights", weights)
        if phase not in (TRAIN, TEST):
            raise ConfigError(f"phase must be caffe.TRAIN (0) or caffe.TEST (1), not {phase!r}")
        if isinstance(stages, str):
            raise ConfigError(f"stages must be a list of names, not {stages!r}")
        param, source = load_net(network_file, defines)
        self._build: Callable[..., tuple[CoreNet, dict[str, RecordFeed]]] | None = partial(
            build_net,
            param,
            phase=phase,
            level=level,
            stages=tuple(stages or ()),
            device=device or Settings.device,
            dtype=dtype,
            precision=precision,
            fuse=fuse,
            keep=keep,
            replicas=replicas,
            seed=fresh_seed() if seed is None else seed,
            records=Records(data_dir),
            feeds=feeds,
            source=source,
        )
        state = merged_state(phase, param)
        state.level = level
        state.stage.extend(stages or ())
        core, taken = self._build()
        super().__init__(core, filter_net(param, state, source), taken, fuse)
        if weights is not None:
            self.copy_from(weights)

    @classmethod
    def from_core(
        cls,
        core: CoreNet,
        param: NetParameter,
        feeds: Mapping[str, RecordFeed],
        fused: bool = False,
    ) -> Net:
        """A Net around a core net that exists (a solver's). param: its filtered NetParameter."""
        net = cls.__new__(cls)
        net._build = None
        Passes.__init__(net, core, param, feeds, fused)
        return net

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
        # What engine.layer_feed gave it.
        feed = cast("ArrayFeed", self._feeds[name])
        feed.replace(np.ascontiguousarray(data, np.float32), flat)

    def copy_from(self, weights: str | Path) -> None:
        """Copy the weights of layers of the same name from a .caffemodel (binary or HDF5).

        Layers that the net lacks are left out, as in Caffe. Nothing is changed if a shape does not
        fit. Raises DataError naming the layer and both shapes.
        """
        load_weights(self._core, read_weights(weights), str(weights))

    def share_with(self, other: Net) -> None:
        """Use the memory of another net's parameters for this one's layers of the same names:
        what changes there counts here, too.

        Views made before go stale, and databases start anew. A solver's nets, which cannot be built
        again, copy the values once. Nothing is changed where a shape does not fit: DataError; or
        where the other net is on another backend: ConfigError.
        """
        # Of a shared parameter there may be no values to lose; shapes are checked in any case.
        weights = {n: [p.data for p in blobs] for n, blobs in other.params.items()}
        load_weights(self._core, weights, f"net '{other.name}'")
        if self._build is None:
            return
        own = {n: [p.data for p in blobs] for n, blobs in self.params.items()}
        inputs = {name: self.blobs[name] for name in self.inputs}
        shapes = {name: list(blob.shape) for name, blob in inputs.items()}
        values = {name: blob.data for name, blob in inputs.items()}
        core, feeds = self._build(share=other._core)
        callbacks = self._callbacks
        super().__init__(core, self._param, feeds, self._fused)
        self._callbacks = callbacks
        self._core.reshape(shapes)
        for name, array in values.items():
            self.blobs[name].data[...] = array
        load_weights(core, {n: own[n] for n in own if n not in other.params}, "this net")

    def save(self, path: str | Path, write_diff: bool = False) -> None:
        """Write a .caffemodel that Caffe reads; HDF5 where the name ends in .h5."""
        save_weights(path, self._core, self._param, write_diff)

    def save_hdf5(self, path: str | Path, write_diff: bool = False) -> None:
        """Write the weights as HDF5, whatever the name."""
        save_weights(path, self._core, self._param, write_diff, hdf5=True)

    load_hdf5 = copy_from
    # pycaffe's own name.
    _set_input_arrays = set_input_arrays


def _by_name(args: Sequence[Any]) -> dict[str, Any]:
    """What pycaffe's constructors call the arguments after the file: `phase, level, stages,
    weights`, or the older `weights, phase`."""
    if len(args) == 2 and isinstance(args[0], (str, PurePath)):
        return {"weights": args[0], "phase": args[1]}
    names = ("phase", "level", "stages", "weights")
    if len(args) > len(names):
        raise TypeError(f"Net takes a file, {', '.join(names)}, or a file, weights, phase")
    return dict(zip(names, args, strict=False))
