"""Whether gradients that go round come back: by NCCL on one GPU, and, where there are two, on both.

    python tests/gpu/ranks.py DEVICE [LIBRARY]

LIBRARY: see on_host.py, for the device cuda_host, on which they go through sockets.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def trained(device: str, alone: bool, steps: int, batch: int) -> list[np.ndarray]:
    """What a few iterations learn; not alone: with the group that one process is by itself."""
    from pycaffe_clr.catalog import find_solver
    from pycaffe_clr.engine import ready_core
    from pycaffe_clr.prototxt import NetChanges, load_solver, solver_nets
    from pycaffe_clr.train.session import Session
    from pycaffe_clr.train.state import views

    path = find_solver("lenet_sample")
    solver, source = load_solver(path, {}, {"test_initialization": "false", "display": "0"})
    nets = solver_nets(solver, path, {}, NetChanges(batch=batch, test_batch=batch), source)
    group = None if alone else ready_core().Group(0, 1, -1, -1, [-1])
    session = Session(solver, nets=nets, path=path, device=device, group=group)
    # Op by op, recorded, and replayed.
    session.step(steps)
    return [np.array(array) for array in views(session.net, session.core).values()]


def losses(out: Path, device: str, **settings: Any) -> np.ndarray:
    """Of a short run."""
    import pycaffe_clr
    from pycaffe_clr.train.tables import read_table

    fields: dict[str, Any] = {"device": device, "seed": 1, "max_iter": 60, "precision": "fp32"}
    fields |= {"whole_test": False, "curve": False}
    pycaffe_clr.run("lenet_sample", out=str(out), **fields | settings)
    return read_table(out / "metrics.csv")["loss"]


def main(device: str, library: str = "") -> int:
    from pycaffe_clr.engine import ready_core

    if library:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
        from on_host import add_host_device

        add_host_device(library)
    size = (3, 2) if library else (60, 64)
    pairs = zip(trained(device, True, *size), trained(device, False, *size), strict=True)
    same = all(np.array_equal(one, other) for one, other in pairs)
    print(f"one rank: {'the same bits' if same else 'OTHER BITS'}", flush=True)
    if library or len(ready_core().devices(device)[0]) < 2:
        return 0 if same else 1
    with tempfile.TemporaryDirectory() as name:
        one = losses(Path(name) / "replicas", device, replicas=2)
        two = losses(Path(name) / "ranks", f"{device}:0,1")
    apart = float(np.max(np.abs(one - two) / np.abs(one)))
    print(f"two ranks: losses {apart:.1e} from those of two replicas", flush=True)
    return 0 if same and apart < 0.05 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
