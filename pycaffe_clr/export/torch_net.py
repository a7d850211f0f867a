"""Nets as PyTorch modules, where PyTorch is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.export.build import graph_of

if TYPE_CHECKING:
    from pycaffe_clr.pycaffe.net import Net


def to_torch(net: Net) -> Any:
    """A torch.nn.Module, in evaluation mode, that computes what a net of the test phase does.

    Its inputs are the net's, in their order or by name; it returns the output, or {name: output} of
    several. The weights are copies, parameters called as layer and number: `conv1/0`. Dropout and
    BatchNorm obey train() and eval(). Data layers become inputs; losses and accuracies are left
    out. Raises ConfigError for a layer that has no counterpart, and where PyTorch is missing.
    """
    try:
        from pycaffe_clr.export.torch_module import CaffeModule
    except ImportError as error:
        raise ConfigError("to_torch needs PyTorch: pip install torch") from error
    return CaffeModule(graph_of(net)).eval()
