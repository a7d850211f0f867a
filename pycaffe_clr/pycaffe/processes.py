"""pycaffe's functions for training in several processes, and its stopwatch."""

from __future__ import annotations

import secrets
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from pycaffe_clr.engine import ready_core
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.train import meeting

if TYPE_CHECKING:
    from pycaffe_clr.pycaffe.solver import Solver


class _Ranks:
    count, rank = 1, 0


def has_nccl() -> bool:
    """Whether processes can add up their gradients by the class NCCL: always."""
    return True


class NCCL:
    """Adds up the gradients of a solver in each of several processes, as pycaffe's class does.

    solver: made after set_solver_count and set_solver_rank, so that its data layers take this
    process's share. uid: what new_uid gave, the same in all; waits for the others (at most
    meeting.timeout()). `bcast` gives all the weights of rank 0, `solver.add_callback(nccl)` has
    gradients averaged. Between GPUs it is NCCL, on a CPU sockets. Raises EngineError, ConfigError.
    """

    def __init__(self, solver: Solver, uid: bytes) -> None:
        host, port, key = uid.decode().split(":")
        rank, count = _Ranks.rank, _Ranks.count
        if rank >= count:
            raise ConfigError(f"rank {rank} of {count}: call set_solver_count and set_solver_rank")
        self._solver = solver
        self._meeting = None
        ring = [-1, -1]
        if count > 1:
            place = meeting.Place(rank, count, rank, count, host, int(port), key)
            self._meeting = meeting.meet(place)
            ring = [each.fileno() for each in self._meeting.ring]
        self.group = ready_core().Group(rank, count, ring[0], ring[1], [], meeting.patience())

    @staticmethod
    def new_uid() -> bytes:
        """Where the processes of a script meet, on this machine."""
        with meeting.listen("127.0.0.1", 0) as server:
            port = server.getsockname()[1]
        return f"127.0.0.1:{port}:{secrets.token_hex(16)}".encode()

    def bcast(self) -> None:
        """Give all processes the weights of rank 0, and the seed of its random numbers."""
        net = self._solver.core_net
        for index in net.learnable():
            self.group.broadcast(net.param_data(index))
        seed = np.array([net.seed], np.uint64)
        self.group.broadcast(seed)
        net.seed = int(seed[0])

    def __call__(self, layer: int) -> None:
        """For net.after_backward(nccl), which has nothing to add here."""


def solver_count() -> int:
    """What set_solver_count was given: the number of processes that a script trains in."""
    return _Ranks.count


def set_solver_count(count: int) -> None:
    """The number of processes in which solvers that are made later train together, each with its
    share of the data. Raises ConfigError below 1."""
    if count < 1:
        raise ConfigError(f"the number of solvers must be 1 or more, not {count}")
    _Ranks.count = int(count)


def solver_rank() -> int:
    """What set_solver_rank was given: the number of this process."""
    return _Ranks.rank


def set_solver_rank(rank: int) -> None:
    """The number of this process; only rank 0 tests, displays and takes snapshots, as in Caffe.
    Raises ConfigError below 0."""
    if rank < 0:
        raise ConfigError(f"the rank of a solver must be 0 or more, not {rank}")
    _Ranks.rank = int(rank)


def set_multiprocess(multiprocess: bool) -> None:
    """Has no effect: Python layers share nothing between processes here."""


class Timer:
    """A stopwatch: start(), stop(), then `ms`, the milliseconds between them."""

    def __init__(self) -> None:
        self._begin = self._end = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._begin = self._end = perf_counter()

    def stop(self) -> None:
        """End."""
        self._end = perf_counter()

    @property
    def ms(self) -> float:
        """Milliseconds from start to stop."""
        return 1000 * (self._end - self._begin)
