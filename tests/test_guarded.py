"""The engine in memory that the host cannot reach: golden data, views, snapshots, replicas.

Any access to a net's memory but by an op, or by the device's own copies, ends the process.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from test_cpp import build  # noqa: F401

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


def test_nets_in_guarded_memory(build: Path) -> None:  # noqa: F811
    library = build / "tests" / "cpp" / "libpcc_guarded.so"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", SHORT]
    command += ["--guarded", str(library), *(str(HERE / f"test_{name}.py") for name in FILES)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600)
    if done.returncode != 0:
        pytest.fail(f"{done.stdout[-8000:]}{done.stderr[-4000:]}", False)
