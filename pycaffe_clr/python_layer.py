"""Layers written in Python: what a class of them sees, and what the compiled core calls.

A net names the class by module and name, `python_param { module: "mine" layer: "MyLayer" }`, or by
a type of its own that register_layer added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from pycaffe_clr.core_types import HostLayerSpec
from pycaffe_clr.engine import ready_core
from pycaffe_clr.errors import ConfigError, PycaffeClrError
from pycaffe_clr.proto import phase_name
from pycaffe_clr.shaped import Shaped


class LayerBlob(Shaped):
    """A bottom, top or parameter as a Python layer sees it: arrays of its own, which are filled
    before each call and read after it."""

    def __init__(self, name: str, dtype: str, dims: Sequence[int] = ()) -> None:
        self._name = name
        self._dtype = dtype
        self._dims = tuple(dims)
        self._arrays: dict[str, np.ndarray] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self._dims

    def _array(self, what: str) -> np.ndarray:
        if what not in self._arrays:
            self._arrays[what] = np.zeros(self._dims, self._dtype)
        return self._arrays[what]

    @property
    def data(self) -> np.ndarray:
        """Values, in the shape of the blob."""
        return self._array("data")

    @property
    def diff(self) -> np.ndarray:
        """Gradient of the loss with respect to the values."""
        return self._array("diff")

    def reshape(self, *dims: int) -> None:
        """Give a top its shape; another one than before means arrays of zeros. Raises ConfigError
        for an empty axis."""
        shape = tuple(int(dim) for dim in dims)
        if min(shape, default=1) < 1:
            raise ConfigError(f"blob '{self._name}' cannot have the shape {shape}: it is empty")
        if shape != self._dims:
            self._dims = shape
            self._arrays.clear()

    def __repr__(self) -> str:
        return f"LayerBlob('{self._name}', shape={self.shape})"


class Blobs(list[LayerBlob]):
    """The parameters of a Python layer, which its setup adds."""

    dtype = "float32"

    def add_blob(self, *dims: int) -> LayerBlob:
        """Add a parameter of that shape, zeros until setup writes there."""
        self.append(LayerBlob(f"parameter {len(self)}", self.dtype, dims))
        return self[-1]


class Layer:
    """Base of layers written in Python. setup may add parameters to self.blobs; reshape gives the
    tops their shapes; forward writes top[i].data; backward writes bottom[i].diff where
    propagate_down[i], and adds to self.blobs[i].diff.

    param_str: the text of python_param, as param_str_, too; phase: caffe.TRAIN or caffe.TEST.
    In-place tops are their bottoms. Whatever a method raises comes out of the net that was being
    built or run.
    """

    type = "Python"
    param_str: str
    phase: int
    blobs: Blobs

    def __init__(self, param: Any = None) -> None:
        """param: None; pycaffe passes a LayerParameter."""

    def setup(self, bottom: list[LayerBlob], top: list[LayerBlob]) -> None:
        """Called once, with the bottoms' shapes known."""

    def reshape(self, bottom: list[LayerBlob], top: list[LayerBlob]) -> None:
        """Called after setup, when a net gets other shapes, and before each forward."""
        raise NotImplementedError(f"{type(self).__name__} defines no reshape(bottom, top)")

    def forward(self, bottom: list[LayerBlob], top: list[LayerBlob]) -> None:
        """Compute the tops."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(bottom, top)")

    def backward(
        self, top: list[LayerBlob], propagate_down: list[bool], bottom: list[LayerBlob]
    ) -> None:
        """Compute the gradients."""
        raise NotImplementedError(
            f"{type(self).__name__} defines no backward(top, propagate_down, bottom)"
        )


class Phase(int):
    """caffe.TRAIN or caffe.TEST, whose text is its name, as in the R-CNNs' Caffe."""

    def __str__(self) -> str:
        return phase_name(self)


