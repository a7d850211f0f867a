"""Passes over a net with pycaffe's names and meaning: whole, from layer to layer, over more samples
than a batch holds, with functions called around each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.pycaffe.batches import Gathered, batches
from pycaffe_clr.pycaffe.built import BuiltNet

if TYPE_CHECKING:
    from pycaffe_clr._core import Net as CoreNet
    from pycaffe_clr._core import RecordFeed
    from pycaffe_clr.proto import NetParameter


class Passes(BuiltNet):
    """A net that was built, with its passes."""

    def __init__(
        self, core: CoreNet, param: NetParameter, feeds: Mapping[str, RecordFeed], fused: bool
    ) -> None:
        super().__init__(core, param, feeds, fused)
        self._callbacks: dict[str, list[Callable[[int], Any]]] = {}

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
            try:
                if array.shape[:1] != view.shape[:1]:
                    raise ValueError
                view[...] = array.reshape(view.shape) if array.size == view.size else array
            except ValueError:
                raise ConfigError(
                    f"blob '{name}' has shape {view.shape}, the array given for it {array.shape}"
                ) from None

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
        first = self._layer_index(start, 0)
        last = self._layer_index(end, len(self._rows) - 1)
        self._follow(last)
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
        if kwargs and set(kwargs) not in (set(tops), set(self.outputs)):
            raise ConfigError(f"backward was given {sorted(kwargs)}, but starts at {tops}")
        self.reshape()
        self._write(kwargs, "diff")
        self._run("backward", first, last)
        names = self.bottom_names[end] if end is not None else self.inputs
        if self._fused:  # nothing but the parameters' diffs can be looked at
            names = []
        wanted = [*names, *(diffs or ())]
        return {name: self.blobs[name].diff for name in wanted}

    def _run(self, direction: str, first: int, last: int) -> float:
        """Run the layers' forward or backward, with the callbacks around each; forward gives the
        weighted loss."""
        run = getattr(self._core, direction)
        before = self._callbacks.get(f"before_{direction}", ())
        after = self._callbacks.get(f"after_{direction}", ())
        if not before and not after:
            return run(first, last) or 0.0
        loss = 0.0
        for index in range(first, last + 1) if first <= last else range(first, last - 1, -1):
            for call in before:
                call(index)
            loss += run(index, index) or 0.0
            for call in after:
                call(index)
        return loss

    # pycaffe's own names for what its passes are built on; scripts use them.

    def _forward(self, start: int, end: int) -> float:
        return self._run("forward", start, end)

    def _backward(self, start: int, end: int) -> None:
        self._run("backward", start, end)

    def _batch(self, blobs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for piece, _ in batches(self, blobs):
            yield piece

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
