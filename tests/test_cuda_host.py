"""The CUDA backend against Caffe's golden layers, its kernels run on the host thread by thread."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_cpp import build  # noqa: F401

HERE = Path(__file__).parent
# Orders of threads and of blocks, and when a stream does its work: the results must not know.
MODES = ["forward", "reversed,late", "shuffled,late"]


@pytest.mark.parametrize("modes", MODES)
def test_layers_are_caffes(build: Path, modes: str) -> None:  # noqa: F811
    library = build / "tests" / "cpp" / "libpcc_cuda_host.so"
    # Every device means this backend there: one name stands for all.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-k",
        "kernels",
    ]
    command += ["--cuda-host", str(library), str(HERE / "test_golden_layers.py")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        env={**os.environ, "PYCAFFE_CLR_CUDA_HOST": modes},
    )
    if done.returncode != 0:
        pytest.fail(f"{done.stdout[-8000:]}{done.stderr[-4000:]}", False)
    assert " passed" in done.stdout
