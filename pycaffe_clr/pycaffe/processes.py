"""pycaffe's functions for training in several processes, and its stopwatch."""

from __future__ import annotations

from time import perf_counter

from pycaffe_clr.errors import ConfigError


class _Ranks:
    count, rank = 1, 0


def has_nccl() -> bool:
    """Whether processes of pycaffe can add up their gradients by the class NCCL: never."""
    return False


class NCCL:
    """pycaffe's class for several GPUs, which is not there; see has_nccl. Raises ConfigError."""

    def __init__(self, solver: object, uid: bytes) -> None:
        raise ConfigError(_NO_NCCL)

    @staticmethod
    def new_uid() -> bytes:
        """Raises ConfigError."""
        raise ConfigError(_NO_NCCL)


_NO_NCCL = "caffe.NCCL is not there (has_nccl() is False): a solver's `replicas` share its work"


def solver_count() -> int:
    """What set_solver_count was given: the number of processes that a script trains in."""
    return _Ranks.count


def set_solver_count(count: int) -> None:
    """Note the number of processes, for solver_count. Raises ConfigError below 1."""
    if count < 1:
        raise ConfigError(f"the number of solvers must be 1 or more, not {count}")
    _Ranks.count = int(count)


def solver_rank() -> int:
    """What set_solver_rank was given: the number of this process."""
    return _Ranks.rank


def set_solver_rank(rank: int) -> None:
    """Note the number of this process, for solver_rank. Raises ConfigError below 0."""
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
