"""A Caffe that trains with cyclical learning rates and cyclical momentum.

`import pycaffe_clr as caffe` stands in for pycaffe. Names are loaded when they are used.
"""

from importlib import import_module
from typing import Any

TRAIN, TEST = 0, 1

_HOMES = {
    "Net": "pycaffe",
    "SGDSolver": "pycaffe",
    "NesterovSolver": "pycaffe",
    "AdaGradSolver": "pycaffe",
    "RMSPropSolver": "pycaffe",
    "AdaDeltaSolver": "pycaffe",
    "AdamSolver": "pycaffe",
    "get_solver": "pycaffe",
    "layer_type_list": "pycaffe",
    "set_mode_cpu": "pycaffe",
    "set_mode_gpu": "pycaffe",
    "set_device": "pycaffe",
    "set_random_seed": "pycaffe",
    "Schedule": "train.schedule",
    "read_log": "experiments.logs",
    "run": "train.run",
    "evaluate": "train.evaluate",
    "read_run": "train.result",
    "RunSpec": "train.spec",
    "RunResult": "train.result",
    "PycaffeClrError": "errors",
    "ConfigError": "errors",
    "DataError": "errors",
    "EngineError": "errors",
}
_MODULES = ("proto", "prototxt", "data", "errors", "catalog")
__all__ = ["TEST", "TRAIN", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"pycaffe_clr.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"pycaffe_clr.{name}")
    elif name == "__version__":
        from pycaffe_clr.version import package_version

        value = package_version()
    else:
        raise AttributeError(f"module 'pycaffe_clr' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES, "__version__"})
