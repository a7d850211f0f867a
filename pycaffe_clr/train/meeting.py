"""How the processes of one run find each other: by TCP, where rank 0 waits for the others.

The environment says who is who, as torchrun, mpirun and this package's own launcher set it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pycaffe_clr.errors import ConfigError, EngineError
from pycaffe_clr.version import package_version

# How long ranks wait for each other to come: the slowest may have to read its packages first.
TIMEOUT_SECONDS = 300.0
# And, once they train, for one that lives but does nothing: ways may be measured, disks be slow.
PATIENCE_SECONDS = 1800.0
TIMEOUT_VARIABLE = "PYCAFFE_CLR_RANKS_TIMEOUT"
# A word that keeps strangers out; the launcher makes one up.
KEY_VARIABLE = "PYCAFFE_CLR_RANKS_KEY"
_PORT = 29500
# The variables of a rank, of how many there are, and of the same on its machine.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
)
_LONGEST_LINE = 1 << 12
_RETRY_SECONDS = 0.1
_LOOK_SECONDS = 0.2
_GREETING_SECONDS = 10.0

# By which a process knows that it is a rank.
LAUNCHER_VARIABLES = [names[1] for names in _LAUNCHERS]


class Place(NamedTuple):
    """Who a process is. local: its number among those on its machine, of which there are
    `locals`. host, port: where rank 0 waits."""

    rank: int
    ranks: int
    local: int
    locals: int
    host: str
    port: int
    key: str = ""


def place_of(environment: Mapping[str, str]) -> Place | None:
    """The place that a launcher gave this process; None where it was started by itself.

    RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE as torchrun has them, OMPI_COMM_WORLD_* as Open
    MPI's mpirun; MASTER_ADDR, MASTER_PORT. Raises ConfigError for what makes no sense.
    """
    names = next((n for n in _LAUNCHERS if n[0] in environment and n[1] in environment), None)
    if names is None:
        return None
    rank, size, local, local_size = names
    number, count = _whole(environment, rank), _whole(environment, size)
    if not 0 <= number < count:
        raise ConfigError(f"{rank}={number}, {size}={count}: ranks count from 0 up to {size} - 1")
    if count == 1:
        return None
    on_one_machine = _whole(environment, local_size, count)
    host = environment.get("MASTER_ADDR", "")
    if not host:
        if on_one_machine != count:
            raise ConfigError(
                f"{count} ranks on several machines: MASTER_ADDR must name the one of rank 0 "
                "(mpirun -x MASTER_ADDR=...)"
            )
        host = "127.0.0.1"
    port = _whole(environment, "MASTER_PORT", _PORT)
    # There torchrun's own store listens at MASTER_PORT.
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        port += 1
    if not 0 < port < 1 << 16:
        raise ConfigError(f"MASTER_PORT={port}: a port is a number from 1 to 65535")
    return Place(
        number,
        count,
        _whole(environment, local, number % on_one_machine),
        on_one_machine,
        host,
        port,
        environment.get(KEY_VARIABLE, ""),
    )


def _whole(environment: Mapping[str, str], name: str, otherwise: int | None = None) -> int:
    text = environment.get(name, "" if otherwise is None else str(otherwise))
    if not text.strip().isdecimal():
        raise ConfigError(f'{name}="{text}": expected a whole number')
    return int(text)


class Meeting:
    """Ranks that have met. ring: (from the rank before, to the one behind); words: of rank 0 by
    rank (its own: None), of the others the one to rank 0, alone. Close it."""

    def __init__(self) -> None:
        self.ring: tuple[socket.socket, socket.socket]
        self.words: list[socket.socket | None] = []
        self._all: list[socket.socket] = []

    def keep(self, connection: socket.socket) -> socket.socket:
        """Have it closed with the rest, and learn soon where its other end is gone."""
        self._all.append(connection)
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        return connection

    def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            connection.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there: on this machine alone where the host is 127.*. Raises
    ConfigError."""
    try:
        return socket.create_server((_own(host), port), backlog=128)
    except OSError as error:
        raise ConfigError(
            f"rank 0 cannot listen at {host}:{port}: {error.strerror}; give another MASTER_PORT"
        ) from error


