"""Runs among others: in threads, in child processes, under signals; their logs."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from train_cases import log_text, results

import pycaffe_clr
from pycaffe_clr import cli
from pycaffe_clr.errors import EngineError

QUICK = {"threads": 1, "curve": False, "whole_test": False}


def test_the_log_does_not_depend_on_the_caller(case, monkeypatch, caplog):
    monkeypatch.setenv("PYCAFFE_CLR_DATA", str(case.parent))
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    logger = logging.getLogger("pycaffe_clr")
    before = logger.level, logger.propagate, logger.handlers[:]
    pycaffe_clr.run(case, out="api", max_iter=1, **QUICK)
    flags = ["--threads", "1", "--no-curve", "--no-whole-test", "--max-iter", "1"]
    assert cli.main(["run", str(case), "--out", "cli", *flags]) == 0
    assert log_text(Path("api")) == log_text(Path("cli"))
    assert "database tiny/train: using" in log_text(Path("api"))
    assert (logger.level, logger.propagate, logger.handlers) == before
    # The caller, who did not ask for notes, has none.
    assert "using" not in caplog.text


def test_runs_in_two_threads_keep_their_lines_apart(case):
    for name, count in (("a", 30), ("b", 40)):
        text = case.read_text().replace('"net.prototxt"', f'"{name}.net"')
        Path(f"{name}.prototxt").write_text(text + f"stepvalue: {count}\n")
        shutil.copy("net.prototxt", f"{name}.net")
    pycaffe_clr.run("a.prototxt", out="alone", **QUICK)
    meet = threading.Barrier(2)

    class Meet:
        def started(self, run):
            meet.wait(20)

    threads = [
        threading.Thread(
            target=pycaffe_clr.run, args=(f"{name}.prototxt",),
            kwargs={"out": name, "callbacks": [Meet()], **QUICK},
        )
        for name in "ab"
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results(Path("a")) == results(Path("alone"))
    assert "does not read stepvalue" in log_text(Path("b"))
    assert "a.prototxt" not in log_text(Path("b")) and "b.prototxt" not in log_text(Path("a"))


def test_threads_are_the_runs_own(case, one_thread):
    from pycaffe_clr.engine import ready_core

    result = pycaffe_clr.run(case, out="out", max_iter=1, threads=2, curve=False)
    assert result.record["threads"] == 2 and ready_core().threads() == 1


FORK = """
import multiprocessing, sys
import pycaffe_clr
def child():
    pycaffe_clr.run("tiny.prototxt", out="child", max_iter=2, threads=2, curve=False)
if __name__ == "__main__":
    pycaffe_clr.run("tiny.prototxt", out="parent", max_iter=2, threads=2, curve=False)
    process = multiprocessing.get_context(sys.argv[1]).Process(target=child)
    process.start()
    process.join(60)
    print(process.exitcode)
    process.kill()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_forked_child_ends_in_an_error_and_a_spawned_one_works(case, method):
    Path("program.py").write_text(FORK)
    done = subprocess.run(
        [sys.executable, "program.py", method], capture_output=True, text=True, timeout=90
    )
    if method == "spawn":
        assert done.stdout.split() == ["0"], done.stderr
        assert pycaffe_clr.read_run("child").state == "finished"
    else:
        assert done.stdout.split() == ["1"] and not Path("child").exists()
        assert EngineError.__name__ in done.stderr and 'get_context("spawn")' in done.stderr


INTERRUPTED = """
import os, signal, sys
import pycaffe_clr
def interrupt(event):
    if type(event).__name__ == "Row" and event.iteration == 20:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
before = signal.getsignal(signal.SIGINT)
try:
    pycaffe_clr.run("tiny.prototxt", out="out", callbacks=[interrupt], threads=1,
                    curve=False)
finally:
    assert signal.getsignal(signal.SIGINT) is before
    print(pycaffe_clr.read_run("out").state)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_the_run_and_then_the_program(case, name):
    Path("program.py").write_text(INTERRUPTED)
    text = case.read_text().replace("max_iter: 60", "max_iter: 1000000")
    case.write_text(text.replace("snapshot: 40", ""))
    done = subprocess.run(
        [sys.executable, "program.py", name], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "stopped\n", done.stderr
    number = int(getattr(signal, name))
    assert pycaffe_clr.read_run("out").record["signal"] == number
    if name == "SIGTERM":
        assert done.returncode == 128 + number and done.stderr == ""
    else:
        assert done.stderr.endswith("KeyboardInterrupt\n")


def test_outside_the_main_thread_no_handler_is_set(case):
    handlers = []

    class Look:
        def started(self, run):
            handlers.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    settings = {"out": "out", "max_iter": 1, "callbacks": [Look()], **QUICK}
    thread = threading.Thread(target=pycaffe_clr.run, args=(case,), kwargs=settings)
    thread.start()
    thread.join(60)
    assert handlers == [before] and pycaffe_clr.read_run("out").state == "finished"
