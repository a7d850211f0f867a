"""Record databases: read as Caffe's cursor does, and never trusted."""

import io
import os
import shutil

import lmdb
import numpy as np
import pytest

from pycaffe_clr import proto
from pycaffe_clr.data import LmdbSource, datum, mdb, writer
from pycaffe_clr.errors import DataError

GOLDEN = ["mnist_train_lmdb", "mnist_test_lmdb", "cifar10_train_lmdb", "cifar10_test_lmdb"]


def random_set(count, shape=(1, 28, 28), seed=0):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, *shape), np.uint8)
    return images, generator.integers(0, 10, count)


def put(folder, items):
    """A database of any values, written by the LMDB library."""
    environment = lmdb.open(str(folder), map_size=1 << 26)
    with environment.begin(write=True) as transaction:
        for key, value in items:
            transaction.put(key, value)
    environment.close()
    return folder


@pytest.fixture
def database(tmp_path):
    images, labels = random_set(300)
    path = tmp_path / "db"
    writer.write_records(path, images, labels, 8)
    return path


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 1, 1), (3, 40, 50)])
@pytest.mark.parametrize("count", [1, 2, 700])
def test_records_come_back_as_written(tmp_path, shape, count):
    images, labels = random_set(count, shape)
    writer.write_records(tmp_path / "db", images, labels, 5)
    source = LmdbSource(tmp_path / "db")
    assert source.shape == shape and len(source) == count and source.dtype == np.uint8
    data, got = source.read(0, count)
    assert np.array_equal(data, images) and np.array_equal(got, labels)
    held = source.held
    assert np.array_equal(held.data, images) and np.array_equal(held.labels, labels)
    assert got.dtype == held.labels.dtype == np.int32
    assert source.describe(count - 1).endswith(f"record {count - 1} (key '{count - 1:05d}')")


def test_the_index_is_what_the_library_reads(tmp_path):
    generator = np.random.default_rng(3)
    items = {
        b"%d" % generator.integers(1 << 40): generator.bytes(int(generator.integers(0, 9000)))
        for _ in range(900)
    }
    path = put(tmp_path / "db", items.items())
    environment = lmdb.open(str(path))
    with environment.begin(write=True) as transaction:  # leaves holes, and pages out of order
        for key in list(items)[::3]:
            transaction.delete(key)
            del items[key]
    environment.close()
    buffer = mdb.map_file(path / "data.mdb")
    index = mdb.index_records(buffer, path)
    got = [
        (buffer[k : k + ks].tobytes(), buffer[v : v + vs].tobytes())
        for k, ks, v, vs in zip(
            index.key_at, index.key_size, index.value_at, index.value_size, strict=True
        )
    ]
    assert got == sorted(items.items())


def test_reading_needs_no_lock_file_and_no_write_permission(database):
    assert not (database / "lock.mdb").exists()
    (database / "data.mdb").chmod(0o444)
    database.chmod(0o555)
    try:
        assert len(LmdbSource(database).held.data) == 300
        assert not (database / "lock.mdb").exists()
    finally:
        database.chmod(0o755)


def test_a_read_wraps_at_the_end_and_fills_a_given_array(database):
    source = LmdbSource(database, hold_limit=0)
    assert source.held is None
    out = np.empty((5, 1, 28, 28), np.uint8)
    data, labels = source.read(298, 5, out=out)
    expected, expected_labels = source.read([298, 299, 0, 1, 2])
    assert data is out
    assert np.array_equal(out, expected) and np.array_equal(labels, expected_labels)
    with pytest.raises(DataError, match="record 300 asked for, there are 300"):
        source.read([300])
    with pytest.raises(DataError, match="contiguous uint8"):
        source.read(0, 4, out=out)


def test_a_missing_database_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(DataError, match="no such database.*pycaffe_clr data cifar10"):
        LmdbSource(tmp_path / "examples/cifar10/cifar10_train_lmdb")


def test_an_empty_database_is_refused(tmp_path):
    with pytest.raises(DataError, match="the database is empty"):
        LmdbSource(put(tmp_path / "db", []))
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="has no data.mdb"):
        LmdbSource(tmp_path / "folder")
    (tmp_path / "folder" / "data.mdb").touch()
    with pytest.raises(DataError, match="the file is empty"):
        LmdbSource(tmp_path / "folder")


@pytest.mark.parametrize("keep", [1, 100, 4096, 8192, 40000, 150000])
def test_a_truncated_database_is_refused(database, keep):
    os.truncate(database / "data.mdb", keep)
    with pytest.raises(DataError, match="truncated|damaged"):
        LmdbSource(database)


