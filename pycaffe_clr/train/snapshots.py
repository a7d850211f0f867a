"""Caffe's snapshots: PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate of core nets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.weights import SolverState, fit, read_state, write_state


def names(prefix: str, iteration: int, hdf5: bool) -> tuple[str, str]:
    """The names of the weights and of the solver state."""
    end = ".h5" if hdf5 else ""
    stem = f"{prefix}_iter_{iteration}"
    return f"{stem}.caffemodel{end}", f"{stem}.solverstate{end}"


def write_state_of(net: Any, core: Any, path: Path, weights: Path, hdf5: bool) -> None:
    """Write the .solverstate of a core solver. weights: the file it names. Raises DataError."""
    history = [
        np.array(core.history(index, k)) for k in range(core.histories) for index in net.learnable()
    ]
    write_state(path, SolverState(core.iteration, str(weights), history, core.current_step), hdf5)


def read(path: Path, net: Any, core: Any, kind: str) -> tuple[SolverState, Path | None]:
    """A .solverstate and the file of its weights, which may have moved along with it.

    net, core: the core net and solver whose parameters and number of histories the state must fit.
    kind: the solver's type, for errors. None: it names no weights. Raises DataError.
    """
    state = read_state(path)
    rows = net.params()
    params = [rows[index] for index in net.learnable()]
    if len(state.history) != core.histories * len(params):
        raise DataError(
            f"{path}: has {len(state.history)} histories, but this solver ({kind}) keeps "
            f"{core.histories} for each of {len(params)} parameters; is it of another net, or of "
            "another solver type?"
        )
    for number, array in enumerate(state.history):
        row = params[number % len(params)]
        fitted = fit(array, row["shape"])
        if fitted is None:
            raise DataError(
                f"{path}: history {number}, of layer '{row['layer']}', has shape {array.shape}, "
                f"but its parameter {row['index']} has {tuple(row['shape'])}"
            )
        state.history[number] = fitted
    if not state.learned_net:
        return state, None
    learned = Path(state.learned_net)
    if not learned.is_file():
        learned = path.parent / learned.name
    if not learned.is_file():
        raise DataError(f"{path}: its weights {state.learned_net} are not there, nor beside it")
    return state, learned


def set_history(net: Any, core: Any, state: SolverState) -> None:
    """Take over the histories of a state that `read` gave for this net and solver."""
    arrays = iter(state.history)
    for k in range(core.histories):
        for index in net.learnable():
            core.history(index, k)[...] = next(arrays)
