"""pycaffe's interface: nets (net), solvers (solver) and module functions (settings), with their
names and meaning. `import pycaffe_clr as caffe` has them all; caffe.pycaffe has nets and solvers,
too."""

from importlib import import_module
from typing import Any

_NAMES = ("Net", "NCCL", "Timer", "SGDSolver", "NesterovSolver", "AdaGradSolver", "RMSPropSolver",
          "AdaDeltaSolver", "AdamSolver")  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module '{__name__}' has no attribute {name!r}")
    return getattr(import_module("pycaffe_clr"), name)
