"""From a session that is ready to the result of its run: training, signals, all ways to end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from pycaffe_clr.errors import EngineError, PycaffeClrError
from pycaffe_clr.train import run_folder, summary
from pycaffe_clr.train.evaluate import WholeTest
from pycaffe_clr.train.iterations import Diverged
from pycaffe_clr.train.recorder import Recorder
from pycaffe_clr.train.result import RunResult, read_run
from pycaffe_clr.train.signals import Signals

if TYPE_CHECKING:
    from pycaffe_clr.train.team import Team


def execute(recorder: Recorder, owns_process: bool, team: Team | None = None) -> RunResult:
    """Train to the end. owns_process: as in run.train. team: the other ranks.

    Raises what training raises; what was trained until then can be resumed.
    """
    session, folder = recorder.session, recorder.folder.path
    first, before = session.iteration, recorder.seconds
    quiet = not owns_process and recorder.stream is None
    with Signals(session, ends_process=owns_process, quiet=quiet) as signals:
        try:
            state, whole = _train(recorder, signals, team)
        except KeyboardInterrupt:
            reason = "at once, by a second signal"
            recorder.end("stopped", reason, received=signals.received, at_once=True)
            recorder.say(f"stopped at once, in iteration {session.iteration}")
            if (recorder.folder / run_folder.CHECKPOINT).exists():
                recorder.say(summary.go_on(folder))
            if signals.received is None or not owns_process:
                raise
            return read_run(folder)
        except Exception as error:
            ours = isinstance(error, PycaffeClrError)
            recorder.end("failed", str(error) if ours else f"{type(error).__name__}: {error}")
            raise
        recorder.end(state, recorder.stop_reason or "", whole, signals.received)
    if state != "diverged":
        iterations = session.iteration - first
        seconds, samples = recorder.record["seconds"] - before, iterations * recorder.batch
        for text in summary.closing(recorder.record, folder, iterations, seconds, samples):
            recorder.say(text)
    result = read_run(folder)
    recorder.ended(result)
    if signals.received is not None and not owns_process:
        # The caller is interrupted as it would be without a run.
        if signals.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(signals.exit_code)
    return result


def _train(
    recorder: Recorder, signals: Signals, team: Team | None
) -> tuple[str, list[WholeTest | None]]:
    """(state, tests on the whole test sets) once training is over."""
    session = recorder.session
    try:
        recorder.begin()
        recorder.train()
        if team is not None:
            team.finish()
    except Diverged as error:
        recorder.stop_reason = str(error)
        return "diverged", []
    except EngineError as error:
        if team is None:
            raise
        raise team.explain(error) from error
    recorder.note_speed()
    if session.stopping:
        if signals.received is not None or recorder.stop_reason is None:
            return "stopped", []
        session.stopping = False
        return "ended early", recorder.whole_tests()
    return "finished", recorder.whole_tests()
