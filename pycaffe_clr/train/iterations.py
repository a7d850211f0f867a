"""Iterations of a training, in bursts or one by one, with Caffe's display of them."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import NoReturn

from pycaffe_clr.errors import EngineError
from pycaffe_clr.train import debug as debug_info
from pycaffe_clr.train import passes
from pycaffe_clr.train.events import Row
from pycaffe_clr.train.log import number
from pycaffe_clr.train.training import Training


class Diverged(EngineError):
    """The loss is no longer a number."""


class Iterations:
    """Makes the iterations of a training. displayed: when the last display was, on the clock, and
    at which iteration."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self.displayed = (time.monotonic(), 0)

    def burst(self, count: int, seconds: float) -> None:
        """Up to `count` iterations, for about so many seconds, without a word from Python between
        them. Raises Diverged."""
        training = self._training
        first = training.iteration
        tell = training.listener.gradients
        hook = None if tell is None else partial(tell, training.net)
        losses, _, diverged = training.core.run(count, seconds, hook)
        schedule = training.core.schedule
        rows = []
        for iteration, loss in enumerate(losses[:-1] if diverged else losses, first):
            training.losses.append(loss)
            lr, momentum = schedule.lr(iteration), schedule.momentum(iteration)
            rows.append(Row(iteration, loss, training.smoothed_loss, lr, momentum))
        self._log_steps(first, first + len(rows))
        training.listener.rows(rows)
        if diverged:
            self._diverged(losses[-1])

    def single(self, display: bool) -> None:
        """One iteration under Python's eyes, with the callbacks. Raises Diverged."""
        training = self._training
        at = training.iteration
        for on_start, _ in training.callbacks:
            on_start()
        debug = display and training.param.debug_info
        if debug:
            loss = debug_info.forward_backward(training.log, training.net, training.param.iter_size)
        else:
            loss = training.core.forward_backward()
        if not math.isfinite(loss):
            self._diverged(loss)
        training.losses.append(loss)
        row = Row(at, loss, training.smoothed_loss, training.core.lr, training.core.momentum)
        if display:
            self._display(row)
        else:
            self._log_steps(at, at + 1)
        for _, on_gradients in training.callbacks:
            on_gradients()
        if training.listener.gradients is not None:
            training.listener.gradients(training.net)
        before = debug_info.param_means(training.net) if debug else []
        training.core.apply_update()
        if debug:
            debug_info.log_update(training.log, training.net, before)
        training.listener.rows([row])

    def _display(self, row: Row) -> None:
        training = self._training
        now = time.monotonic()
        before, since = self.displayed
        count = row.iteration - since
        training.log.display(
            row.iteration, row.smoothed, count, now - before, training.param.display
        )
        self.displayed = (now, row.iteration)
        row.outputs = passes.outputs(training.net)
        training.log.outputs("Train", row.outputs, training.train.loss_weights)
        self._log_steps(row.iteration, row.iteration + 1)
        training.log.rates(row.iteration, row.lr, row.momentum, training.param.weight_decay)

    def _log_steps(self, begin: int, end: int) -> None:
        """Say where the updates of these iterations took steps of a multistep policy."""
        training = self._training
        if training.param.lr_policy != "multistep":
            return
        schedule = training.core.schedule
        step = schedule.current_step(begin)
        # Its value before an update; most often there is nothing to find.
        if schedule.current_step(end) == step:
            return
        for iteration in range(begin, end):
            after = schedule.current_step(iteration + 1)
            if after != step:
                training.log.multistep(iteration, after)
            step = after

    def _diverged(self, loss: float) -> NoReturn:
        training = self._training
        message = (
            f"iteration {training.iteration}: the loss is {loss}; the run has diverged at "
            f"lr = {number(training.core.lr)}, momentum = {number(training.core.momentum)}"
        )
        training.log.write(message, "solver.cpp:218", "E")
        training.log.flush()
        raise Diverged(
            message + ". Earlier snapshots are untouched. Try a smaller max_lr or base_lr, "
            "a longer stepsize, or clip_gradients"
        )
