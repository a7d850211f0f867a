"""How many processes train together, and on which device each. Needs no compiled code."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.train.meeting import Place, place_of

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter
    from pycaffe_clr.train.team import Team

# Devices of which a machine has one: the ranks share it.
_SHARED = ("cpu", "kernels", "onednn", "reference")


class Ranks(NamedTuple):
    """number: of processes. device: as it was asked for; own: that of this process, rank 0. place:
    where a launcher of others started them, else None."""

    number: int
    device: str
    own: str
    place: Place | None

    def team(self) -> AbstractContextManager[Team | None]:
        """The processes beside this one, for as long as it is entered; None where there are none.
        Raises EngineError where they do not come."""
        if self.number == 1:
            return nullcontext()
        from pycaffe_clr.train.team import Team

        return Team(self.number, self.place)

    def threads(self, cores: int) -> int:
        """Threads of each process where nobody says how many: those of a machine share it."""
        local = self.place.locals if self.place else self.number
        return max(1, cores // local)


class Before(NamedTuple):
    """How many ranks a run had, and on which device."""

    ranks: int
    device: str


def ranks_of(device: str, asked: int | None = None, before: Before | None = None) -> Ranks:
    """The processes of a run on a device ("cuda:0,1": two), or as many as asked for.

    before: the run that goes on. Raises ConfigError where these and a launcher contradict each
    other.
    """
    place = place_of(os.environ)
    listed = _listed(device)
    number = len(listed) or 1
    if place is not None:
        number = place.ranks
        if asked not in (None, number):
            raise ConfigError(f"ranks: {asked} asked for, but the launcher has started {number}")
        if listed and len(listed) < place.locals:
            raise ConfigError(f"device {device}: {place.locals} ranks run on this machine")
    elif asked is not None:
        if listed and len(listed) != asked:
            raise ConfigError(f"device {device}: names {len(listed)} devices for {asked} ranks")
        number = asked
    elif before is not None and not listed:
        # One device in place of several that were listed takes all of it.
        number = 1 if _listed(before.device) else before.ranks
    own = device_of(device, place.local if place else 0, several=number > 1)
    return Ranks(number, device, own, place)


def device_of(device: str, local: int, several: bool = True) -> str:
    """The device of a rank, by its number on its machine: of "cuda:2,0" that one, of "cuda" or
    "cuda:1" so many behind the first. several: there are others. Raises ConfigError.
    """
    name, _, number = device.partition(":")
    listed = _listed(device)
    if listed:
        return f"{name}:{listed[local]}"
    if not several or name in _SHARED:
        return device
    if number and not number.isdecimal():
        raise ConfigError(f"device {device}: expected a number behind the colon")
    return f"{name}:{int(number or 0) + local}"


def share_replicas(solver: SolverParameter, count: int) -> None:
    """Give a solver the replicas that so many ranks share: one each, unless it says how many.

    Raises ConfigError where they cannot be shared equally.
    """
    if count == 1:
        return
    if not solver.HasField("replicas"):
        solver.replicas = count
    if solver.replicas % count:
        raise ConfigError(
            f"replicas: {solver.replicas} cannot be shared equally by {count} ranks; give "
            f"--replicas {count}, or another multiple of it"
        )


def _listed(device: str) -> list[str]:
    """The numbers of "cuda:0,1"; none of "cuda" and "cuda:1"."""
    name, _, numbers = device.partition(":")
    if "," not in numbers:
        return []
    listed = [number.strip() for number in numbers.split(",")]
    if len(set(listed)) != len(listed) or not all(number.isdecimal() for number in listed):
        raise ConfigError(f"device {device}: expected different numbers, as in {name}:0,1")
    return listed
