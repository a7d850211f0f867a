"""What a Net shows of its blobs, parameters and layers, with pycaffe's names and meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.shaped import Shaped

if TYPE_CHECKING:
    from pycaffe_clr.pycaffe.built import BuiltNet


class Blob(Shaped):
    """A named array of a net: `data` and `diff` are numpy views, in Caffe's row-major order. A list
    of boxes, of detections, judged or not, or of AnnotatedData, ends behind the last of them.

    The views stay valid and are kept up to date: what is written into them counts in the next
    pass, and each pass writes its results back.
    """

    def __init__(self, net: BuiltNet, name: str) -> None:
        self._net = net
        self._name = name

    @property
    def data(self) -> np.ndarray:
        """Values, in the shape of the blob."""
        waiting = self._net._staged.get(self._name)
        view: np.ndarray = self._net._core.data(self._name) if waiting is None else waiting
        return view[:, :, : _rows(view)] if self._name in self._net._lists else view

    @property
    def diff(self) -> np.ndarray:
        """Gradient of the loss with respect to the values, as of the last backward pass."""
        view: np.ndarray = self._net._core.diff(self._name)
        return view

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes; of an input that was reshaped those that it shall have."""
        if self._name in self._net._lists:
            return self.data.shape
        return tuple(self._net._wanted.get(self._name, self._net._core.shape(self._name)))

    def reshape(self, *dims: int) -> None:
        """Give an input blob another shape; the rest of the net follows, at once where it can and
        else, with several inputs to reshape, at Net.reshape or the next forward. Views made before
        go stale. Raises ConfigError for a blob that a layer computes."""
        if self._name not in self._net.inputs:
            raise ConfigError(
                f"blob '{self._name}' cannot be reshaped: a layer computes it. "
                f"Reshape an input: {', '.join(self._net.inputs) or 'this net has none'}"
            )
        net = self._net
        net._wanted[self._name] = [int(d) for d in dims]
        dtype = net._core.data(self._name).dtype
        net._staged[self._name] = np.zeros(net._wanted[self._name], dtype)
        with suppress(ConfigError):
            net.reshape()

    def __repr__(self) -> str:
        return f"Blob('{self._name}', shape={self.shape})"


def _rows(boxes: np.ndarray) -> int:
    """Rows of (1, 1, K, numbers) up to the last that is of a sample, or of a class; one at least,
    as in SSD."""
    in_use = np.flatnonzero((boxes[0, 0, :, :2] >= 0).any(1))
    return int(in_use[-1]) + 1 if len(in_use) else 1


class ParamBlob(Shaped):
    """One parameter of a layer: `data` and `diff` are views of the memory that training uses."""

    def __init__(self, net: BuiltNet, index: int, shape: Sequence[int]) -> None:
        self._core = net._core
        self._index = index
        self._shape = tuple(shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self._shape

    def reshape(self, *dims: int) -> None:
        """Raises ConfigError for any other shape than it has: that is its layer's."""
        if tuple(dims) != self._shape:
            raise ConfigError(
                f"a parameter of shape {self._shape} cannot become {dims}; change the layer's "
                "settings"
            )

    @property
    def data(self) -> np.ndarray:
        """The weights."""
        view: np.ndarray = self._core.param_data(self._index)
        return view

    @property
    def diff(self) -> np.ndarray:
        """Their gradient, summed over the backward passes since clear_param_diffs."""
        view: np.ndarray = self._core.param_diff(self._index)
        return view

    def __repr__(self) -> str:
        return f"ParamBlob(shape={self.shape})"


class LayerView:
    """What pycaffe's net.layers holds: type and parameters of one layer.

    layer: the object of a layer that is written in Python, whose attributes can be read and set
    here, too; None for the others.
    """

    _OWN = ("type", "name", "layer", "blobs")

    def __init__(self, net: BuiltNet, index: int, row: Mapping[str, Any]) -> None:
        self.type: str = row["type"]
        self.name: str = row["name"]
        self.layer: Any = net._core.python_layer(index)
        params = net._param_rows
        self.blobs = [ParamBlob(net, i, params[i]["shape"]) for i in row["params"]]

    def __getattr__(self, name: str) -> Any:
        layer = self.__dict__.get("layer")
        if layer is None or name.startswith("__"):
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        return getattr(layer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        layer = None if name in self._OWN else self.__dict__.get("layer")
        if layer is None:
            super().__setattr__(name, value)
        else:
            setattr(layer, name, value)

    def __repr__(self) -> str:
        known = self.__dict__
        return f"Layer('{known.get('name')}', {known.get('type')})"
