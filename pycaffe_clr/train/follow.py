"""A process that trains with others and is not rank 0: it has a share of every batch, and writes
nothing. `python -m pycaffe_clr.train.follow` is one that rank 0 has started."""

from __future__ import annotations

import base64
import contextlib
import os
import select
import signal
import sys
import threading
from typing import Any

from pycaffe_clr.engine import Records, build_net, ready_core
from pycaffe_clr.errors import EngineError, PycaffeClrError
from pycaffe_clr.proto import NetParameter, SolverParameter
from pycaffe_clr.train import meeting, positions
from pycaffe_clr.train.meeting import Place, place_of
from pycaffe_clr.train.ranks import device_of
from pycaffe_clr.train.schedule import core_settings
from pycaffe_clr.train.state import views

# How long a rank may go on once rank 0 is gone: a device may wait for it and never end.
_ALONE_SECONDS = 10.0
_LONGEST_ORDER = 1 << 28


def follows(data_dir: str | None = None) -> bool:
    """Whether a launcher has made this process another rank than 0: then it has trained with the
    others until the end. See follow."""
    place = place_of(os.environ)
    if place is None or place.rank == 0:
        return False
    follow(place, data_dir)
    return True


def follow(place: Place, data_dir: str | None = None) -> None:
    """Train with the others until rank 0 says that it is over.

    data_dir: where relative databases lie here; None: as on rank 0. Raises EngineError,
    ConfigError, DataError, of which rank 0 is told.
    """
    if threading.current_thread() is threading.main_thread():
        # Signals are for rank 0, which tells the others when to end.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    met = meeting.meet(place)
    (words,) = met.words
    assert words is not None
    left = threading.Event()
    threading.Thread(target=_watch, args=(words, left), name="rank 0", daemon=True).start()
    try:
        _follow(place, met, data_dir)
    except Exception as error:
        told: dict[str, Any] = {"error": str(error), "kind": type(error).__name__}
        # Of what became of another rank, which is the reason for this one's end.
        own = f"rank {place.rank} of {place.ranks} has"
        told["follows"] = str(error).startswith((f"{own} lost", f"{own} waited"))
        if not isinstance(error, PycaffeClrError):
            told["error"] = f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            meeting.tell(words, told)
        raise
    finally:
        left.set()
        met.close()


def _follow(place: Place, met: meeting.Meeting, data_dir: str | None) -> None:
    (words,) = met.words
    assert words is not None
    core = ready_core()
    order = _hear(words, "what to train")
    solver, param = SolverParameter(), NetParameter()
    solver.ParseFromString(base64.b64decode(order["solver"]))
    param.ParseFromString(base64.b64decode(order["net"]))
    core.set_threads(int(order["threads"]))
    net, feeds = build_net(
        param,
        device=device_of(str(order["device"]), place.local),
        precision=order["precision"],
        fuse=True,
        seed=int(order["seed"]),
        replicas=int(order["replicas"]),
        rank=place.rank,
        ranks=place.ranks,
        records=Records(data_dir or order["data_dir"] or order["cwd"]),
    )
    ring = [each.fileno() for each in met.ring]
    group = core.Group(
        place.rank, place.ranks, ring[0], ring[1], [words.fileno()], meeting.patience()
    )
    trained = core.Solver(net, core_settings(solver), group)
    meeting.tell(words, {"ready": True})
    start = _hear(words, "where to begin")
    for array in views(net, trained).values():
        group.broadcast(array)
    trained.restore(int(start["iteration"]), int(start["current_step"]))
    positions.restore(net, feeds, start)
    trained.follow()
    meeting.tell(words, {"done": True})


def _hear(words: Any, what: str) -> dict[str, Any]:
    said = meeting.hear(words, _LONGEST_ORDER)
    if said is None:
        raise EngineError(f"rank 0 has left before it said {what}")
    return said


def _watch(words: Any, left: threading.Event) -> None:
    """End the process where rank 0 is gone and nothing else notices."""
    poll = select.poll()
    poll.register(words, select.POLLRDHUP)
    poll.poll()
    if not left.wait(_ALONE_SECONDS):
        os._exit(1)


def main() -> int:
    """Follow the rank 0 that started this process; the exit code."""
    place = place_of(os.environ)
    if place is None:
        print("error: this is started by pycaffe_clr run, not by hand", file=sys.stderr)
        return 2
    try:
        follow(place)
    except PycaffeClrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
