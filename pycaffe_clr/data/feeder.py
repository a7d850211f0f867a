"""Batches read ahead of the step by background threads."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

import numpy as np

from pycaffe_clr.data.sources import Source
from pycaffe_clr.errors import ConfigError, DataError, PycaffeClrError


@dataclass(frozen=True)
class Batch:
    """Consecutive records of a source.

    data: (size, C, H, W) of the source's dtype; labels: (size,) int32; position: count of records
    handed out up to and including this batch, not wrapped. data stays valid until the next batch is
    taken.
    """

    data: np.ndarray
    labels: np.ndarray
    position: int


class Share(NamedTuple):
    """The records of a batch that are of use: of each `step` those from `first` on, `run` of them.

    The others need not be read; what stands in their places is anything.
    """

    first: int
    run: int
    step: int

    def rows(self, count: int) -> np.ndarray:
        """Their places in a batch of so many."""
        places = np.arange(count)
        return places[(places - self.first) % self.step < self.run]


class _Shared:
    """What the threads work on; they hold no reference to the Feeder, so that it can be freed."""

    def __init__(
        self, source: Source, batch_size: int, start: int, depth: int, share: Share | None
    ) -> None:
        self.source = source
        self.rows = None if share is None else share.rows(batch_size)
        self.batch_size = batch_size
        self.start = start
        self.depth = depth
        self.changed = threading.Condition()
        self.claimed = 0  # batches that a thread has begun
        self.consumed = 0  # batches handed out
        self.ready: dict[int, Batch | BaseException] = {}
        self.stopped = False
        # One more than can be ready: the batch handed out last is still in use.
        shape = (batch_size, *source.shape)
        self.buffers = [np.empty(shape, source.dtype) for _ in range(depth + 1)]

    def work(self) -> None:
        while True:
            with self.changed:
                while not self.stopped and self.claimed >= self.consumed + self.depth:
                    self.changed.wait()
                if self.stopped:
                    return
                number = self.claimed
                self.claimed += 1
            result: Batch | BaseException
            try:
                result = self.make(number)
            except BaseException as error:  # handed on to whoever takes this batch
                result = error
            with self.changed:
                self.ready[number] = result
                self.changed.notify_all()
                if isinstance(result, BaseException):
                    return

    def make(self, number: int) -> Batch:
        position = self.start + number * self.batch_size
        buffer = self.buffers[number % len(self.buffers)]
        if self.rows is None:
            data, labels = self.source.read(position, self.batch_size, out=buffer)
        else:
            numbers = position + self.rows
            if not self.source.rounds:
                numbers %= len(self.source)
            data, labels = buffer, np.zeros(self.batch_size, np.int32)
            data[self.rows], labels[self.rows] = self.source.read(numbers)
        return Batch(data, labels, position + self.batch_size)

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()


class Feeder:
    """Batches of a source in order, read ahead by `threads` into a queue of `depth` batches.

    start: records that were consumed before, not wrapped; resuming from `position` goes on exactly
    where a run stopped. share: what of each batch is read; None: all. Use it as a context manager,
    or `close` it.
    Threads help where records are decoded (compressed images) or the disk is slow.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        start: int = 0,
        depth: int = 3,
        threads: int = 1,
        share: Share | None = None,
    ) -> None:
        if min(batch_size, depth, threads) < 1 or start < 0:
            raise ConfigError(
                f"{source.name}: batch_size {batch_size}, depth {depth} and threads {threads} must "
                f"be positive and start {start} not negative"
            )
        self._shared = _Shared(source, batch_size, start, depth, share)
        self._position = start
        self._failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._shared.work, name=f"feeder-{i}", daemon=True)
            for i in range(threads)
        ]
        self._finalizer = weakref.finalize(self, self._shared.stop)
        for thread in self._threads:
            thread.start()

    @property
    def position(self) -> int:
        """Records handed out so far, `start` included; read-ahead does not count."""
        return self._position

    def next(self) -> Batch:
        """The next batch; raises what reading it raised, DataError after `close`."""
        if self._failure is not None:
            raise self._failure
        shared = self._shared
        with shared.changed:
            # What was handed out before may be overwritten from here on.
            while not shared.stopped and shared.consumed not in shared.ready:
                shared.changed.wait()
            if shared.stopped:
                raise DataError(f"{shared.source.name}: the feeder is closed")
            result = shared.ready.pop(shared.consumed)
            if isinstance(result, Batch):
                shared.consumed += 1
            shared.changed.notify_all()
        if isinstance(result, BaseException):
            self._failure = _with_place(result, shared.source.name)
            self.close()
            raise self._failure
        self._position = result.position
        return result

    def close(self) -> None:
        """Stop the threads and wait for them; read-ahead batches are dropped."""
        self._finalizer()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Feeder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _with_place(error: BaseException, name: str) -> BaseException:
    """Errors of ours say where they happened; others get the source's name around them."""
    if isinstance(error, PycaffeClrError):
        return error
    wrapped = DataError(f"{name}: reading ahead failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
