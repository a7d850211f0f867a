"""Caffe's log: glog's prefix and Caffe's lines word for word, so that existing parsers work."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TextIO

from pycaffe_clr.errors import DataError


def number(value: float) -> str:
    """A number as C++ streams print it: six significant digits."""
    return f"{value:.6g}"


class CaffeLog:
    """Writes log lines to any number of text streams.

    Each line carries the prefix `I0321 09:01:36.326753 154467 solver.cpp:218] `; file names and
    line numbers are those of Caffe's sources as the report's author built them, since parsers look
    for the file names.
    """

    def __init__(self, *streams: TextIO) -> None:
        self.streams = list(streams)
        self._pid = os.getpid()

    def write(self, text: str, place: str, level: str = "I") -> None:
        """One message. text: may have several lines, of which the first gets the prefix."""
        now = datetime.now()
        line = f"{level}{now:%m%d %H:%M:%S.%f} {self._pid} {place}] {text}\n"
        for stream in list(self.streams):
            self._try(stream, lambda to: to.write(line))

    def flush(self) -> None:
        """Hand everything to the system: others can read it, and it outlives this process."""
        for stream in list(self.streams):
            self._try(stream, lambda to: to.flush())

    def _try(self, stream: TextIO, act: Callable[[TextIO], Any]) -> None:
        try:
            act(stream)
        except BrokenPipeError:
            # Nobody reads on (`| head`): no reason to stop training.
            self.streams.remove(stream)
        except OSError as error:
            name = getattr(stream, "name", "log")
            raise DataError(f"{name}: the log cannot be written: {error.strerror}") from error

    # --- the story of a run ---------------------------------------------------------------------

    def settings(self, text: str) -> None:
        """The opening of a solver. text: its prototxt."""
        self.write("Initializing solver from parameters: \n" + text.rstrip("\n"), "solver.cpp:44")

    def net(
        self,
        text: str,
        layers: Sequence[Mapping[str, Any]],
        shapes: Mapping[str, Any],
        outputs: Iterable[str],
    ) -> None:
        """What Net::Init prints: the net, then every layer with its tops, then the net's outputs.

        layers: rows of core Net.layers(); shapes: dims by blob name.
        """
        self.write("Initializing net from parameters: \n" + text.rstrip("\n"), "net.cpp:51")
        memory = 0
        for layer in layers:
            name = layer["name"]
            self.write(f"Creating layer {name}", "layer_factory.hpp:77")
            self.write(f"Creating Layer {name}", "net.cpp:84")
            for bottom in layer["bottoms"]:
                self.write(f"{name} <- {bottom}", "net.cpp:406")
            for top in layer["tops"]:
                place = " (in-place)" if top in layer["bottoms"] else ""
                self.write(f"{name} -> {top}{place}", "net.cpp:367" if place else "net.cpp:380")
            self.write(f"Setting up {name}", "net.cpp:122")
            for top, weight in zip(layer["tops"], layer["loss_weights"], strict=True):
                dims = shapes.get(top, ())
                count = 1
                for dim in dims:
                    count *= dim
                memory += 4 * count
                text_dims = "".join(f"{dim} " for dim in dims)
                self.write(f"Top shape: {text_dims}({count})", "net.cpp:129")
                if weight:
                    self.write(f"    with loss weight {number(weight)}", "net.cpp:132")
            self.write(f"Memory required for data: {memory}", "net.cpp:137")
        for layer in reversed(layers):
            needs = "needs" if layer["need_backward"] else "does not need"
            place = "net.cpp:198" if layer["need_backward"] else "net.cpp:200"
            self.write(f"{layer['name']} {needs} backward computation.", place)
        for output in outputs:
            self.write(f"This network produces output {output}", "net.cpp:242")
        self.write("Network initialization done.", "net.cpp:255")

    def testing(self, iteration: int, index: int) -> None:
        """Test net `index` is about to be tested: `Iteration 500, Testing net (#0)`."""
        self.write(f"Iteration {iteration}, Testing net (#{index})", "solver.cpp:330")

    def outputs(
        self, kind: str, values: Iterable[tuple[str, float]], weights: Mapping[str, float]
    ) -> None:
        """`Train net output #0: loss = 2.36 (* 1 = 2.36 loss)`. kind: "Train" or "Test"."""
        place = "solver.cpp:237" if kind == "Train" else "solver.cpp:397"
        for index, (name, value) in enumerate(values):
            weight = weights.get(name, 0.0)
            loss = f" (* {number(weight)} = {number(weight * value)} loss)" if weight else ""
            self.write(f"    {kind} net output #{index}: {name} = {number(value)}{loss}", place)

    def display(self, iteration: int, loss: float, count: int, seconds: float, period: int) -> None:
        """`Iteration 100 (9.2 iter/s, 10.9s/100 iters), loss = 0.31`.

        loss: as smoothed by average_loss. count: iterations since the last display, which took
        `seconds`. period: the solver's `display`, which is what Caffe prints.
        """
        rate = count / seconds if count and seconds > 0 else 0.0
        self.write(
            f"Iteration {iteration} ({number(rate)} iter/s, {number(seconds)}s/{period} iters), "
            f"loss = {number(loss)}",
            "solver.cpp:218",
        )

    def rates(self, iteration: int, lr: float, momentum: float, weight_decay: float) -> None:
        """`Iteration 100, lr = 0.01, momentum = 0.95, weight decay = 0.0005`, of its update."""
        self.write(
            f"Iteration {iteration}, lr = {number(lr)}, momentum = {number(momentum)}, "
            f"weight decay = {number(weight_decay)}",
            "sgd_solver.cpp:212",
        )

    def multistep(self, iteration: int, step: int) -> None:
        """The update of `iteration` is the first one after `step` steps of a multistep policy."""
        self.write(f"MultiStep Status: Iteration {iteration}, step = {step}", "sgd_solver.cpp:130")

    def snapshot(self, weights: str, state: str, hdf5: bool) -> None:
        """Two files are about to be written: paths of the weights and of the solver's state."""
        kind = "HDF5" if hdf5 else "binary proto"
        self.write(f"Snapshotting to {kind} file {weights}", "solver.cpp:447")
        place = "sgd_solver.cpp:407" if hdf5 else "sgd_solver.cpp:394"
        self.write(f"Snapshotting solver state to {kind} file {state}", place)

    def finished(self) -> None:
        """The last line of a solver that reached max_iter."""
        self.write("Optimization Done.", "solver.cpp:315")