class Host:
    """A Python layer as the compiled core knows it: reshape, params, forward, backward, and the
    blobs that the core fills and reads around the calls."""

    def __init__(self, layer: Any, spec: HostLayerSpec) -> None:
        self.layer = layer
        self._title = spec["title"]
        named = {name: LayerBlob(name, spec["dtype"]) for name in spec["bottoms"]}
        self.bottoms = [named[name] for name in spec["bottoms"]]
        self.tops = [named.get(name) or LayerBlob(name, spec["dtype"]) for name in spec["tops"]]
        self.blobs: list[LayerBlob] = []
        self._shapes: list[tuple[int, ...]] = []
        self._is_set_up = False
        # The tops are those of the pass that goes on: nothing is to be called for them.
        self.held = False
        layer.param_str, layer.phase, layer.blobs = spec["param_str"], Phase(spec["phase"]), Blobs()
        layer.param_str_ = layer.param_str  # its first name, by which the R-CNNs' layers know it
        layer.blobs.dtype = spec["dtype"]

    def reshape(self, bottoms: list[list[int]]) -> list[list[int]]:
        """Shapes of the tops for those of the bottoms."""
        if self.held:
            self._shapes = self._all_shapes()
            return [list(top.shape) for top in self.tops]
        for blob, dims in zip(self.bottoms, bottoms, strict=True):
            blob.reshape(*dims)
        if not self._is_set_up:
            with self._named("setup"):
                self.layer.setup(self.bottoms, self.tops)
        self._reshape()
        if not self._is_set_up:
            self._is_set_up = True
            self.blobs = list(self.layer.blobs)
        self._shapes = self._all_shapes()
        if self._shapes[: len(bottoms)] != [tuple(dims) for dims in bottoms]:
            raise ConfigError(f"{self._title}: it gave a bottom another shape, which it may not")
        return [list(top.shape) for top in self.tops]

    def params(self) -> list[np.ndarray]:
        """First values of the parameters."""
        return [np.asarray(blob.data, np.float64) for blob in self.blobs]

    def hold(self, held: bool) -> None:
        """Give what there is once more, without a call, or go on calling the layer."""
        self.held = held

    def forward(self) -> bool:
        """Compute the tops' data from what the core has put into the bottoms'. False: they have
        other shapes than the net was laid out for; reshape tells them once hold was called."""
        self._reshape()
        with self._named("forward"):
            self.layer.forward(self.bottoms, self.tops)
        tops = slice(len(self.bottoms), len(self.bottoms) + len(self.tops))
        now = self._all_shapes()
        as_before = now[tops] == self._shapes[tops]
        self._shapes[tops] = now[tops]
        self._check_shapes()
        return as_before

    def backward(self, propagate_down: list[bool]) -> None:
        """Compute the bottoms' and parameters' diffs."""
        with self._named("backward"):
            self.layer.backward(self.tops, propagate_down, self.bottoms)
        self._check_shapes()

    def _reshape(self) -> None:
        with self._named("reshape"):
            self.layer.reshape(self.bottoms, self.tops)

    def _all_shapes(self) -> list[tuple[int, ...]]:
        return [blob.shape for blob in [*self.bottoms, *self.tops, *self.blobs]]

    def _check_shapes(self) -> None:
        now = self._all_shapes()
        if now == self._shapes:
            return
        blobs = [*self.bottoms, *self.tops, *self.blobs]
        place = next(i for i, shape in enumerate(now) if shape != self._shapes[i])
        raise ConfigError(
            f"{self._title}: {blobs[place]!r} had the shape {self._shapes[place]}. A layer may "
            "give its tops other shapes, in reshape and in forward, but not its bottoms and "
            "parameters"
        )

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        try:
            yield
        except PycaffeClrError as error:
            if self._title in str(error):
                raise
            raise type(error)(f"{self._title}: {error}") from error
        except Exception as error:
            error.add_note(f"in {what} of {self._title}")
            raise


def make(spec: HostLayerSpec) -> Host:
    """The layer that python_param names. Raises ConfigError where there is no such class."""
    title, module, name = spec["title"], spec["module"], spec["layer"]
    if not module or not name:
        raise ConfigError(f"{title}: expected python_param {{ module: ... layer: ... }}")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            error.add_note(f"in module '{module}' of {title}")
            raise
        raise ConfigError(
            f"{title}: there is no Python module '{module}'; is its folder on PYTHONPATH?"
        ) from error
    made = getattr(found, name, None)
    if not isinstance(made, type):
        raise ConfigError(f"{title}: module '{module}' has no class '{name}'")
    if not issubclass(made, Layer):
        raise ConfigError(f"{title}: class '{name}' of module '{module}' is no caffe.Layer")
    return host_of(made)(spec)


def host_of(layer_class: Callable[[Any], Any]) -> Callable[[HostLayerSpec], Host]:
    """What the core calls to make a layer of that class."""

    def factory(spec: HostLayerSpec) -> Host:
        try:
            layer = layer_class(None)
        except Exception as error:
            error.add_note(f"in the making of {spec['title']}")
            raise
        return Host(layer, spec)

    return factory


def register_layer(type: str, layer_class: Callable[[Any], Layer]) -> None:
    """Let prototxt files name a Python class of layers as a type of its own.

    Raises ConfigError if there is such a type already.
    """
    ready_core().register_layer(type, host_of(layer_class))
