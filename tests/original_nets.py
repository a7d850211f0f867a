"""The report's nets as digests: one per layer of the author's files, which are not ours to ship.

    python tests/original_nets.py FOLDER

writes golden/original_nets.json from FOLDER/originals, a copy of the author's files, and from
Caffe's LeNet in FOLDER/golden.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from pycaffe_clr import proto

DIGESTS = Path(__file__).parent / "golden" / "original_nets.json"
ORIGINALS = {
    "resnet56": "originals/Cifar/architectures/gResnet56.prototxt",
    "resnet56_cifar100": "originals/Cifar/architectures/c100Resnet56.prototxt",
    "wide32": "originals/Cifar/architectures/wide32cifar.prototxt",
    "densenet40": "originals/Cifar/architectures/genDensenet40.prototxt",
    "cifar3": "originals/Cifar/architectures/cifar3.prototxt",
    "cifar3_cifar100": "originals/Cifar/architectures/cifar100.prototxt",
    "resnet50": "originals/Imagenet/architectures/resnet50.prototxt",
    "inception_resnet_v2": "originals/Imagenet/architectures/inception-resnet-v2.prototxt",
    "lenet": "golden/trajectories/lenet/net.prototxt",
}


def net_of(text: str) -> Any:
    """A NetParameter, read by protobuf's own reader."""
    return text_format.Parse(text, proto.NetParameter())


def without_places(layer: Any, same_data: bool) -> Any:
    """A layer as it is compared: the training batch, a placeholder, is left out.

    Also left out are the originals' image_data_param on Data layers, which does nothing there, and
    the deprecated data_param.mirror that repeats transform_param's. same_data: data paths count.
    """
    compared = type(layer)()
    compared.CopyFrom(layer)
    compared.ClearField("image_data_param")
    if layer.type == "Data":
        compared.data_param.ClearField("mirror")
        if layer.include[0].phase == proto.TRAIN:
            compared.data_param.ClearField("batch_size")
        if not same_data:
            compared.data_param.ClearField("source")
            compared.transform_param.ClearField("mean_file")
    return compared


def digests(name: str, net: Any) -> list[str]:
    """A digest of the net's name, then of each layer as it is compared. name: in ORIGINALS."""
    same_data = "Cifar" in ORIGINALS[name]
    layers = [without_places(layer, same_data).SerializeToString() for layer in net.layer]
    return [hashlib.sha256(data).hexdigest()[:12] for data in [net.name.encode(), *layers]]


def original(name: str, folder: Path) -> Any:
    """The author's net, with some batch size where it has a placeholder."""
    return net_of(re.sub(r"\bxBS\b", "128", (folder / ORIGINALS[name]).read_text()))


def main(folder: str) -> None:
    """Write the digests of the originals below a folder."""
    found = {name: digests(name, original(name, Path(folder))) for name in sorted(ORIGINALS)}
    lines = [f'"{name}": "{" ".join(values)}"' for name, values in found.items()]
    DIGESTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def stored() -> dict[str, list[str]]:
    """The digests by net."""
    return {name: text.split() for name, text in json.loads(DIGESTS.read_text()).items()}


if __name__ == "__main__":
    main(sys.argv[1])
