"""Caffe's snapshots of a training: PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.train.schedule import core_settings
from pycaffe_clr.train.training import Training
from pycaffe_clr.weights import (
    SolverState,
    fit,
    load_weights,
    read_state,
    read_weights,
    save_weights,
    write_state,
)


def names(prefix: str, iteration: int, hdf5: bool) -> tuple[str, str]:
    """The names of the weights and of the solver state."""
    end = ".h5" if hdf5 else ""
    stem = f"{prefix}_iter_{iteration}"
    return f"{stem}.caffemodel{end}", f"{stem}.solverstate{end}"


def write(training: Training) -> tuple[Path, Path]:
    """Write weights, then solver state, each whole or not at all; their paths.

    The log names them as the solver's prefix does, so that a run's folder can be moved. Raises
    DataError; earlier snapshots stay whole.
    """
    param, core = training.param, training.core
    hdf5 = param.snapshot_format == 0
    written = names(param.snapshot_prefix, training.iteration, hdf5)
    training.log.snapshot(*written, hdf5)
    weights, state = (training.folder / name for name in written)
    save_weights(weights, training.net, training.train.param, param.snapshot_diff, hdf5)
    history = [
        np.array(core.history(index, k))
        for k in range(core.histories)
        for index in training.net.learnable()
    ]
    write_state(state, SolverState(core.iteration, str(weights), history, core.current_step), hdf5)
    training.log.flush()
    return weights, state


def restore(training: Training, path: Path) -> None:
    """Take over a .solverstate and the weights it names: weights, histories, iteration.

    Everything is checked before anything is changed. Raises DataError.
    """
    net, core = training.net, training.core
    state, learned = _read(path, training)
    if learned is not None:
        load_weights(net, read_weights(learned), str(learned))
    training.log.write(f"Restoring previous solver status from {path}", "solver.cpp:277")
    arrays = iter(state.history)
    for k in range(core.histories):
        for index in net.learnable():
            core.history(index, k)[...] = next(arrays)
    core.restore(state.iter, state.current_step)
    training.log.write("SGDSolver: restoring history", "sgd_solver.cpp:448")


def _read(path: Path, training: Training) -> tuple[SolverState, Path | None]:
    """A .solverstate that fits, and the file of its weights, which may have moved along with it;
    None: it names no weights."""
    net, core = training.net, training.core
    kind = core_settings(training.param)["type"]
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
