"""The `layers { type: CONVOLUTION }` form of 2014, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.proto import is_repeated
from pycaffe_clr.prototxt.source import Source

if TYPE_CHECKING:
    from pycaffe_clr.proto import NetParameter

V1_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
}

# Fields that V1LayerParameter and LayerParameter both have, with one meaning.
_SHARED = ("bottom", "top", "name", "include", "exclude", "blobs", "loss_weight")
# V1 fields with one value per parameter -> the field of ParamSpec.
_PER_PARAM = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}
# Data layer -> its message, for the settings that moved to transform_param.
_TRANSFORMED = {
    "DATA": "data_param",
    "IMAGE_DATA": "image_data_param",
    "WINDOW_DATA": "window_data_param",
}


def other_forms_type(field: str, text: str) -> str | None:
    """What to say of a layer's type that is written as the other form of layers has it.

    field: `V1LayerParameter.type` (layers) or `LayerParameter.type` (layer). text: the word that
    stands there, or the string with its quotes. None for everything else.
    """
    if field == "V1LayerParameter.type" and text[0] in "\"'":
        name = text[1:-1]
        old = next((o for o, new in V1_TYPES.items() if name in (o, new) and name), None)
        instead = f"write {old} without quotes, or use" if old else "it has none for it; use"
        today = V1_TYPES[old] if old else name
        return (
            f'"layers" takes enum names, came {text}: {instead} today\'s form, which takes '
            f'strings: layer {{ type: "{today}" }}'
        )
    if field == "LayerParameter.type" and text in V1_TYPES:
        return (
            f'"layer" takes strings, came {text}: write "{V1_TYPES[text]}" '
            f'(enum names belong to the old form, "layers")'
        )
    return None


def v1_type_name(layer: Any) -> str:
    """The enum name of a V1 layer's type: CONVOLUTION."""
    values = layer.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number
    return str(values[layer.type].name)


def move_transformation(net: NetParameter) -> bool:
    """Move scale, mean_file, crop_size and mirror of V1 data layers to transform_param."""
    changed = False
    for layer in net.layers:
        field = _TRANSFORMED.get(v1_type_name(layer))
        if field is None:
            continue
        settings = getattr(layer, field)
        for name in ("scale", "mean_file", "crop_size", "mirror"):
            if settings.HasField(name):
                setattr(layer.transform_param, name, getattr(settings, name))
                settings.ClearField(name)
                changed = True
    return changed


def upgrade_v1_layers(net: NetParameter, source: Source) -> None:
    """Turn every V1 layer into a LayerParameter, in place."""
    for index, old in enumerate(net.layers):
        if old.HasField("layer"):
            raise ConfigError(f"{source.layer(index)}: a V0 layer could not be upgraded")
        new = net.layer.add()
        for field, value in old.ListFields():
            name = field.name
            if name == "type":
                new.type = V1_TYPES[v1_type_name(old)]
            elif name in _PER_PARAM:
                for number, item in enumerate(value):
                    while len(new.param) <= number:
                        new.param.add()
                    setattr(new.param[number], _PER_PARAM[name], item)
            elif name in _SHARED and is_repeated(field):
                getattr(new, name).extend(value)
            elif name in _SHARED:
                setattr(new, name, value)
            else:
                getattr(new, name).CopyFrom(value)
    net.ClearField("layers")
