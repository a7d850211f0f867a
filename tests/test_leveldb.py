"""LevelDB databases, as the library wrote them, and hostile ones."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

import pycaffe_clr as caffe
from pycaffe_clr.data import leveldb, snappy
from pycaffe_clr.data.leveldb_writer import crc32c
from pycaffe_clr.data.sources import LevelDbSource, open_source
from pycaffe_clr.data.writer import DatabaseWriter
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


# --- written here ---------------------------------------------------------------------------------


def test_checksums_are_those_of_the_format():
    # RFC 3720, B.4.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
    # Division by hand, of more than one byte in each of the pieces that are divided side by side.
    data, rest = np.random.default_rng(1).bytes(5000), 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
    assert crc32c(data) == rest ^ 0xFFFFFFFF


def test_what_is_written_is_read(tmp_path):
    rng = np.random.default_rng(5)
    records = {b"%08d_a" % i: rng.bytes(int(rng.integers(2000))) for i in range(700)}
    with DatabaseWriter(tmp_path / "db", backend="leveldb") as writer:
        for key, value in records.items():
            writer.put(key, value)
    data, index = leveldb.unpack(tmp_path / "db")
    keys, values = (
        [bytes(data[at : at + size]) for at, size in zip(places, sizes, strict=True)]
        for places, sizes in (
            (index.key_at, index.key_size),
            (index.value_at, index.value_size),
        )
    )
    assert dict(zip(keys, values, strict=True)) == records
    with (
        pytest.raises(DataError, match="does not ascend"),
        DatabaseWriter(tmp_path / "other", backend="leveldb") as writer,
    ):
        writer.put(b"2", b"")
        writer.put(b"1", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


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
