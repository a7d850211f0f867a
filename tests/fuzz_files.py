"""Reads spoilt weights, states and records: `python fuzz_files.py SEED COUNT [FILE]`.

Run in a process of its own, as a crash would end it; the bytes it was at are in FILE then.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb
import numpy as np

from pycaffe_clr import proto
from pycaffe_clr.data.writer import write_records
from pycaffe_clr.engine import ready_core
from pycaffe_clr.errors import PycaffeClrError
from pycaffe_clr.prototxt import read_solver
from pycaffe_clr.train.session import Session

NET = """
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label"
  data_param { source: "db" batch_size: 3 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "ip" type: "InnerProduct" bottom: "bn" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" type: "SGD" lr_policy: "fixed" base_lr: 1e-4 momentum: 0.9 max_iter: 9
snapshot_prefix: "snap"
"""


def spoil(data: bytes, pick: random.Random) -> bytes:
    """Change, cut out, double or append bytes; the beginning, where lengths stand, more often."""
    out = bytearray(data)
    for _ in range(pick.choice([1, 1, 2, 5])):
        if not out:
            break
        end = len(out) if pick.random() < 0.6 else min(len(out), 120)
        at = pick.randrange(end)
        kind = pick.random()
        if kind < 0.5:
            out[at] = pick.choice([0, 1, 0x7F, 0x80, 0xFF, pick.randrange(256)])
        elif kind < 0.65:
            out[at] ^= 1 << pick.randrange(8)
        elif kind < 0.8:
            del out[at : at + pick.choice([1, 1, 4, 100])]
        elif kind < 0.9:
            out[at:at] = bytes(out[at : at + pick.choice([1, 8, 64])])
        else:
            del out[at:]
    return bytes(out)


class Case:
    """A small solver in the working directory, with its files."""

    def __init__(self) -> None:
        Path("net.prototxt").write_text(NET)
        Path("solver.prototxt").write_text(SOLVER)
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (8, 1, 6, 6), np.uint8)
        write_records(Path("db"), images, np.arange(8) % 3, 8)
        session = self.session()
        session.step(2)
        weights, state = session.snapshot()
        session.param.snapshot_format = 0
        weights5, state5 = session.snapshot()
        datum = proto.Datum(channels=1, height=6, width=6, label=1, data=bytes(36))
        self.seeds: list[tuple[Callable[[bytes], None], bytes]] = [
            (self.load, weights.read_bytes()),
            (self.restore, state.read_bytes()),
            (self.record, datum.SerializeToString()),
            (self.load_hdf5, weights5.read_bytes()),
            (self.restore_hdf5, state5.read_bytes()),
            (self.database, Path("db/data.mdb").read_bytes()),
        ]

    def session(self) -> Session:
        return Session(read_solver("solver.prototxt"), path="solver.prototxt", seed=1)

    def load(self, data: bytes, name: str = "bad.caffemodel") -> None:
        Path(name).write_bytes(data)
        session = self.session()
        session.load(name)
        session.step(1)

    def load_hdf5(self, data: bytes) -> None:
        self.load(data, "bad.caffemodel.h5")

    def restore(self, data: bytes, name: str = "bad.solverstate") -> None:
        Path(name).write_bytes(data)
        session = self.session()
        session.restore(name)
        session.step(1)

    def restore_hdf5(self, data: bytes) -> None:
        self.restore(data, "bad.solverstate.h5")

    def record(self, data: bytes) -> None:
        """A record between good ones; held in memory or not, the step meets it."""
        environment = lmdb.open("db", map_size=1 << 22, lock=False)
        with environment.begin(write=True) as transaction:
            before = transaction.get(b"00000004")
            transaction.put(b"00000004", data)
        try:
            self.session().step(3)
        finally:
            with environment.begin(write=True) as transaction:
                transaction.put(b"00000004", before)
            environment.close()

    def database(self, data: bytes) -> None:
        file = Path("db/data.mdb")
        before = file.read_bytes()
        try:
            file.write_bytes(data)
            self.session().step(1)
        finally:
            file.write_bytes(before)


def drive(
    seeds: Sequence[tuple[Callable[[bytes], None], bytes]],
    pick: random.Random,
    count: int,
    file: Path | None,
) -> None:
    """Have each reader read its own bytes, then spoilt ones; print what came of them.

    file: where the bytes are left that it was at.
    """
    logging.disable(logging.CRITICAL)
    ready_core().set_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    told: Counter[str] = Counter()
    for number in range(count):
        act, data = seeds[number % len(seeds)]
        if number >= len(seeds):
            data = spoil(data, pick)
        if file is not None:
            file.write_bytes(data)
        try:
            act(data)
            outcome = "read"
        except PycaffeClrError as error:
            outcome = type(error).__name__
            assert number >= len(seeds), f"{act.__name__}: the file itself: {error}"
        told[outcome] += 1
    print(dict(told))


def run_alone(main: Callable[[int, int, Path | None], None]) -> None:
    """Call main with the command line's seed, count and perhaps file, in a folder of its own."""
    arguments = sys.argv[1:]
    target = Path(arguments[2]).resolve() if len(arguments) > 2 else None
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        main(int(arguments[0]), int(arguments[1]), target)


def main(seed: int, count: int, file: Path | None = None) -> None:
    drive(Case().seeds, random.Random(seed), count, file)


if __name__ == "__main__":
    run_alone(main)
