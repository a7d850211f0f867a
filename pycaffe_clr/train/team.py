"""The processes that train with this one, which is rank 0: it starts them, tells them what to do,
and learns why one is gone."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pycaffe_clr.engine import ready_core
from pycaffe_clr.errors import ConfigError, EngineError, PycaffeClrError
from pycaffe_clr.train import meeting
from pycaffe_clr.train.meeting import Meeting, Place
from pycaffe_clr.train.state import views

if TYPE_CHECKING:
    from pycaffe_clr._core import Group
    from pycaffe_clr.proto import NetParameter, SolverParameter
    from pycaffe_clr.train.ranks import Ranks
    from pycaffe_clr.train.training import Training

COMMAND = (sys.executable, "-m", "pycaffe_clr.train.follow")
# How long a process that the run has lost may take to say why, and one that is done to end.
_LAST_WORDS_SECONDS = 2.0
_FAREWELL_SECONDS = 10.0
# How the engine's error begins once a group was given up (csrc/ops/group.cpp).
_STOPPED = "the run's processes were stopped"
_LAST_WORDS = 2000
_LONGEST_WORDS = 1 << 20


class Team:
    """Ranks 0, 1, ... of a run, of which this process is rank 0. group: the core's Group.

    place: where a launcher of others started them; None: they are started here, `ranks` of them.
    Enter it, give the order, `begin` once the run stands at its beginning; leave it at its end.
    Raises EngineError, ConfigError.
    """

    def __init__(self, ranks: int, place: Place | None = None) -> None:
        self.ranks = ranks
        self._place = place
        self._children: dict[int, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
        self._meeting: Meeting | None = None
        # Why ranks have left; those that followed another; those that should have, and did not.
        self._reasons: list[PycaffeClrError] = []
        self._followed: list[PycaffeClrError] = []
        self._silent: list[int] = []
        self._watcher: threading.Thread | None = None
        self._wake = os.pipe()
        self._finished = False
        self.group: Group

    def __enter__(self) -> Team:
        try:
            self._meet()
        except BaseException:
            self._end(at_once=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            with contextlib.suppress(PycaffeClrError):
                self.finish()
        self._end(at_once=kind is not None)

    def _meet(self) -> None:
        place, server = self._place, None
        if place is None:
            server = meeting.listen("127.0.0.1", 0)
            port, key = int(server.getsockname()[1]), secrets.token_hex(16)
            place = Place(0, self.ranks, 0, self.ranks, "127.0.0.1", port, key)
            for rank in range(1, self.ranks):
                self._children[rank] = _start(place, rank)
        met = self._meeting = meeting.meet(place, server, self._look)
        words = [-1 if each is None else each.fileno() for each in met.words]
        ring = [each.fileno() for each in met.ring]
        patience = meeting.patience()
        self.group = ready_core().Group(0, self.ranks, ring[0], ring[1], words, patience)

    def _look(self) -> None:
        """Raise why one of the processes is gone, if one is."""
        for rank, (process, _) in self._children.items():
            if process.poll() is not None:
                raise self._reason(rank, None)

    def order(
        self,
        solver: SolverParameter,
        net: NetParameter,
        seed: int,
        ranks: Ranks,
        precision: str | None,
        data_dir: str | None,
    ) -> None:
        """Tell the others what to train; they build it while this process does.

        solver, net: with everything filled in. data_dir: where relative databases lie. Raises
        ConfigError for what only one process can do.
        """
        assert self._meeting is not None
        if solver.debug_info:
            raise ConfigError("debug_info looks into the nets of one process: leave ranks out")
        words = {
            "solver": base64.b64encode(solver.SerializeToString()).decode(),
            "net": base64.b64encode(net.SerializeToString()).decode(),
            "seed": seed,
            "replicas": solver.replicas // ranks.number,
            "device": ranks.device,
            "precision": precision,
            "data_dir": data_dir,
            "cwd": str(Path.cwd()),
            "threads": ready_core().threads(),
        }
        for rank, connection in enumerate(self._meeting.words):
            if connection is not None:
                _tell(connection, rank, words)

    def begin(self, training: Training) -> None:
        """Have all stand where this process does. Raises what kept one of them from it."""
        assert self._meeting is not None
        place = {
            "iteration": training.iteration,
            "current_step": training.core.current_step,
            "pass": int(training.net.pass_count),
            "feeds": {name: int(feed.position) for name, feed in training.feeds.items()},
        }
        for rank, connection in enumerate(self._meeting.words):
            if connection is None:
                continue
            if (said := self._hear(rank, connection)) != {"ready": True}:
                raise self._reason(rank, said)
            _tell(connection, rank, place)
        for array in views(training.net, training.core).values():
            self.group.broadcast(array)
        self._watcher = threading.Thread(target=self._watch, name="ranks", daemon=True)
        self._watcher.start()

    def _hear(self, rank: int, connection: socket.socket) -> dict[str, Any] | None:
        """What a rank says next. Raises EngineError where it lives and says nothing."""
        patience = meeting.patience()
        if not select.select([connection], [], [], patience)[0]:
            raise self._silence([rank])
        return meeting.hear(connection, _LONGEST_WORDS)

    def explain(self, error: PycaffeClrError) -> PycaffeClrError:
        """Why training ended with an error: what another rank said before it left, or that one does
        not go on; else the error itself."""
        if not isinstance(error, EngineError):
            return error
        # Where this process has waited in vain the others may still wait.
        self.group.abort()
        end = time.monotonic() + 2 * _LAST_WORDS_SECONDS
        while self._watcher is not None and not self._reasons and time.monotonic() < end:
            self._watcher.join(0.05)
            if not self._watcher.is_alive():
                break
        if self._reasons:
            return self._reasons[0]
        if not str(error).startswith((f"rank 0 of {self.ranks} has ", _STOPPED)):
            return error
        return self._silence(self._silent) if self._silent else [*self._followed, error][0]

    def _silence(self, ranks: list[int]) -> EngineError:
        who = f"{meeting.names(ranks)} of {self.ranks}"
        return EngineError(
            f"{who}: no word for {meeting.patience():g} s ({meeting.TIMEOUT_VARIABLE}), and the "
            "process has not ended: was it stopped, or cannot be reached any more?"
        )

    def finish(self) -> None:
        """Tell the others that it is over. Raises what one of them found wrong in the end."""
        if self._finished or self._meeting is None:
            return
        self._finished = True
        self._stop_watching()
        self.group.end()
        for rank, connection in enumerate(self._meeting.words):
            if connection is not None:
                if (said := self._hear(rank, connection)) != {"done": True}:
                    raise self._reason(rank, said)

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            os.write(self._wake[1], b"!")
            self._watcher.join()
            self._watcher = None

    def _watch(self) -> None:
        """Wait for a rank that leaves before the end: then nobody may wait for it. Others leave
        because it has: what counts is who was first."""
        assert self._meeting is not None
        poll = select.poll()
        poll.register(self._wake[0], select.POLLIN)
        ranks = {}
        for rank, connection in enumerate(self._meeting.words):
            if connection is not None:
                poll.register(connection, select.POLLIN)
                ranks[connection.fileno()] = rank, connection
        latest: float | None = None
        while not self._reasons:
            left = None if latest is None else 1000 * max(0.0, latest - time.monotonic())
            ready = [descriptor for descriptor, _ in poll.poll(left) if descriptor in ranks]
            if not ready:
                if latest is not None:
                    self._silent = [rank for rank, _ in ranks.values()]
                break
            if latest is None:
                latest = time.monotonic() + _LAST_WORDS_SECONDS
                self.group.abort()
            for descriptor in ready:
                poll.unregister(descriptor)
                rank, connection = ranks.pop(descriptor)
                connection.settimeout(_LAST_WORDS_SECONDS)
                said = meeting.hear(connection, _LONGEST_WORDS)
                to = self._followed if said and said.get("follows") else self._reasons
                to.append(self._reason(rank, said))

    def _reason(self, rank: int, said: dict[str, Any] | None) -> PycaffeClrError:
        """Why a rank has left, by its own words or by what became of its process."""
        if said and "error" in said:
            from pycaffe_clr import errors

            kind = getattr(errors, str(said.get("kind")), EngineError)
            return kind(f"rank {rank} of {self.ranks}: {said['error']}")
        how = ""
        if rank in self._children:
            process, stream = self._children[rank]
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(_LAST_WORDS_SECONDS)
                name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                how = f" by {name}" if code < 0 else f" with {name}"
            how += _last_words(stream)
        return EngineError(f"rank {rank} of {self.ranks}: its process has ended{how}")

    def _end(self, at_once: bool) -> None:
        """Leave no process behind."""
        self._stop_watching()
        for end in self._wake:
            os.close(end)
        if at_once and hasattr(self, "group"):
            self.group.abort()
        if at_once and self._meeting is not None:
            self._meeting.close()
        latest = time.monotonic() + (0 if at_once else _FAREWELL_SECONDS)
        for process, stream in self._children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, latest - time.monotonic()))
            if process.poll() is None:
                process.kill()
                process.wait()
            stream.close()
        if self._meeting is not None:
            self._meeting.close()


def _start(place: Place, rank: int) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    errors = tempfile.TemporaryFile()
    process = subprocess.Popen(
        COMMAND,
        stdin=subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
        env=environment(place, rank),
        # Ctrl-C on a terminal reaches rank 0 alone, which tells the others when to end.
        process_group=0,
    )
    return process, errors


def environment(place: Place, rank: int) -> dict[str, str]:
    """What a process of that rank finds in its environment, as torchrun has it."""
    return {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(place.ranks),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(place.ranks),
        "MASTER_ADDR": place.host,
        "MASTER_PORT": str(place.port),
        meeting.KEY_VARIABLE: place.key,
        # A launcher's, which does not know of these processes.
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        # Threads that spin while they wait take the cores from the process beside them.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"),
    }


def _tell(connection: Any, rank: int, words: dict[str, Any]) -> None:
    try:
        meeting.tell(connection, words)
    except OSError as error:
        raise EngineError(f"rank {rank} cannot be reached: {error.strerror}") from error


def _last_words(stream: IO[bytes]) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _LAST_WORDS))
    text = stream.read().decode(errors="replace").strip()
    return f": {text}" if text else ""
