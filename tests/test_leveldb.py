"""LevelDB databases, as the library wrote them, and hostile ones."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

import pycaffe_clr as caffe
from pycaffe_clr.data import leveldb, snappy
from pycaffe_clr.data.sources import LevelDbSource, open_source
from pycaffe_clr.errors import DataError

# By LevelDB 1.23: 60 records in a compressed table, of which one was written anew later; then 20
# more in a log, half of them in one batch. One more was written and deleted again.
GOLDEN = Path(__file__).parent / "golden" / "leveldb"
TABLE, LOG = "000005.ldb", "000007.log"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "db"))


def test_records_come_in_the_order_of_their_keys():
    source = open_source(GOLDEN)
    assert isinstance(source, LevelDbSource) and len(source) == 80 and source.shape == (1, 6, 5)
    images, labels = source.read(0, 80)
    assert labels.tolist() == list(range(80))
    for index, image in enumerate(images[:, 0]):
        assert (image[:, index % 5] == 255 - index).all()
    assert source.describe(70).endswith("(key '00000070')")
    assert source.held is not None and np.array_equal(source.held.data, images)
    assert source.describe(70).endswith("(key '00000070')")


def test_a_net_reads_it(tmp_path, one_thread):
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "data" type: "Data" top: "data" top: "label" '
        f'data_param {{ source: "{GOLDEN}" batch_size: 30 }} }}'
    )
    built = caffe.Net(net, caffe.TEST)
    for begin in (0, 30):
        built.forward()
        assert built.blobs["label"].data.tolist() == list(range(begin, begin + 30))


@pytest.mark.parametrize("name", [TABLE, LOG, "MANIFEST-000006", "CURRENT"])
def test_every_file_may_end_early(database, name):
    whole = (database / name).read_bytes()
    found = set()
    for size in range(0, len(whole), max(1, len(whole) // 60)):
        (database / name).write_bytes(whole[:size])
        try:
            found.add(len(leveldb.unpack(database)[1]))
        except DataError as error:
            assert str(database) in str(error)
    # A log that was not written to its end loses what was in it, nothing else.
    assert found <= (set(range(60, 81)) if name == LOG else {80, 20, 21, 0})


@pytest.mark.parametrize("name", [TABLE, LOG, "MANIFEST-000006", "CURRENT"])
def test_hostile_bytes_are_errors(database, name):
    whole = (database / name).read_bytes()
    rng = np.random.default_rng(7)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256)
        (database / name).write_bytes(data)
        try:
            assert len(leveldb.unpack(database)[1]) <= 82
        except DataError:
            refused += 1
    assert refused >= 10


def test_a_missing_table_is_named(database):
    (database / TABLE).unlink()
    with pytest.raises(DataError, match="table 000005.ldb is missing"):
        open_source(database)
    (database / "CURRENT").write_text("../elsewhere\n")
    with pytest.raises(DataError, match="CURRENT names"):
        open_source(database)


def test_the_older_name_of_tables(database):
    (database / TABLE).rename(database / "000005.sst")
    assert len(open_source(database)) == 80


# --- snappy ---------------------------------------------------------------------------------------


def test_literals_and_copies():
    long = bytes(range(256)) * 2
    assert snappy.decompress(b"\x05\x10hello") == b"hello"
    # 61: the length follows in two bytes.
    assert snappy.decompress(b"\x80\x04\xf4" + struct.pack("<H", 511) + long) == long
    # A copy that repeats what it writes; the same with an offset of two and of four bytes.
    for copy in (b"\x19\x01", b"\x26\x01\x00", b"\x27\x01\x00\x00\x00"):
        assert snappy.decompress(b"\x0b\x00x" + copy) == b"x" * 11
    assert snappy.decompress(b"\x0b\x04ab\x15\x02") == b"abababababa"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05\x10hell",  # ends early
        b"\x06\x10hello",  # shorter than announced
        b"\x04\x10hello",  # longer
        b"\x05\x01\x01",  # refers to what is before the beginning
        b"\x05\x00x\x01\x00",  # to nothing
        b"\x05\x00x\x0e",  # the offset is missing
        b"\xff\xff\xff\xff\x0f\x00x",  # far too much
    ],
)
def test_what_is_not_compressed_by_snappy_is_refused(data):
    with pytest.raises(ValueError):
        snappy.decompress(data)
