"""Writes the report's nets as prototxt text beside this file.

`python prototxt/generate.py` writes what has changed; with --check it only says what would change
and ends with code 1 if anything would.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # not there by itself under PYTHONSAFEPATH

from generators.cifar import densenet40, resnet56, wide32  # noqa: E402
from generators.imagenet import inception_resnet_v2, resnet50  # noqa: E402
from generators.mnist import cifar3, lenet  # noqa: E402
from generators.writer import Dataset, Net  # noqa: E402

MNIST_SCALE = {"scale": 0.00390625}
MNIST = Dataset(
    "examples/mnist/mnist_train_lmdb", "examples/mnist/mnist_test_lmdb", MNIST_SCALE, 10
)
SAMPLE = Dataset("sample/mnist_train_lmdb", "sample/mnist_test_lmdb", MNIST_SCALE, 10)


def cifar(folder: str, name: str, classes: int, augment: bool) -> Dataset:
    """augment: the originals of the BatchNorm nets mirror in training and in tests."""
    transform: dict[str, object] = {"mirror": True, "crop_size": 32} if augment else {}
    transform["mean_file"] = f"{folder}/mean.binaryproto"
    return Dataset(f"{folder}/{name}_train_lmdb", f"{folder}/{name}_test_lmdb", transform, classes)


def imagenet() -> Dataset:
    crop = {"crop_size": 230, "mean_file": "data/imagenet/imagenet_mean.binaryproto"}
    return Dataset(
        "data/imagenet/train_lmdb",
        "data/imagenet/val_lmdb",
        {"mirror": True} | crop,
        1000,
        test_transform={"mirror": False} | crop,
    )


CIFAR10 = ("examples/cifar10", "cifar10", 10)
CIFAR100 = ("data/cifar100", "cifar100", 100)
NOTE = "Written by prototxt/generate.py: change it there."


def nets() -> dict[str, tuple[str, Net]]:
    """File name without suffix -> (what it is, net)."""
    made: dict[str, tuple[str, Net]] = {
        "lenet": ("LeNet for MNIST, Caffe's lenet_train_test with batch 512.", lenet(MNIST)),
        "lenet_batch128": ("LeNet for MNIST with batch 128.", lenet(MNIST, train_batch=128)),
        "lenet_sample": (
            "LeNet for the sample of 10,000 + 2,000 real digits that ships with the package.",
            lenet(SAMPLE, train_batch=64),
        ),
    }
    titles = {
        resnet56: "ResNet-56",
        wide32: "Wide ResNet-32",
        densenet40: "DenseNet-40",
    }
    for suffix, title, place in (("", "CIFAR-10", CIFAR10), ("_cifar100", "CIFAR-100", CIFAR100)):
        plain, augmented = cifar(*place, augment=False), cifar(*place, augment=True)
        made[f"cifar3{suffix}"] = (f"The report's 3-layer net for {title}.", cifar3(plain))
        made[f"lenet{suffix or '_cifar10'}"] = (f"LeNet for {title}.", lenet(plain))
        for build, name in titles.items():
            made[f"{build.__name__}{suffix}"] = (f"{name} for {title}.", build(augmented))
    made["cifar3_mnist"] = ("The report's 3-layer net for MNIST.", cifar3(MNIST))
    for build, name in titles.items():
        made[f"{build.__name__}_mnist"] = (f"{name} for MNIST.", build(MNIST))
    # Other batches, for the figures that vary it; `run --batch` needs none of these files.
    plain, augmented = cifar(*CIFAR10, augment=False), cifar(*CIFAR10, augment=True)
    for batch, figure in ((512, "7d"), (2048, "12a")):
        title = f"The report's 3-layer net for CIFAR-10 with batch {batch}: figure {figure}."
        made[f"cifar3_b{batch}"] = title, cifar3(plain, train_batch=batch)
    for batch in (32, 64, 250, 256):
        title = f"ResNet-56 for CIFAR-10 with batch {batch} per replica."
        made[f"resnet56_b{batch}"] = title, resnet56(augmented, train_batch=batch)
    for batch in (64, 256):
        title = (
            f"ResNet-56 for CIFAR-100 with batch {batch} per replica: total batch {4 * batch} on 4."
        )
        net = resnet56(cifar(*CIFAR100, augment=True), train_batch=batch)
        made[f"resnet56_cifar100_b{batch}"] = title, net
    title = "DenseNet-40 for CIFAR-10 with batch 64 per replica: total batch 256 on 4."
    made["densenet40_b64"] = title, densenet40(augmented, train_batch=64)
    made["resnet50"] = ("ResNet-50 for ImageNet.", resnet50(imagenet()))
    made["inception_resnet_v2"] = (
        "Inception-ResNet-v2 for ImageNet.",
        inception_resnet_v2(imagenet()),
    )
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    changed = []
    for name, (title, net) in nets().items():
        path = HERE / f"{name}.prototxt"
        text = net.text(f"{title}\n{NOTE}")
        if not path.exists() or path.read_text() != text:
            changed.append(path)
            if not check:
                path.write_text(text)
    for path in changed:
        print(("differs: " if check else "wrote ") + path.name)
    return 1 if check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
