"""Which layers a net has: merging of NetState, and the include and exclude rules of layers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pycaffe_clr import proto
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt.source import Source, nowhere

if TYPE_CHECKING:
    from pycaffe_clr.proto import LayerParameter, NetParameter, NetState, NetStateRule

_log = logging.getLogger(__name__)


def merged_state(phase: int, net: NetParameter, override: NetState | None = None) -> NetState:
    """NetState of a solver's net: the phase, then the net's own state, then the solver's.

    Later ones win, stages add up (solver.cpp, InitTrainNet and InitTestNets).
    """
    state = proto.NetState(phase=proto.phase_name(phase))
    state.MergeFrom(net.state)
    if override is not None:
        state.MergeFrom(override)
    return state


def state_meets_rule(state: NetState, rule: NetStateRule) -> bool:
    """Whether every condition that is set in a NetStateRule holds."""
    if rule.HasField("phase") and rule.phase != state.phase:
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    stages = set(state.stage)
    return all(stage in stages for stage in rule.stage) and not any(
        stage in stages for stage in rule.not_stage
    )


def layer_is_included(layer: LayerParameter, state: NetState, where: str) -> bool:
    """Whether a layer belongs to a net of this state; ConfigError for contradictory rules."""
    if len(layer.include) and len(layer.exclude):
        raise ConfigError(
            f'{where}: layer "{layer.name}" has include and exclude rules; give one kind only'
        )
    if len(layer.include):
        return any(state_meets_rule(state, rule) for rule in layer.include)
    return not any(state_meets_rule(state, rule) for rule in layer.exclude)


def included_layers(
    net: NetParameter, state: NetState, source: Source | None = None
) -> Iterator[tuple[int, LayerParameter]]:
    """(place in the file, layer) of the layers that a net of this state has.

    Two of one name are legal in Caffe, and one of the report's nets has such a pair: that is only
    said in the log.
    """
    source = source or nowhere(net)
    places: dict[str, int] = {}
    for index, layer in enumerate(net.layer):
        if not layer_is_included(layer, state, source.layer(index)):
            continue
        first = places.setdefault(layer.name, index)
        if first != index and layer.name:
            _log.warning(
                '%s: two layers of the %s net are called "%s"; the other is at %s. Looked up by '
                "name, the later one is found",
                source.layer(index),
                proto.phase_name(state.phase),
                layer.name,
                source.layer(first),
            )
        yield index, layer


def filter_net(
    net: NetParameter, state: NetState | None = None, source: Source | None = None
) -> NetParameter:
    """A copy of the net with only the layers of `state` (by default the net's own).

    source: where the net was read from, for messages. Raises ConfigError for contradictory rules.
    """
    state = state if state is not None else net.state
    kept = [layer for _, layer in included_layers(net, state, source)]
    filtered = proto.NetParameter()
    filtered.CopyFrom(net)
    filtered.ClearField("layer")
    filtered.layer.extend(kept)
    filtered.state.CopyFrom(state)
    return filtered
