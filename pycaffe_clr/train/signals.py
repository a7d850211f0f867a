"""What signals do to a run, as caffe train's --sigint_effect and --sighup_effect say."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from pycaffe_clr.errors import ConfigError

if TYPE_CHECKING:
    from pycaffe_clr.train.session import Session

EFFECTS = ("stop", "snapshot", "none")
# How long Python may take to unwind after a second Ctrl-C before the process is ended.
_GRACE_SECONDS = 1.0
_SHOW_CURSOR = b"\x1b[?25h"


class Signals:
    """While entered: SIGINT and SIGTERM stop the session, SIGHUP makes it snapshot.

    sigint, sighup: "stop", "snapshot" or "none". A second signal after one that stopped raises
    KeyboardInterrupt, and ends the process where that is not heard within a second: Python code
    runs only between iterations, and one may take minutes. ends_process: False where the process is
    not the session's own. quiet: say nothing on stderr. `received`: the signal that stopped the
    session, or None.
    """

    def __init__(
        self,
        session: Session,
        sigint: str = "stop",
        sighup: str = "snapshot",
        *,
        ends_process: bool = True,
        quiet: bool = False,
    ) -> None:
        for name, effect in (("sigint_effect", sigint), ("sighup_effect", sighup)):
            if effect not in EFFECTS:
                raise ConfigError(f'--{name} "{effect}" is unknown; known: {", ".join(EFFECTS)}')
        self._session = session
        self._ends_process, self._quiet = ends_process, quiet
        self._effects: dict[int, str] = {
            signal.SIGINT: sigint,
            signal.SIGHUP: sighup,
            signal.SIGTERM: "stop",
        }
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1
        self._reader = self._writer = -1
        self._watcher: threading.Thread | None = None
        self._left = threading.Event()
        self._handled = 0
        self.received: int | None = None

    def __enter__(self) -> Signals:
        # Python lets only the main thread have handlers.
        if threading.current_thread() is not threading.main_thread():
            return self
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._watcher = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._watcher.start()
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._effects:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._watcher is None:
            return
        signal.set_wakeup_fd(self._wakeup_before)
        self._left.set()
        os.close(self._writer)
        self._watcher.join()
        os.close(self._reader)

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal that stopped the session, as shells have it; else 0."""
        return 0 if self.received is None else 128 + self.received

    def _watch(self) -> None:
        """Act on a signal the moment it comes. The system's handler wrote its number to the pipe;
        Python's own is not called before the running iteration ends."""
        stops = 0
        while numbers := os.read(self._reader, 64):
            for number in numbers:
                effect = self._effects.get(number, "none")
                if effect == "snapshot":
                    self._session.request_snapshot()
                elif effect == "stop":
                    stops += 1
                    if stops == 1:
                        self.received = number
                        self._session.stop()
                        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
                        self._say(f"{name}: stopping after this iteration; once more stops at once")
                    elif self._ends_process and not self._left.wait(_GRACE_SECONDS):
                        self._say("stopped at once")
                        os._exit(self.exit_code)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._effects[number] == "stop":
            # The watching thread may not have had its turn yet.
            self.received = self.received or number
            self._handled += 1
            if self._handled > 1:
                raise KeyboardInterrupt

    def _say(self, text: str) -> None:
        if not self._quiet:
            _say(text)


def _say(text: str) -> None:
    """A line on stderr. Not by print: the main thread may be in the middle of one."""
    on_terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()
    # The live line hides the cursor, and this may be the last thing that the process writes.
    start = b"\n" + _SHOW_CURSOR if on_terminal else b""
    try:
        os.write(2, start + text.encode() + b"\n")
    except OSError:
        # Nobody reads it: the terminal is gone, as SIGHUP tells.
        pass
