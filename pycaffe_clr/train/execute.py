"""From a session that is ready to the result of its run: training, signals, all ways to end."""

from __future__ import annotations

import signal

from pycaffe_clr.errors import PycaffeClrError
from pycaffe_clr.train import run_folder, summary
from pycaffe_clr.train.evaluate import WholeTest
from pycaffe_clr.train.iterations import Diverged
from pycaffe_clr.train.recorder import Recorder
from pycaffe_clr.train.result import RunResult, read_run
from pycaffe_clr.train.signals import Signals


def execute(recorder: Recorder, owns_process: bool) -> RunResult:
    """Train to the end. owns_process: as in run.train.

    Raises what training raises; what was trained until then can be resumed.
    """
    session, folder = recorder.session, recorder.folder.path
    first, before = session.iteration, recorder.seconds
    quiet = not owns_process and recorder.stream is None
    with Signals(session, ends_process=owns_process, quiet=quiet) as signals:
        try:
            state, whole = _train(recorder, signals)
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


def _train(recorder: Recorder, signals: Signals) -> tuple[str, list[WholeTest | None]]:
    """(state, tests on the whole test sets) once training is over."""
    session = recorder.session
    try:
        recorder.begin()
        recorder.train()
    except Diverged as error:
        recorder.stop_reason = str(error)
        return "diverged", []
    recorder.note_speed()
    if session.stopping:
        if signals.received is not None or recorder.stop_reason is None:
            return "stopped", []
        session.stopping = False
        return "ended early", recorder.whole_tests()
    return "finished", recorder.whole_tests()
