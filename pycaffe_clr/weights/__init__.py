"""Caffe's weights (.caffemodel) and solver states (.solverstate), read and written.

read_weights, write_weights, read_state, write_state: files, binary and HDF5. load_weights and
save_weights: between files and a core net.
"""

from pycaffe_clr.weights.files import (
    SolverState,
    Weights,
    fit,
    parse_state,
    parse_weights,
    read_state,
    read_weights,
    write_state,
    write_weights,
)
from pycaffe_clr.weights.transfer import load_weights, save_weights

__all__ = [
    "SolverState",
    "Weights",
    "fit",
    "load_weights",
    "parse_state",
    "parse_weights",
    "read_state",
    "read_weights",
    "save_weights",
    "write_state",
    "write_weights",
]
