"""What pycaffe shows of a net that was built: blobs, parameters, layers; inputs of other shapes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pycaffe_clr.engine import loss_weights
from pycaffe_clr.pycaffe.blobs import Blob, LayerView, ParamBlob

if TYPE_CHECKING:
    from pycaffe_clr._core import Net as CoreNet
    from pycaffe_clr._core import RecordFeed
    from pycaffe_clr.proto import NetParameter


# Tops that are lists of boxes.
_LISTS = {"DetectionOutput": [0], "DetectionEvaluate": [0], "AnnotatedData": [1]}


class BuiltNet:
    """A core net by pycaffe's names. param: its filtered NetParameter; fused: whether it has the
    fast plan, in which only inputs and outputs can be looked at."""

    def __init__(
        self, core: CoreNet, param: NetParameter, feeds: Mapping[str, RecordFeed], fused: bool
    ) -> None:
        self._core = core
        self._fused = fused
        self._param = param
        self._feeds = dict(feeds)
        # Inputs that were reshaped, and what is written there until the net can follow.
        self._wanted: dict[str, list[int]] = {}
        self._staged: dict[str, np.ndarray] = {}
        self._rows = core.layers()
        # Blobs with room for more boxes than there may be.
        self._lists = {
            row["tops"][n]
            for row in self._rows
            for n in _LISTS.get(row["type"], [])
            if n < len(row["tops"])
        }
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
        self.layers = [LayerView(self, i, row) for i, row in enumerate(self._rows)]
        self._layer_names = [row["name"] for row in self._rows]
        self.layer_dict = OrderedDict(zip(self._layer_names, self.layers, strict=True))
        self.bottom_names = OrderedDict((r["name"], list(r["bottoms"])) for r in self._rows)
        self.top_names = OrderedDict((r["name"], list(r["tops"])) for r in self._rows)

    def reshape(self) -> None:
        """Let the whole net follow input blobs that were reshaped. Views made before go stale.

        Raises ConfigError where the shapes do not fit each other; the net stays as it was.
        """
        self._follow(-1)

    def _follow(self, last: int) -> None:
        """reshape, for a pass up to the layer `last`: what lies behind it need not fit."""
        if not self._wanted:
            return
        self._core.reshape(self._wanted, last)
        staged = self._staged
        self._wanted, self._staged = {}, {}
        for name, array in staged.items():
            self._core.data(name)[...] = array

    def clear_param_diffs(self) -> None:
        """Set every parameter's diff to zero."""
        self._core.clear_param_diffs()

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
    def _blobs(self) -> list[Blob]:
        return list(self.blobs.values())

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
