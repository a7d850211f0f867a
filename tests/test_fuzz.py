"""No input crashes the process: spoilt nets, weights, states and records work or are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(program: str, *arguments: str, folder: Path) -> str:
    """Run a program beside this file; what it printed. Its last input is left in `folder`."""
    last = folder / "last"
    done = subprocess.run(
        [sys.executable, str(HERE / program), *arguments, str(last)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
    )
    sample = last.read_bytes()[:3000] if last.is_file() else b""
    assert done.returncode == 0, (
        f"ended with {done.returncode} on:\n{sample!r}\n{done.stderr[-3000:]}"
    )
    return done.stdout


@pytest.mark.parametrize("seed", [1, 2])
def test_spoilt_nets_run_or_are_refused(seed, tmp_path):
    told = run("fuzz_nets.py", str(seed), "600", folder=tmp_path)
    # Both ends are reached: nets that still run, and nets that do not.
    assert "'ran'" in told and "'ConfigError'" in told


def test_extreme_settings_of_every_layer_run_or_are_refused(tmp_path):
    told = run("fuzz_layers.py", str(tmp_path), folder=tmp_path)
    assert told.count("'ran'") == len(told.splitlines())
    assert told.count("'ConfigError'") > 40


@pytest.mark.parametrize("seed", [1])
def test_spoilt_files_are_read_or_refused(seed, tmp_path):
    told = run("fuzz_files.py", str(seed), "250", folder=tmp_path)
    assert "'DataError'" in told and "'read'" in told


@pytest.mark.parametrize("seed", [1])
def test_spoilt_pictures_lists_databases_and_old_nets_are_read_or_refused(seed, tmp_path):
    told = run("fuzz_readers.py", str(seed), "300", folder=tmp_path)
    assert "'DataError'" in told and "'ConfigError'" in told and "'read'" in told
