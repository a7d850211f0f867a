"""What run.json says of a process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from pycaffe_clr.train import facts


def test_peak_memory_is_this_process_own():
    """That of the process that started it is not in it."""
    held = np.ones(40 << 20)
    code = "from pycaffe_clr.train.facts import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 << 20 < int(done.stdout) < held.nbytes < facts.peak_memory()
