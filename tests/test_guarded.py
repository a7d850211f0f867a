"""The engine in memory that the host cannot reach: golden data, views, snapshots, replicas.

Any access to a net's memory but by an op, or by the device's own copies, ends the process.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = [
    "feeds",
    "golden_layers",
    "golden_trajectories",
    "pycaffe_net",
    "prepared",
    "pycaffe_param",
    "replicas",
    "weights",
]
# The long trajectories are of the same ops and rules as the short ones.
SHORT = "not (cifar3 or resnet56 or deterministic or double)"


def run_tests(
    names: list[str], selected: str, *options: str, seconds: float = 600, **environment: str
) -> None:
    """Run tests of these files, and with these options, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", selected]
    command += [*options, *(str(HERE / f"test_{name}.py") for name in names)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        env={**os.environ, **environment},
    )
    if done.returncode != 0:
        pytest.fail(f"{done.stdout[-8000:]}{done.stderr[-4000:]}", False)
    assert " passed" in done.stdout


def test_nets_in_guarded_memory(build: Path) -> None:
    library = build / "tests" / "cpp" / "libpcc_guarded.so"
    run_tests(FILES, SHORT, "--guarded", str(library))
