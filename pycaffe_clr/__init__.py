"""A Caffe that trains with cyclical learning rates and cyclical momentum.

`import pycaffe_clr as caffe` stands in for pycaffe. Names are loaded when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # where _HOMES leads, for type checkers
    from pycaffe_clr import catalog as catalog
    from pycaffe_clr import classifier as classifier
    from pycaffe_clr import coord_map as coord_map
    from pycaffe_clr import data as data
    from pycaffe_clr import detector as detector
    from pycaffe_clr import draw as draw
    from pycaffe_clr import errors as errors
    from pycaffe_clr import io as io
    from pycaffe_clr import net_spec as net_spec
    from pycaffe_clr import proto as proto
    from pycaffe_clr import prototxt as prototxt
    from pycaffe_clr import pycaffe as pycaffe
    from pycaffe_clr.classifier import Classifier as Classifier
    from pycaffe_clr.detector import Detector as Detector
    from pycaffe_clr.errors import ConfigError as ConfigError
    from pycaffe_clr.errors import DataError as DataError
    from pycaffe_clr.errors import EngineError as EngineError
    from pycaffe_clr.errors import PycaffeClrError as PycaffeClrError
    from pycaffe_clr.experiments.logs import read_log as read_log
    from pycaffe_clr.export.torch_net import to_torch as to_torch
    from pycaffe_clr.net_spec import NetSpec as NetSpec
    from pycaffe_clr.net_spec import layers as layers
    from pycaffe_clr.net_spec import params as params
    from pycaffe_clr.net_spec import to_proto as to_proto
    from pycaffe_clr.pycaffe.net import Net as Net
    from pycaffe_clr.pycaffe.processes import NCCL as NCCL
    from pycaffe_clr.pycaffe.processes import Timer as Timer
    from pycaffe_clr.pycaffe.processes import has_nccl as has_nccl
    from pycaffe_clr.pycaffe.processes import set_multiprocess as set_multiprocess
    from pycaffe_clr.pycaffe.processes import set_solver_count as set_solver_count
    from pycaffe_clr.pycaffe.processes import set_solver_rank as set_solver_rank
    from pycaffe_clr.pycaffe.processes import solver_count as solver_count
    from pycaffe_clr.pycaffe.processes import solver_rank as solver_rank
    from pycaffe_clr.pycaffe.settings import init_log as init_log
    from pycaffe_clr.pycaffe.settings import layer_type_list as layer_type_list
    from pycaffe_clr.pycaffe.settings import log as log
    from pycaffe_clr.pycaffe.settings import set_device as set_device
    from pycaffe_clr.pycaffe.settings import set_mode_cpu as set_mode_cpu
    from pycaffe_clr.pycaffe.settings import set_mode_gpu as set_mode_gpu
    from pycaffe_clr.pycaffe.settings import set_random_seed as set_random_seed
    from pycaffe_clr.pycaffe.solver import AdaDeltaSolver as AdaDeltaSolver
    from pycaffe_clr.pycaffe.solver import AdaGradSolver as AdaGradSolver
    from pycaffe_clr.pycaffe.solver import AdamSolver as AdamSolver
    from pycaffe_clr.pycaffe.solver import NesterovSolver as NesterovSolver
    from pycaffe_clr.pycaffe.solver import RMSPropSolver as RMSPropSolver
    from pycaffe_clr.pycaffe.solver import SGDSolver as SGDSolver
    from pycaffe_clr.pycaffe.solver import get_solver as get_solver
    from pycaffe_clr.python_layer import Layer as Layer
    from pycaffe_clr.python_layer import register_layer as register_layer
    from pycaffe_clr.train.evaluate import evaluate as evaluate
    from pycaffe_clr.train.result import RunResult as RunResult
    from pycaffe_clr.train.result import read_run as read_run
    from pycaffe_clr.train.run import run as run
    from pycaffe_clr.train.schedule import Schedule as Schedule
    from pycaffe_clr.train.spec import RunSpec as RunSpec

    __version__: str

TRAIN, TEST = 0, 1

_HOMES = {
    "Net": "pycaffe.net",
    "Layer": "python_layer",
    "Classifier": "classifier",
    "Detector": "detector",
    "NetSpec": "net_spec",
    "layers": "net_spec",
    "params": "net_spec",
    "to_proto": "net_spec",
    "to_torch": "export.torch_net",
    "SGDSolver": "pycaffe.solver",
    "NesterovSolver": "pycaffe.solver",
    "AdaGradSolver": "pycaffe.solver",
    "RMSPropSolver": "pycaffe.solver",
    "AdaDeltaSolver": "pycaffe.solver",
    "AdamSolver": "pycaffe.solver",
    "get_solver": "pycaffe.solver",
    "layer_type_list": "pycaffe.settings",
    "register_layer": "python_layer",
    "set_mode_cpu": "pycaffe.settings",
    "set_mode_gpu": "pycaffe.settings",
    "set_device": "pycaffe.settings",
    "set_random_seed": "pycaffe.settings",
    "init_log": "pycaffe.settings",
    "log": "pycaffe.settings",
    "NCCL": "pycaffe.processes",
    "Timer": "pycaffe.processes",
    "has_nccl": "pycaffe.processes",
    "set_multiprocess": "pycaffe.processes",
    "set_solver_count": "pycaffe.processes",
    "set_solver_rank": "pycaffe.processes",
    "solver_count": "pycaffe.processes",
    "solver_rank": "pycaffe.processes",
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
_MODULES = (
    "proto", "prototxt", "data", "errors", "catalog", "io", "net_spec", "coord_map", "classifier",
    "detector", "draw", "pycaffe",
)  # fmt: skip
__all__ = ["TEST", "TRAIN", *_HOMES]


if not TYPE_CHECKING:  # a checker shall know a name that is not there

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
