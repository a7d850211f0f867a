"""Whether training gives the same bits again: run twice, and stopped and gone on with.

    python tests/gpu/repeat.py DEVICE [LIBRARY]

LIBRARY: see on_host.py, for the device cuda_host, which makes fewer and smaller steps.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def weights(folder: Path, iteration: int) -> bytes:
    """What the run there has learned by then."""
    (file,) = folder.glob(f"*_iter_{iteration}.caffemodel")
    return file.read_bytes()


class Stopper:
    """Stops a run after so many iterations, as a signal does: it can be gone on with."""

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations

    def started(self, run: Any) -> None:
        self.session = run.session

    def rows(self, rows: Sequence[Any]) -> None:
        if rows[-1].iteration + 1 >= self.iterations:
            self.session.stop()


def check(device: str, precision: str, small: bool) -> bool:
    """Say, and return, whether both came out the same."""
    import pycaffe_clr

    whole = 4 if small else 60
    common: dict[str, Any] = {
        "device": device,
        "precision": precision,
        "seed": 1,
        "max_iter": whole,
        "whole_test": False,
        "curve": False,
        # Displays cut the iterations into stretches, at whose ends a run can stop.
        "sets": {"test_interval": str(whole), "display": str(whole // 2)},
    }
    if small:
        common |= {"batch": 2, "test_batch": 2}
        common["net_sets"] = {"layer.ip1.inner_product_param.num_output": "16"}
        common["sets"] |= {"test_iter": "1", "test_initialization": "false"}
    with tempfile.TemporaryDirectory() as name:
        once, again, parts = (Path(name) / part for part in ("once", "again", "parts"))
        for out in (once, again):
            pycaffe_clr.run("lenet_sample", out=str(out), **common)
        first = pycaffe_clr.run(
            "lenet_sample", out=str(parts), callbacks=[Stopper(whole // 2)], **common
        )
        assert first.state == "stopped" and first.iteration < whole
        pycaffe_clr.run(None, out=str(parts), resume=True, whole_test=False, curve=False)
        found = [weights(folder, whole) for folder in (once, again, parts)]
        repeated, resumed = found[0] == found[1], found[0] == found[2]
    print(f"{precision}: again {same(repeated)}, in two parts {same(resumed)}", flush=True)
    return repeated and resumed


def same(equal: bool) -> str:
    return "the same bits" if equal else "OTHER BITS"


def main(device: str, library: str = "") -> int:
    if library:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
        from on_host import add_host_device

        add_host_device(library)
    good = [check(device, precision, bool(library)) for precision in ("fp32", "tf32", "bf16")]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
