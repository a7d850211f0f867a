"""`pycaffe_clr` with a device more, cuda_host: the CUDA backend on the host, from a library.

python tests/gpu/on_host.py libpcc_cuda_host.so run lenet_sample --device cuda_host --batch 2
"""

from __future__ import annotations

import ctypes
import sys


def add_host_device(library: str) -> None:
    """Make the device cuda_host known in this process."""
    from pycaffe_clr.engine import ready_core

    ready_core()
    ctypes.CDLL(library).register_cuda_host_backend()


if __name__ == "__main__":
    add_host_device(sys.argv[1])
    from pycaffe_clr.cli import main

    sys.exit(main(sys.argv[2:]))
