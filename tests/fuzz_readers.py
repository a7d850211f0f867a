"""Reads spoilt pictures, lists, databases and old nets: `python fuzz_readers.py SEED COUNT [FILE]`.

Run in a process of its own, as fuzz_files.py is; the bytes it was at are in FILE then.
"""

from __future__ import annotations

import io
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import lmdb
import numpy as np
from fuzz_files import drive, run_alone
from PIL import Image

import pycaffe_clr as caffe
from pycaffe_clr import proto
from pycaffe_clr.data.mean import encode_mean, read_mean
from pycaffe_clr.data.sources import open_source
from pycaffe_clr.experiments.logs import read_rows
from pycaffe_clr.export.build import graph_of
from pycaffe_clr.prototxt.upgrade_file import upgraded
from pycaffe_clr.prototxt.writer import format_message

GOLDEN = Path(__file__).parent / "golden"
DATA = """layer {{ name: "d" type: "{type}" top: "data" top: "label" {fields} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param {{ num_output: 2 }} }}"""
V0 = b"""name: "old" input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers { layer { name: "conv1" type: "conv" num_output: 2 kernelsize: 3 blobs_lr: 1 blobs_lr: 2
  weight_decay: 1 weight_decay: 0 } bottom: "pad1" top: "conv1" }
"""
LOG = b"""I0321 09:01:36.000000 1 solver.cpp:330] Iteration 0, Testing net (#0)
I0321 09:01:37.000000 1 solver.cpp:397]     Test net output #0: accuracy = 0.1
I0321 09:01:38.000000 1 solver.cpp:218] Iteration 0 (1 iter/s, 2s/10 iters), loss = 2.4
I0321 09:01:38.000000 1 solver.cpp:237]     Train net output #0: loss = 2.4 (* 1 = 2.4 loss)
I0321 09:01:38.000000 1 sgd_solver.cpp:105] Iteration 0, lr = 0.01
"""


def picture(kind: str, **settings: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **settings)
    return file.getvalue()


def run(text: str) -> None:
    """A pass of a net."""
    Path("net.prototxt").write_text(text)
    caffe.Net("net.prototxt", caffe.TEST, seed=1).forward()


