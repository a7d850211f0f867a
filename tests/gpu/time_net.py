"""`pycaffe_clr time` of a benchmarked net, over random pictures.

    python tests/gpu/time_net.py NET BATCH PRECISION DEVICE [LIBRARY]

BATCH: of each replica. LIBRARY: see on_host.py, for the device cuda_host.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "benchmarks")]


def main(net: str, batch: str, precision: str, device: str, library: str = "") -> int:
    import bench_gpu
    import caffe_nets

    from pycaffe_clr.cli import main as command

    if library:
        from on_host import add_host_device

        add_host_device(library)
    spec = bench_gpu.NETS[net]
    # `caffe time` knows of no replicas: one batch of all of them.
    shape = (int(batch) * spec["replicas"], *spec["shape"][1:])
    with tempfile.TemporaryDirectory() as folder:
        caffe_nets.write_solver(Path(folder), net, shape, "data", 0.1, 0.9, 1e-4)
        words = ["time", f"--model={folder}/net.prototxt", f"--device={device}"]
        words += [f"--precision={precision}", f"--iterations={2 if library else 10}"]
        return command(words)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
