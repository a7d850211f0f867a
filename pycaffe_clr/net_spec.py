"""Nets written in Python, as pycaffe has it: `n.conv1 = L.Convolution(n.data, num_output=20)`.

`layers` and `params` stand for modules: an attribute of `layers` makes a layer of that type, one of
`params` leads to the constants of that type's parameters, `params.Pooling.MAX`. Names: what is
assigned to a NetSpec is called as the attribute; others get their type with a number, `Pooling1`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from pycaffe_clr import proto
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.net_names import LayerNames, ParameterNames

if TYPE_CHECKING:
    from pycaffe_clr.proto import LayerParameter, NetParameter

# Types whose parameters have another name, or are another type's.
_SHARED = {
    "ConvolutionDepthwise": "convolution",
    "Deconvolution": "convolution",
    "DepthwiseConvolution": "convolution",
    "Im2col": "convolution",
    "LSTM": "recurrent",
    "RNN": "recurrent",
    "Resize": "resize",
}


def param_name_dict() -> dict[str, str]:
    """By layer type, what the field of its parameters is called: {"InnerProduct":
    "inner_product", ...}, without `_param`."""
    fields = proto.LayerParameter.DESCRIPTOR.fields
    return {
        field.message_type.name.removesuffix("Parameter"): field.name.removesuffix("_param")
        for field in fields
        if field.name.endswith("_param") and field.message_type is not None
    }


def to_proto(*tops: Top | Function) -> NetParameter:
    """A net of the layers that the tops need, with automatic names."""
    return _Writer({}).net(tops)


def assign_proto(message: Message, name: str, val: Any) -> None:
    """Set a field to a Python value: dicts fill messages, lists repeated fields, in which a value
    that is no list counts as a list of one. Raises ConfigError where it does not fit the field."""
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise ConfigError(f"{message.DESCRIPTOR.name} has no field '{name}'")
    try:
        if proto.is_repeated(field):
            values = list(val) if isinstance(val, (list, tuple)) else [val]
            if field.message_type is None:
                getattr(message, name).extend(values)
            for value in values if field.message_type is not None else ():
                _fill(getattr(message, name).add(), value)
        elif field.message_type is not None:
            _fill(getattr(message, name), val)
        else:
            setattr(message, name, val)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{message.DESCRIPTOR.name}.{name}: {error}") from error


def _fill(message: Message, value: Any) -> None:
    """A message from a dict, or from another message of its kind."""
    if isinstance(value, dict):
        message.SetInParent()
        for name, each in value.items():
            assign_proto(message, name, each)
    else:
        message.CopyFrom(value)


class Top:
    """One output of a layer: number `n` of the Function `fn`."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> NetParameter:
        """A net of the layers that this output needs, with automatic names."""
        return to_proto(self)


class Function:
    """A layer: its type, its inputs, which are Tops, and its parameters.

    params: fields of the type's own parameters or of LayerParameter; `ntop`, the number of tops
    (1), and `in_place` are none of them. Raises TypeError for an input that is not a Top.
    """

    def __init__(self, type_name: str, inputs: tuple[Top, ...], params: dict[str, Any]) -> None:
        for index, each in enumerate(inputs):
            if not isinstance(each, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(each)})")
        self.type_name = type_name
        self.inputs = inputs
        self.params = dict(params)
        self.ntop = int(self.params.pop("ntop", 1))
        self.in_place = bool(self.params.pop("in_place", False))
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def to_proto(self) -> NetParameter:
        """A net of this layer and those that it needs, with automatic names."""
        return to_proto(self)