class Readers:
    """Files in the working directory, and what reads each."""

    def __init__(self) -> None:
        Path("a.png").write_bytes(picture("png"))
        v1 = proto.NetParameter.FromString((GOLDEN / "files/lenet_v1.caffemodel").read_bytes())
        with h5py.File("good.h5", "w") as file:
            file["data"] = np.ones((4, 3), np.float32)
            file["label"] = np.zeros((4, 1), np.float32)
        with h5py.File("packed.h5", "w") as file:
            file.create_dataset("data", data=np.ones((4, 3)), compression="gzip", chunks=(2, 3))
            file["label"] = np.zeros((4, 1), np.int32)
        with lmdb.open("db", map_size=1 << 20) as database, database.begin(write=True) as writing:
            for number in range(3):
                writing.put(b"%d" % number, self.encoded(picture("png")))
        shutil.copytree(GOLDEN / "leveldb", "level")
        model = proto.NetParameter(name="m")
        for layer in v1.layers[:4]:
            model.layers.add().CopyFrom(layer)
        weights = (GOLDEN / "files/lenet_bin_iter_5.caffemodel").read_bytes()
        deploy = proto.NetParameter.FromString(weights)
        for layer in deploy.layer:
            layer.ClearField("blobs")
        del deploy.layer[0], deploy.layer[-1]  # Data, loss
        deploy.input.append("data")
        deploy.input_shape.add(dim=[1, 1, 28, 28])
        Path("deploy.prototxt").write_text(format_message(deploy))
        windows = b"# 0\na.png\n3\n6\n8\n2\n3 0.9 0 0 3 3\n1 0.1 4 1 7 5\n"
        self.seeds: list[tuple[Callable[[bytes], None], bytes]] = [
            *((self.image, picture(kind)) for kind in ("png", "jpeg", "gif", "bmp", "tiff", "ppm")),
            (self.image, picture("jpeg", progressive=True)),
            (self.image_data, picture("jpeg")),
            (self.record, self.encoded(picture("png"))),
            (self.image_list, b"a.png 0\na.png 1\n"),
            (self.windows, windows),
            (self.hdf5, Path("good.h5").read_bytes()),
            (self.hdf5, Path("packed.h5").read_bytes()),
            (self.hdf5_list, b"good.h5\n./good.h5\n"),
            (self.mean, encode_mean(np.ones((3, 4, 5), np.float32))),
            (self.upgrade, model.SerializeToString()),
            (self.upgrade, (GOLDEN / "files/v1_net.prototxt").read_bytes()),
            (self.upgrade, (GOLDEN / "files/v0_net.prototxt").read_bytes()),
            (self.upgrade, V0),
            (self.upgrade, (GOLDEN / "files/solver_old.prototxt").read_bytes()),
            (self.export, weights),
            (self.log, LOG),
            *(
                (self.level(path.name), path.read_bytes())
                for path in sorted((GOLDEN / "leveldb").iterdir())
            ),
        ]

    @staticmethod
    def encoded(data: bytes) -> bytes:
        return bytes(proto.Datum(encoded=True, data=data, label=1).SerializeToString())

    def image(self, data: bytes) -> None:
        Path("bad.png").write_bytes(data)
        assert caffe.io.load_image("bad.png").ndim == 3

    def image_data(self, data: bytes) -> None:
        Path("bad.jpg").write_bytes(data)
        self.image_list(b"a.png 0\nbad.jpg 1\n")

    def record(self, data: bytes) -> None:
        with lmdb.open("db", map_size=1 << 20) as database, database.begin(write=True) as writing:
            writing.put(b"1", data)
        run(DATA.format(type="Data", fields='data_param { source: "db" batch_size: 3 }'))

    def image_list(self, data: bytes) -> None:
        Path("list.txt").write_bytes(data)
        fields = 'image_data_param { source: "list.txt" batch_size: 2 }'
        run(DATA.format(type="ImageData", fields=fields))

    def windows(self, data: bytes) -> None:
        Path("windows.txt").write_bytes(data)
        fields = (
            "transform_param { crop_size: 4 } "
            'window_data_param { source: "windows.txt" batch_size: 4 context_pad: 1 }'
        )
        run(DATA.format(type="WindowData", fields=fields))

    def hdf5(self, data: bytes) -> None:
        Path("bad.h5").write_bytes(data)
        self.hdf5_list(b"bad.h5\n")

    def hdf5_list(self, data: bytes) -> None:
        Path("h5.txt").write_bytes(data)
        fields = 'hdf5_data_param { source: "h5.txt" batch_size: 3 }'
        run(DATA.format(type="HDF5Data", fields=fields))

    def mean(self, data: bytes) -> None:
        Path("bad.binaryproto").write_bytes(data)
        read_mean("bad.binaryproto")

    def upgrade(self, data: bytes) -> None:
        Path("old").write_bytes(data)
        upgraded(Path("old"))

    def export(self, data: bytes) -> None:
        """On its way to ONNX or PyTorch."""
        Path("bad.caffemodel").write_bytes(data)
        graph_of(caffe.Net("deploy.prototxt", caffe.TEST, weights="bad.caffemodel"))

    def log(self, data: bytes) -> None:
        Path("caffe.log").write_bytes(data)
        read_rows("caffe.log")

    def level(self, name: str) -> Callable[[bytes], None]:
        def read(data: bytes) -> None:
            before = Path("level", name).read_bytes()
            Path("level", name).write_bytes(data)
            try:
                open_source("level").read(0, 1)
            finally:
                Path("level", name).write_bytes(before)

        return read


def main(seed: int, count: int, file: Path | None = None) -> None:
    warnings.simplefilter("ignore")  # Pillow's, of pictures that claim to be large
    drive(Readers().seeds, random.Random(seed), count, file)


if __name__ == "__main__":
    run_alone(main)
