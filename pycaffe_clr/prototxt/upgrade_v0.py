"""The `layers { layer { type: "conv" } }` form of 2013, as a table."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.proto import is_repeated
from pycaffe_clr.prototxt.source import Source

if TYPE_CHECKING:
    from pycaffe_clr.proto import NetParameter

_log = logging.getLogger(__name__)

V0_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}

_CONV, _POOL, _FULL = "convolution_param", "pooling_param", "inner_product_param"
_IMAGES, _WINDOW = "image_data_param", "window_data_param"
# V0 field -> layer type -> (message, field) of the V1 layer. "*" stands for every type.
_TARGETS: dict[str, dict[str, tuple[str, str]]] = {
    "num_output": {"conv": (_CONV, "num_output"), "innerproduct": (_FULL, "num_output")},
    "biasterm": {"conv": (_CONV, "bias_term"), "innerproduct": (_FULL, "bias_term")},
    "weight_filler": {"conv": (_CONV, "weight_filler"), "innerproduct": (_FULL, "weight_filler")},
    "bias_filler": {"conv": (_CONV, "bias_filler"), "innerproduct": (_FULL, "bias_filler")},
    "pad": {"conv": (_CONV, "pad"), "pool": (_POOL, "pad")},
    "kernelsize": {"conv": (_CONV, "kernel_size"), "pool": (_POOL, "kernel_size")},
    "group": {"conv": (_CONV, "group")},
    "stride": {"conv": (_CONV, "stride"), "pool": (_POOL, "stride")},
    "pool": {"pool": (_POOL, "pool")},
    "dropout_ratio": {"dropout": ("dropout_param", "dropout_ratio")},
    "local_size": {"lrn": ("lrn_param", "local_size")},
    "alpha": {"lrn": ("lrn_param", "alpha")},
    "beta": {"lrn": ("lrn_param", "beta")},
    "k": {"lrn": ("lrn_param", "k")},
    "source": {
        "data": ("data_param", "source"),
        "hdf5_data": ("hdf5_data_param", "source"),
        "images": (_IMAGES, "source"),
        "window_data": (_WINDOW, "source"),
        "infogain_loss": ("infogain_loss_param", "source"),
    },
    "scale": {"*": ("transform_param", "scale")},
    "meanfile": {"*": ("transform_param", "mean_file")},
    "cropsize": {"*": ("transform_param", "crop_size")},
    "mirror": {"*": ("transform_param", "mirror")},
    "batchsize": {
        "data": ("data_param", "batch_size"),
        "hdf5_data": ("hdf5_data_param", "batch_size"),
        "images": (_IMAGES, "batch_size"),
        "window_data": (_WINDOW, "batch_size"),
    },
    "rand_skip": {"data": ("data_param", "rand_skip"), "images": (_IMAGES, "rand_skip")},
    "shuffle_images": {"images": (_IMAGES, "shuffle")},
    "new_height": {"images": (_IMAGES, "new_height")},
    "new_width": {"images": (_IMAGES, "new_width")},
    "concat_dim": {"concat": ("concat_param", "concat_dim")},
    "det_fg_threshold": {"window_data": (_WINDOW, "fg_threshold")},
    "det_bg_threshold": {"window_data": (_WINDOW, "bg_threshold")},
    "det_fg_fraction": {"window_data": (_WINDOW, "fg_fraction")},
    "det_context_pad": {"window_data": (_WINDOW, "context_pad")},
    "det_crop_mode": {"window_data": (_WINDOW, "crop_mode")},
    "hdf5_output_param": {"hdf5_output": ("hdf5_output_param", "")},
}
# Fields that both forms have at the layer itself.
_SHARED = ("blobs", "blobs_lr", "weight_decay")


def upgrade_v0_layers(net: NetParameter, source: Source) -> None:
    """Turn every V0 layer into a V1 layer, in place; padding layers merge into their readers."""
    kept = _merge_padding(net, source)
    upgraded = type(net)()
    for index in kept:
        old = net.layers[index]
        new = upgraded.layers.add()
        if not old.HasField("layer"):
            new.CopyFrom(old)
            continue
        new.bottom.extend(old.bottom)
        new.top.extend(old.top)
        _upgrade_layer(old.layer, new, source.layer(index))
    if len(source.layers) == len(net.layers):
        source.layers = [source.layers[index] for index in kept]
    net.ClearField("layers")
    net.layers.extend(upgraded.layers)


def _upgrade_layer(old: Any, new: Any, where: str) -> None:
    for field, value in old.ListFields():
        name = field.name
        if name == "name":
            new.name = value
        elif name == "type":
            if value not in V0_TYPES:
                known = ", ".join(sorted(V0_TYPES))
                raise ConfigError(f'{where}: old layer type "{value}" is unknown; known: {known}')
            new.type = V0_TYPES[value]
        elif name in _SHARED:
            getattr(new, name).extend(value)
        else:
            targets = _TARGETS[name]
            target = targets.get(old.type) or targets.get("*")
            if target is None:
                _log.warning("%s: %s does not apply to type %s; ignored", where, name, old.type)
            else:
                _set(new, target, value)


def _set(layer: Any, target: tuple[str, str], value: Any) -> None:
    message = getattr(layer, target[0])
    if not target[1]:
        message.CopyFrom(value)
        return
    field = message.DESCRIPTOR.fields_by_name[target[1]]
    if is_repeated(field):
        getattr(message, field.name).append(value)
    elif field.message_type:
        getattr(message, field.name).CopyFrom(value)
    else:
        # The pooling methods have equal numbers in both forms.
        setattr(message, field.name, value)


def _merge_padding(net: NetParameter, source: Source) -> list[int]:
    """Give the pad of each "padding" layer to the conv or pool layers that read it.

    Returns the places of the layers that stay.
    """
    kept: list[int] = []
    writer: dict[str, int] = {}  # blob -> layer that wrote it last
    for index, layer in enumerate(net.layers):
        v0 = layer.layer
        if v0.type != "padding":
            kept.append(index)
        for position, blob in enumerate(layer.bottom):
            if blob not in writer:
                continue
            padding = net.layers[writer[blob]]
            if padding.layer.type != "padding":
                continue
            where = source.layer(index)
            if v0.type not in ("conv", "pool"):
                raise ConfigError(
                    f'{where}: layer "{v0.name}" of type {v0.type} reads a padding layer; '
                    "only conv and pool can"
                )
            if len(layer.bottom) != 1 or len(padding.bottom) != 1 or len(padding.top) != 1:
                raise ConfigError(
                    f'{where}: padding layer "{padding.layer.name}" and its reader must have one '
                    "bottom each, and the padding layer one top"
                )
            v0.pad = padding.layer.pad
            layer.bottom[position] = padding.bottom[0]
        for blob in layer.top:
            writer[blob] = index
    return kept