class _Writer:
    """Writes layers after those that they need, each once. names: of some tops and functions."""

    def __init__(self, names: dict[Any, str]) -> None:
        self._names = names
        self._counts: Counter[str] = Counter()
        self._layers: OrderedDict[Function, LayerParameter] = OrderedDict()

    def net(self, tops: Any) -> NetParameter:
        for top in tops:
            self._add(top.fn if isinstance(top, Top) else top)
        return proto.NetParameter(layer=self._layers.values())

    def _add(self, last: Function) -> None:
        """With a list of its own in place of recursion: nets may be deeper than Python's stack."""
        waiting = [last]
        while waiting:
            function = waiting[-1]
            needed = [top.fn for top in function.inputs if top.fn not in self._layers]
            if function in self._layers:
                waiting.pop()
            elif needed:
                waiting += reversed(needed)
            else:
                self._layers[waiting.pop()] = self._layer(function)

    def _layer(self, function: Function) -> LayerParameter:
        layer = proto.LayerParameter(type=function.type_name)
        layer.bottom.extend(self._layers[top.fn].top[top.n] for top in function.inputs)
        if function.in_place:
            layer.top.extend(layer.bottom)
        else:
            layer.top.extend(self._name(top, function) for top in function.tops)
        layer.name = self._name(function.tops[0] if function.ntop else function, function)
        own = _param_names.get(function.type_name) or _SHARED.get(function.type_name)
        for name, value in function.params.items():
            message: Message = layer
            if own is not None and not name.endswith("param"):
                inner = getattr(layer, f"{own}_param")
                message = inner if name in inner.DESCRIPTOR.fields_by_name else layer
            try:
                assign_proto(message, name, value)
            except ConfigError as error:
                raise ConfigError(f"layer '{layer.name}' ({layer.type}): {error}") from error
        return layer

    def _name(self, what: Top | Function, function: Function) -> str:
        if what not in self._names:
            self._counts[function.type_name] += 1
            self._names[what] = f"{function.type_name}{self._counts[function.type_name]}"
        return self._names[what]


class NetSpec:
    """A net whose tops are attributes, or items: their names are those of the blobs."""

    tops: OrderedDict[str, Any]

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, value: Any) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        if name == "tops" or name not in self.tops:
            raise AttributeError(f"the NetSpec has no top '{name}'")
        return self.tops[name]

    def __delattr__(self, name: str) -> None:
        del self.tops[name]

    def __setitem__(self, key: str, value: Any) -> None:
        self.tops[key] = value

    def __getitem__(self, item: str) -> Any:
        return self.tops[item]

    def __delitem__(self, item: str) -> None:
        del self.tops[item]

    def __contains__(self, item: str) -> bool:
        return item in self.tops

    # The SSD fork's, on which its model_libs.py is built.

    def keys(self) -> list[str]:
        """Names of the tops, in order."""
        return list(self.tops)

    def vals(self) -> list[Any]:
        """The tops."""
        return list(self.tops.values())

    def update(self, name: str, params: Mapping[str, Any]) -> None:
        """Give the layer of a top further parameters."""
        top = self.tops[name]
        (top.fn if isinstance(top, Top) else top).params.update(params)

    def to_proto(self) -> NetParameter:
        """The net of all tops that were assigned, and what they need, in that order.

        Raises TypeError for something that is no Top, ConfigError for parameters that the layers
        do not have.
        """
        for name, top in self.tops.items():
            if not isinstance(top, (Top, Function)):
                raise TypeError(f"'{name}' is not a Top (type is {type(top)})")
        return _Writer({top: name for name, top in self.tops.items()}).net(self.tops.values())


class Layers(LayerNames):
    """Stands for a module with a function for each type of layer."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def layer(*inputs: Top, **params: Any) -> Any:
            function = Function(name, inputs, params)
            if function.ntop == 1:
                return function.tops[0]
            return function.tops or function

        layer.__name__ = name
        return layer

    def __dir__(self) -> list[str]:
        from pycaffe_clr.pycaffe.settings import layer_type_list

        return sorted({*super().__dir__(), *layer_type_list()})


class Parameters(ParameterNames):
    """Stands for a module with the constants of each type's parameters: Pooling.MAX."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(proto, f"{name}Parameter")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *param_name_dict()})


_param_names = param_name_dict()
layers = Layers()
params = Parameters()