class LogHandler(logging.Handler):
    """Passes this package's own messages on to a CaffeLog, each once."""

    _LEVELS = {logging.INFO: "I", logging.WARNING: "W", logging.ERROR: "E"}

    def __init__(self, log: CaffeLog) -> None:
        super().__init__(logging.INFO)
        self._log = log
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, unless its text was written before."""
        text = record.getMessage()
        if text in self._seen:
            return
        self._seen.add(text)
        level = self._LEVELS.get(record.levelno, "E")
        self._log.write(text, f"{record.filename}:{record.lineno}", level)


_LOGGER = logging.getLogger("pycaffe_clr")
# The handler of the run that this thread, or task, is in.
_current: ContextVar[logging.Handler | None] = ContextVar("pycaffe_clr_run", default=None)


class _Router(logging.Handler):
    """While runs go on: gives each message to the run that it belongs to, from level INFO on, and
    everybody else what they would see without this handler."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._mutex = threading.Lock()
        self._runs = 0
        self._level, self._visible, self._propagate = 0, 0, True

    def enter(self) -> None:
        with self._mutex:
            self._runs += 1
            if self._runs == 1:
                self._level, self._propagate = _LOGGER.level, _LOGGER.propagate
                self._visible = _LOGGER.getEffectiveLevel()
                _LOGGER.addHandler(self)
                _LOGGER.setLevel(min(self._visible, logging.INFO))
                _LOGGER.propagate = False

    def leave(self) -> None:
        with self._mutex:
            self._runs -= 1
            if self._runs == 0:
                _LOGGER.removeHandler(self)
                _LOGGER.setLevel(self._level)
                _LOGGER.propagate = self._propagate

    def emit(self, record: logging.LogRecord) -> None:
        own = _current.get()
        if own is not None:
            own.emit(record)
        if self._propagate and record.levelno >= self._visible and _LOGGER.parent:
            _LOGGER.parent.handle(record)


_router = _Router()


@contextmanager
def notes_to(log: CaffeLog | None) -> Iterator[None]:
    """While entered, this package's messages go to the log, too, from level INFO on.

    It does not matter which level and handlers the caller has set; messages of runs in other
    threads go to theirs. None: to no log.
    """
    _router.enter()
    token = _current.set(None if log is None else LogHandler(log))
    try:
        yield
    finally:
        _current.reset(token)
        _router.leave()