def _own(host: str) -> str:
    """The address at which to listen for who knows this machine by that name."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return host
    return "127.0.0.1" if host == "localhost" else ""


def patience() -> float:
    """Seconds that ranks which train wait for one that has not left. Raises ConfigError."""
    return timeout(PATIENCE_SECONDS)


def timeout(usual: float = TIMEOUT_SECONDS) -> float:
    """Seconds that ranks wait for each other to come. Raises ConfigError."""
    text = os.environ.get(TIMEOUT_VARIABLE, str(usual))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not seconds > 0:
        raise ConfigError(f'{TIMEOUT_VARIABLE}="{text}": expected seconds')
    return seconds


def meet(
    place: Place, server: socket.socket | None = None, look: Callable[[], None] = lambda: None
) -> Meeting:
    """Wait until all ranks have come, and connect them. server: rank 0's, if it listens already.

    look: called from time to time meanwhile; what it raises ends the wait. Raises EngineError where
    they do not come within the time (timeout), ConfigError where they are of different kinds.
    """
    end = time.monotonic() + timeout()
    meeting = Meeting()
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(meeting.close)
        if place.rank == 0:
            with server or listen(place.host, place.port) as waiting:
                _lead(place, waiting, meeting, end, look)
        else:
            _join(place, meeting, end)
        on_failure.pop_all()
    return meeting


def _lead(
    place: Place,
    server: socket.socket,
    meeting: Meeting,
    end: float,
    look: Callable[[], None],
) -> None:
    ring = socket.create_server((_own(place.host), 0))
    with ring:
        came: dict[int, tuple[socket.socket, tuple[str, int]]] = {}
        while len(came) < place.ranks - 1:
            missing = [r for r in range(1, place.ranks) if r not in came]
            what = f"rank 0: {names(missing)} did not come"
            connection, address = _accept(server, end, what, look)
            told = _greeted(connection, place)
            rank = told.get("rank") if told else None
            if told is None or not isinstance(rank, int) or rank not in missing:
                connection.close()
                continue
            meeting.keep(connection)
            came[rank] = connection, (address, int(told["port"]))
        addresses = [(place.host, ring.getsockname()[1])]
        addresses += [came[r][1] for r in range(1, place.ranks)]
        meeting.words = [None, *(came[r][0] for r in range(1, place.ranks))]
        for rank in range(1, place.ranks):
            tell(came[rank][0], {"next": addresses[(rank + 1) % place.ranks]})
        _close_ring(place, ring, addresses[1 % place.ranks], meeting, end)


def _join(place: Place, meeting: Meeting, end: float) -> None:
    where = f"{place.host}:{place.port}"
    connection = _connect((place.host, place.port), end, f"rank 0 does not answer at {where}")
    meeting.keep(connection)
    meeting.words = [connection]
    own = connection.getsockname()[0]
    with socket.create_server((_own(own), 0)) as ring:
        tell(connection, _greeting(place) | {"port": ring.getsockname()[1]})
        connection.settimeout(max(0.1, end - time.monotonic()))
        answer = hear(connection)
        if answer is None or "next" not in answer:
            raise _refused(place, (answer or {}).get("error", "it left without a word"))
        host, port = answer["next"]
        _close_ring(place, ring, (str(host), int(port)), meeting, end)
        connection.settimeout(None)


def _close_ring(
    place: Place, ring: socket.socket, behind: tuple[str, int], meeting: Meeting, end: float
) -> None:
    """Connect to the rank behind, and wait for the one before."""
    number = (place.rank + 1) % place.ranks
    to = meeting.keep(_connect(behind, end, f"rank {number} does not answer"))
    tell(to, _greeting(place))
    before = (place.rank - 1) % place.ranks
    while True:
        what = f"rank {place.rank}: rank {before} did not come"
        connection, _ = _accept(ring, end, what)
        told = _greeted(connection, place)
        if told and told.get("rank") == before:
            break
        connection.close()
    meeting.ring = meeting.keep(connection), to


def _greeting(place: Place) -> dict[str, Any]:
    return {
        "pycaffe_clr": package_version(),
        "key": place.key,
        "rank": place.rank,
        "ranks": place.ranks,
    }


def _greeted(connection: socket.socket, place: Place) -> dict[str, Any] | None:
    """What another rank says of itself; None for a stranger, who is told so."""
    connection.settimeout(_GREETING_SECONDS)
    told = hear(connection)
    if told is None or "pycaffe_clr" not in told or told.get("key") != place.key:
        return None
    own = _greeting(place)
    for name, word in (("pycaffe_clr", "version"), ("ranks", "number of ranks")):
        if told.get(name) != own[name]:
            text = f"its {word} is {told.get(name)}, that of rank {place.rank} {own[name]}"
            with contextlib.suppress(OSError):
                tell(connection, {"error": text})
            return None
    return told


def _accept(
    server: socket.socket, end: float, what: str, look: Callable[[], None] = lambda: None
) -> tuple[socket.socket, str]:
    server.settimeout(_LOOK_SECONDS)
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            connection, address = server.accept()
            return connection, str(address[0])
        look()
    raise EngineError(f"{what} within {timeout():g} s ({TIMEOUT_VARIABLE})")


def _connect(address: tuple[str, int], end: float, what: str) -> socket.socket:
    while True:
        try:
            return socket.create_connection(address, max(0.1, end - time.monotonic()))
        except OSError as error:
            if time.monotonic() + _RETRY_SECONDS > end:
                reason = error.strerror or error
                raise EngineError(
                    f"{what} within {timeout():g} s ({TIMEOUT_VARIABLE}): {reason}"
                ) from error
        time.sleep(_RETRY_SECONDS)


def _refused(place: Place, why: str) -> ConfigError:
    return ConfigError(f"rank {place.rank} is not taken by rank 0: {why}")


def names(ranks: list[int]) -> str:
    """ "rank 1", "ranks 1, 2"."""
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


# --- words ----------------------------------------------------------------------------------------


def tell(connection: socket.socket, words: Mapping[str, Any]) -> None:
    """Send a few plain values. Raises OSError."""
    connection.sendall(json.dumps(words).encode() + b"\n")


def hear(connection: socket.socket, longest: int = _LONGEST_LINE) -> dict[str, Any] | None:
    """What tell sent; None where nothing comes, or something else."""
    line = b""
    try:
        while not line.endswith(b"\n"):
            # What follows the line is not ours to take.
            ahead = connection.recv(min(1 << 16, longest - len(line)), socket.MSG_PEEK)
            if not ahead:
                return None
            line += connection.recv(ahead.find(b"\n") + 1 or len(ahead))
    except OSError:
        return None
    try:
        words = json.loads(line)
    except ValueError:
        return None
    return words if isinstance(words, dict) else None
