"""Caffe's snapshots of a session: PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.train.schedule import core_settings
from pycaffe_clr.weights import (
    SolverState,
    load_weights,
    read_state,
    read_weights,
    save_weights,
    write_state,
)

if TYPE_CHECKING:
    from pycaffe_clr.train.session import Session


def write(session: Session) -> tuple[Path, Path]:
    """Write both files, each whole or not at all; their paths. Raises DataError.

    The log names them as the solver's prefix does, so that a run's folder can be moved.
    """
    param = session.param
    hdf5 = param.snapshot_format == 0
    end = ".h5" if hdf5 else ""
    stem = f"{param.snapshot_prefix}_iter_{session.iteration}"
    names = f"{stem}.caffemodel{end}", f"{stem}.solverstate{end}"
    session.log.snapshot(*names, hdf5)
    weights, state = (session.folder / name for name in names)
    save_weights(weights, session.net, session.train_param, param.snapshot_diff, hdf5)
    write_state(state, state_of(session, str(weights)), hdf5)
    return weights, state


def state_of(session: Session, learned_net: str) -> SolverState:
    """What a .solverstate of the session holds now. learned_net: path of the weights."""
    core = session.core
    history = [np.array(core.history(i)) for i in session.net.learnable()]
    return SolverState(session.iteration, learned_net, history, core.current_step)


def restore(session: Session, path: Path) -> None:
    """Take over a .solverstate and the weights it names, which may have moved along with it.

    Everything is checked before anything is changed. Raises DataError.
    """
    state = read_state(path)
    rows = session.net.params()
    learnable = session.net.learnable()
    if len(state.history) != len(learnable):
        raise DataError(
            f"{path}: has {len(state.history)} histories, but this solver "
            f"({core_settings(session.param)['type']}) needs {len(learnable)}; "
            "is it of another net, or of another solver type?"
        )
    for index, array in zip(learnable, state.history, strict=True):
        shape = tuple(rows[index]["shape"])
        if array.size != math.prod(shape):
            raise DataError(
                f"{path}: history of layer '{rows[index]['layer']}' has shape {array.shape}, "
                f"but its parameter {rows[index]['index']} has {shape}"
            )
    if state.learned_net:
        learned = Path(state.learned_net)
        if not learned.is_file():
            learned = path.parent / learned.name
        if not learned.is_file():
            raise DataError(f"{path}: its weights {state.learned_net} are not there, nor beside it")
        load_weights(session.net, read_weights(learned), str(learned))
    session.log.write(f"Restoring previous solver status from {path}", "solver.cpp:277")
    set_state(session, state)
    session.log.write("SGDSolver: restoring history", "sgd_solver.cpp:448")


def set_state(session: Session, state: SolverState) -> None:
    """Take over iteration and histories; shapes must fit."""
    for index, array in zip(session.net.learnable(), state.history, strict=True):
        view = session.core.history(index)
        view[...] = np.asarray(array).reshape(view.shape)
    session.core.restore(state.iter, state.current_step)
    session.schedule.restore(state.iter, state.current_step)
    session.displayed = (time.monotonic(), state.iter)
