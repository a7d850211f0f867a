"""What signals do to a run, as caffe train's --sigint_effect and --sighup_effect say."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from pycaffe_clr.errors import ConfigError

if TYPE_CHECKING:
    from pycaffe_clr.train.session import Session

EFFECTS = ("stop", "snapshot", "none")


class Signals:
    """While entered: SIGINT and SIGTERM stop the session, SIGHUP makes it snapshot.

    sigint, sighup: "stop", "snapshot" or "none". A second SIGINT after one that stops raises
    KeyboardInterrupt at once. `received`: the signal that stopped the session, or None.
    """

    def __init__(self, session: Session, sigint: str = "stop", sighup: str = "snapshot") -> None:
        for name, effect in (("sigint_effect", sigint), ("sighup_effect", sighup)):
            if effect not in EFFECTS:
                raise ConfigError(f'--{name} "{effect}" is unknown; known: {", ".join(EFFECTS)}')
        self._session = session
        self._effects = {
            signal.SIGINT: sigint,
            signal.SIGHUP: sighup,
            signal.SIGTERM: "stop",
        }
        self._before: dict[int, Any] = {}
        self.received: int | None = None

    def __enter__(self) -> Signals:
        # Python lets only the main thread have handlers.
        if threading.current_thread() is threading.main_thread():
            for number in self._effects:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        effect = self._effects[signal.Signals(number)]
        if effect == "snapshot":
            self._session.request_snapshot()
        elif effect == "stop":
            if self._session.stopping and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._session.stop()
            self.received = self.received or number
            if number == signal.SIGINT:
                # Not print: a handler may run in the middle of another print.
                os.write(2, b"\nstopping after this iteration; Ctrl-C again stops at once\n")
