"""The HDF5Output layer: writes its bottoms to a file as the datasets `data` and `label`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pycaffe_clr.core_types import HostLayerSpec
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.python_layer import Host, Layer, LayerBlob, host_of

_NAMES = ("data", "label")


class Hdf5Output(Layer):
    """Two bottoms of as many samples. The file is made anew with the net; each forward pass adds
    its samples (Caffe's own stops at the second pass)."""

    type = "HDF5Output"

    def setup(self, bottom: list[LayerBlob], top: list[LayerBlob]) -> None:
        """Check the bottoms and make the file. param_str: its name."""
        if len(bottom) != len(_NAMES) or top:
            raise ConfigError("HDF5Output takes two bottoms, data and label, and has no tops")
        if not self.param_str:
            raise ConfigError("hdf5_output_param needs a file_name")
        self._file = Path(self.param_str)
        self._write("w", lambda file: None)

    def reshape(self, bottom: list[LayerBlob], top: list[LayerBlob]) -> None:
        """Check that there is a label for each sample."""
        if bottom[0].shape[:1] != bottom[1].shape[:1] or not bottom[0].shape:
            raise ConfigError(
                f"bottoms must agree on axis 0; {bottom[0].shape} and {bottom[1].shape} do not"
            )

    def forward(self, bottom: list[LayerBlob], top: list[LayerBlob]) -> None:
        """Add the samples to the file."""

        def add(file: Any) -> None:
            for name, blob in zip(_NAMES, bottom, strict=True):
                if name not in file:
                    dims = (None, *blob.shape[1:])
                    file.create_dataset(name, data=blob.data, maxshape=dims, dtype="f4")
                    continue
                rows = len(file[name])
                file[name].resize(rows + len(blob.data), axis=0)
                file[name][rows:] = blob.data

        self._write("a", add)

    def backward(
        self, top: list[LayerBlob], propagate_down: list[bool], bottom: list[LayerBlob]
    ) -> None:
        """Nothing flows back."""
        for blob in bottom:
            blob.diff[...] = 0

    def _write(self, mode: str, use: Any) -> None:
        import h5py  # takes a quarter of a second

        try:
            with h5py.File(self._file, mode) as file:
                use(file)
        except OSError as error:
            raise DataError(f"{self._file}: cannot be written: {error}") from error


def make(spec: HostLayerSpec) -> Host:
    """The layer for a prototxt's settings."""
    return host_of(lambda _: Hdf5Output())(spec)
