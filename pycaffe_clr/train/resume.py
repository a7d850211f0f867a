"""Where a training stands between two iterations: taken down, gone back to, worked out."""

from __future__ import annotations

import math
import time

from pycaffe_clr.errors import DataError
from pycaffe_clr.train import positions
from pycaffe_clr.train.state import State, check_arrays, views
from pycaffe_clr.train.training import Training

# When the last display was, on the clock, and at which iteration.
Displayed = tuple[float, int]


def capture(training: Training, displayed: Displayed) -> State:
    """Everything that is needed to go on from here. The arrays are views."""
    nets = [training.train, *training.tests]
    train, *tests = [positions.capture(each.net, each.feeds) for each in nets]
    return State(
        training.iteration,
        training.core.current_step,
        train,
        tests,
        list(training.losses),
        time.monotonic() - displayed[0],
        displayed[1],
        views(training.net, training.core),
        training.param.type,
    )


def go_back(training: Training, state: State, name: str) -> Displayed:
    """Stand where a training stood when it gave the state. name: what errors call the state.

    Everything is checked before anything is changed. Raises DataError where it is of another net or
    solver type.
    """
    if state.type not in ("", training.param.type):
        raise DataError(
            f"{name}: is of a {state.type} solver, this is one of {training.param.type}"
        )
    own = views(training.net, training.core)
    check_arrays(state.arrays, own, name)
    nets = [training.train, *training.tests]
    places = [state.train, *state.tests]
    if len(places) != len(nets):
        raise DataError(f"{name}: is of a run with {len(state.tests)} test nets")
    for each, place in zip(nets, places, strict=True):
        positions.check(each.feeds, place)
    for each, place in zip(nets, places, strict=True):
        positions.restore(each.net, each.feeds, place)
    training.core.restore(state.iteration, state.current_step)
    training.losses.extend(state.losses)
    for key, array in own.items():
        array[...] = state.arrays[key]
    return time.monotonic() - state.since_display, state.displayed_at


def seek(training: Training, iteration: int) -> None:
    """Put every data layer where a run that was never stopped has it at this iteration."""
    param = training.param
    positions.seek(training.net, training.feeds, iteration * param.iter_size)
    interval = param.test_interval
    # Tests before the iterations 0, interval, 2 * interval, ... below this one.
    tests = math.ceil(iteration / interval) if interval else 0
    if tests and not param.test_initialization:
        tests -= 1
    for test, batches in zip(training.tests, param.test_iter, strict=True):
        positions.seek(test.net, test.feeds, tests * batches)
