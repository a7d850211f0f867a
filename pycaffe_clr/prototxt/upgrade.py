"""Old forms of nets and solvers, rewritten to today's, as Caffe's upgrade_proto.cpp does.

Every rewrite is reported once in the log. The order is Caffe's: V0 layers, data transformation,
V1 layers, inputs, BatchNorm.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt.source import Source, nowhere
from pycaffe_clr.prototxt.upgrade_v0 import upgrade_v0_layers
from pycaffe_clr.prototxt.upgrade_v1 import move_transformation, upgrade_v1_layers

if TYPE_CHECKING:
    from pycaffe_clr.proto import NetParameter, SolverParameter

_log = logging.getLogger(__name__)

SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}


def upgrade_net(net: NetParameter, source: Source | None = None) -> None:
    """Bring a NetParameter to today's form, in place. Raises ConfigError where that cannot be."""
    source = source or nowhere(net)
    if len(net.layers):
        if len(net.layer):
            raise ConfigError(
                f'{source.where("layers")}: the net mixes old "layers" blocks with new "layer" '
                "blocks; write all of them as layer { }"
            )
        if any(layer.HasField("layer") for layer in net.layers):
            upgrade_v0_layers(net, source)
            _report(source, "V0 layers to V1 layers")
        if move_transformation(net):
            _report(source, "transformation settings of data layers to transform_param")
        upgrade_v1_layers(net, source)
        _report(source, "V1 layers to today's")
    if len(net.input):
        _upgrade_inputs(net, source)
        _report(source, "input fields to an Input layer")
    if _upgrade_batch_norm(net):
        _report(source, "BatchNorm layers with three param blocks: lr_mult and decay_mult are 0")


def upgrade_solver(solver: SolverParameter, source: Source | None = None) -> None:
    """Bring a SolverParameter, with the nets inside it, to today's form, in place."""
    source = source or nowhere(solver)
    if solver.HasField("solver_type"):
        if solver.HasField("type"):
            raise ConfigError(
                f"{source.where('solver_type')}: both solver_type and type are set; "
                "keep only type, which replaces it"
            )
        kind = solver.SolverType.Name(solver.solver_type)
        solver.type = SOLVER_TYPES[kind]
        solver.ClearField("solver_type")
        _report(source, f'solver_type to type: "{solver.type}"')
    inline = [(solver, field) for field in ("net_param", "train_net_param")]
    for owner, field in inline:
        if owner.HasField(field):
            upgrade_net(getattr(owner, field), Source(f"{source.name} ({field})"))
    for net in solver.test_net_param:
        upgrade_net(net, Source(f"{source.name} (test_net_param)"))


def complete_snapshot_prefix(solver: SolverParameter, path: Path) -> None:
    """Give the snapshots a name where the solver does not, as Caffe 1.0 does.

    Without snapshot_prefix they are named after the solver's file, beside it; a prefix that is a
    folder gets the solver file's name appended.
    """
    if not solver.HasField("snapshot_prefix"):
        solver.snapshot_prefix = str(path.with_suffix(""))
        _log.info("snapshot_prefix is not set; taking %s", solver.snapshot_prefix)
        return
    try:
        is_folder = Path(solver.snapshot_prefix).is_dir()
    except (OSError, ValueError):
        is_folder = False
    if is_folder:
        solver.snapshot_prefix = str(Path(solver.snapshot_prefix) / path.stem)
        _log.info("snapshot_prefix is a folder; taking %s", solver.snapshot_prefix)


def _report(source: Source, what: str) -> None:
    _log.info("%s: upgraded %s", source.name, what)


def _upgrade_inputs(net: NetParameter, source: Source) -> None:
    """`input` with `input_shape` or `input_dim` becomes one Input layer in front."""
    count, shapes, dims = len(net.input), len(net.input_shape), len(net.input_dim)
    if shapes and dims:
        raise ConfigError(
            f"{source.where('input_dim')}: give the inputs input_shape or input_dim, not both"
        )
    if shapes and shapes != count:
        raise ConfigError(
            f"{source.where('input_shape')}: {count} inputs and {shapes} input_shape blocks; "
            "every input needs one"
        )
    if dims and dims != 4 * count:
        raise ConfigError(
            f"{source.where('input_dim')}: {count} inputs and {dims} input_dim values; "
            "every input needs four (num, channels, height, width)"
        )
    if not shapes and not dims:
        raise ConfigError(
            f"{source.where('input')}: the inputs have no shape; add input_shape {{ dim: ... }}"
        )
    layer = type(net)().layer.add(name="input", type="Input", top=net.input)
    for index in range(count):
        shape = layer.input_param.shape.add()
        shape.dim.extend(
            net.input_shape[index].dim if shapes else net.input_dim[4 * index : 4 * index + 4]
        )
    layers = [layer, *net.layer]
    rebuilt = type(net)()
    rebuilt.layer.extend(layers)
    net.ClearField("layer")
    net.layer.extend(rebuilt.layer)
    source.layers.insert(0, source.marks.get(("input", 0)))
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)


def _upgrade_batch_norm(net: NetParameter) -> bool:
    """The three statistics of BatchNorm are not learned: their multipliers become 0."""
    changed = False
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for param in layer.param:
                if not (param.HasField("lr_mult") and param.HasField("decay_mult")):
                    changed = True
                changed |= param.lr_mult != 0 or param.decay_mult != 0
                param.lr_mult = 0
                param.decay_mult = 0
    return changed