def test_damaged_pages_never_crash(database, tmp_path):
    whole = (database / "data.mdb").read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(int(generator.integers(1, 20))):
            # Headers and node tables are at the start of pages: aim there half of the time.
            page = int(generator.integers(len(whole) // 4096)) * 4096
            at = page + int(generator.integers(200 if generator.random() < 0.5 else 4096))
            damaged[at] = int(generator.integers(256))
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            source = LmdbSource(tmp_path / "damaged")
            assert source.held.data.shape == (300, 1, 28, 28)
        except DataError:
            refused += 1
    assert refused > 50


def test_other_files_are_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"no database at all " * 1000)
    with pytest.raises(DataError, match="not an LMDB database"):
        LmdbSource(tmp_path / "file")


def test_a_broken_datum_is_named_by_number_and_key(tmp_path):
    images, labels = random_set(20)
    items = [(b"%05d" % i, datum.encode(images[i], int(labels[i]))) for i in range(20)]
    for broken, message in (
        (b"\xff\xff", "not a Datum"),
        (items[0][1][:-5], "not a Datum"),
        (b"", "empty shape"),
        (proto.Datum(channels=1, height=28, width=28).SerializeToString(), "needs 784 values"),
        (datum.encode(images[0, :, :5], 1), "1x5x28 .C x H x W. of uint8, but record 0 is 1x28x28"),
        (datum.encode(images[0].astype(np.float32), 1), "of float32, but record 0"),
        (proto.Datum(encoded=True, data=b"no image").SerializeToString(), "compressed image"),
    ):
        items[7] = (b"00007", broken)
        source = LmdbSource(put(tmp_path / "db", items))
        with pytest.raises(DataError, match=rf"record 7 \(key '00007'\).*{message}"):
            source.read(0, 20)
        with pytest.raises(DataError, match="record 7"):
            assert source.held


def test_records_of_several_layouts_are_mixed(tmp_path):
    """Two-byte and negative labels, no label, fields in another order, unknown fields."""
    images, _ = random_set(12)
    labels = [0, 5, 127, 128, 999, 70000, -1, -2, 1 << 30, 3, 3, 4]
    values = [datum.encode(images[i], labels[i]) for i in range(12)]
    labels[1] = 0
    values[1] = datum.raw_prefix((1, 28, 28)) + images[1].tobytes()
    values[2] = b"\x28\x7f\x38\x00" + values[2][:-2]  # label first, encoded: false
    values[3] += b"\x28\x01"  # a field given twice: the last one counts
    labels[3] = 1
    values[4] = b"\x4a\x02hi" + values[4]
    source = LmdbSource(put(tmp_path / "db", [(b"%d" % (i + 10), v) for i, v in enumerate(values)]))
    assert np.array_equal(source.held.data, images)
    assert source.held.labels.tolist() == labels


def test_float_records_are_read_but_not_held(tmp_path):
    images = np.random.default_rng(0).normal(size=(6, 2, 3, 4)).astype(np.float32)
    items = [(b"%d" % i, datum.encode(images[i], i)) for i in range(6)]
    source = LmdbSource(put(tmp_path / "db", items))
    data, labels = source.read(0, 6)
    assert source.dtype == np.float32 and source.held is None
    assert np.array_equal(data, images) and labels.tolist() == list(range(6))


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_databases_are_read_as_by_the_library(name, tmp_path, shared):
    copy = tmp_path / name
    copy.mkdir()
    shutil.copyfile(shared / "golden/data" / name / "data.mdb", copy / "data.mdb")
    held = LmdbSource(shared / "golden/data" / name).held
    with lmdb.open(str(copy), readonly=True, lock=False) as environment:
        values = [value for _, value in environment.begin().cursor()]
    assert len(values) == len(held.data)
    for value, image, label in zip(values, held.data, held.labels, strict=True):
        message = proto.Datum.FromString(value)
        assert (message.data, message.label) == (image.tobytes(), label)
        assert datum.encode(image, int(label)) == value


def test_compressed_images_are_decoded_in_many_threads_and_in_order(tmp_path):
    pictures = pytest.importorskip("PIL.Image")
    values = []
    for index in range(40):
        file = io.BytesIO()
        pictures.new("L", (3, 2), index).save(file, "PNG")
        values.append(proto.Datum(encoded=True, data=file.getvalue(), label=index))
    values[30].data = b"no image"
    items = [(b"%02d" % i, value.SerializeToString()) for i, value in enumerate(values)]
    source = LmdbSource(put(tmp_path / "db", items), hold_limit=0)
    images, labels = source.read(0, 30)
    assert images[:, 0, 0, 0].tolist() == labels.tolist() == list(range(30))
    with pytest.raises(DataError, match="record 30 .*cannot decode"):
        source.read(20, 20)
