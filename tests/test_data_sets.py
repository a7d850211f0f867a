"""The makers' own files to the databases and mean files of Caffe's examples."""

import argparse
import gzip
import io
import os
import pickle
import subprocess
import sys
import tarfile

import make_sample
import numpy as np
import pytest

from pycaffe_clr.cli import data as command
from pycaffe_clr.data import LmdbSource, cifar, mean, mnist, read_mean, sample, synthetic, writer
from pycaffe_clr.errors import ConfigError, DataError, PycaffeClrError


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args([str(word) for word in words]))


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def make_digits(folder, zipped):
    """The four idx files of a tiny MNIST; returns training images and labels."""
    generator = np.random.default_rng(0)
    kept = {}
    for name in mnist.NAMES:
        count = 30 if name.startswith("train") else 20
        shape = (count, 28, 28) if "images" in name else (count,)
        kept[name] = generator.integers(0, 10, shape, np.uint8)
        data = idx(kept[name])
        (folder / (name + ".gz" if zipped else name)).write_bytes(
            gzip.compress(data) if zipped else data
        )
    return kept[mnist.NAMES[0]], kept[mnist.NAMES[1]]


def batch(kind, count, seed):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 3072), np.uint8)
    return images, generator.integers(0, kind.classes, count).tolist()


def pickled(kind, images, labels, protocol=2):
    label_key = kind.label_key.decode()
    data = pickle.dumps({"data": images, label_key: labels, "filenames": ["a"]}, protocol)
    if protocol < 4:  # later ones store the length of names
        data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    return data


def make_cifar(folder, kind, version):
    """The files of a tiny CIFAR; returns training images (N, 3, 32, 32) and labels."""
    names = kind.binary_names if version == "binary" else kind.python_names
    train = []
    for seed, name in enumerate(names):
        images, labels = batch(kind, 7, seed)
        if version == "binary":
            columns = [np.array(labels, np.uint8)[:, None]] * kind.label_bytes
            if kind.label_bytes == 2:
                columns[0] = columns[0] // 5  # the coarse label stands first
            data = np.concatenate([*columns, images], 1).tobytes()
        else:
            data = pickled(kind, images, labels)
        (folder / name).write_bytes(data)
        if name != names[-1]:
            train.append((images, labels))
    return (
        np.concatenate([images for images, _ in train]).reshape(-1, 3, 32, 32),
        np.concatenate([labels for _, labels in train]),
    )


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_from_idx_files(tmp_path, zipped):
    images, labels = make_digits(tmp_path, zipped)
    assert run("mnist", "--from", tmp_path, "--root", tmp_path / "root") == 0
    source = LmdbSource(tmp_path / "root/examples/mnist/mnist_train_lmdb")
    assert np.array_equal(source.held.data[:, 0], images)
    assert np.array_equal(source.held.labels, labels)
    assert source.describe(3).endswith("(key '00000003')")
    assert len(LmdbSource(tmp_path / "root/examples/mnist/mnist_test_lmdb")) == 20


@pytest.mark.parametrize("kind", [cifar.CIFAR10, cifar.CIFAR100], ids=lambda kind: kind.name)
@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("packed", ["plain", "below", "tar.gz", "archive itself"])
def test_cifar_from_the_makers_files(tmp_path, kind, version, packed):
    folder = tmp_path / "cifar-batches"
    folder.mkdir()
    images, labels = make_cifar(folder, kind, version)
    place = folder if packed == "plain" else tmp_path
    if packed in ("tar.gz", "archive itself"):
        place = tmp_path / "packed"
        place.mkdir()
        digits = kind.name.removeprefix("cifar")
        archive = place / f"cifar-{digits}-{version}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder, "cifar-batches")
        place = archive if packed == "archive itself" else place
    assert run(kind.name, "--from", place, "--root", tmp_path / "root") == 0
    source = LmdbSource(tmp_path / "root" / kind.train_lmdb)
    assert np.array_equal(source.held.data, images)
    assert np.array_equal(source.held.labels, labels)
    assert source.describe(3).endswith("(key '00003')")
    assert len(LmdbSource(tmp_path / "root" / kind.test_lmdb)) == 7
    expected = images.astype(np.float32).sum(0) / np.float32(len(images))
    assert np.array_equal(read_mean(tmp_path / "root" / kind.mean_file, (3, 32, 32)), expected)


def test_paths_are_those_of_caffes_examples():
    assert str(mnist.TRAIN_LMDB) == "examples/mnist/mnist_train_lmdb"
    assert str(cifar.CIFAR10.train_lmdb) == "examples/cifar10/cifar10_train_lmdb"
    assert str(cifar.CIFAR10.mean_file) == "examples/cifar10/mean.binaryproto"
    assert str(cifar.CIFAR100.test_lmdb) == "data/cifar100/cifar100_test_lmdb"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_batches_of_every_pickle_protocol_are_read(protocol):
    images, labels = batch(cifar.CIFAR10, 3, 0)
    data = pickled(cifar.CIFAR10, images, labels, protocol)
    found = cifar.unpickle(data, "batch")
    key = "data" if "data" in found else b"data"
    assert np.array_equal(found[key].to_numpy(), images)


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Evil()),
        pickle.dumps({"data": np.array([Evil()], object), "labels": [1]}, 2),
        pickle.dumps([1, 2]),
        pickle.dumps({"data": 3, "labels": [1]}),
        pickle.dumps({"data": np.zeros((2, 3072), np.float32), "labels": [1, 2]}),
        pickle.dumps({"data": np.zeros((2, 5), np.uint8), "labels": [1, 2]}),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1, -1]}),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": ["a", "b"]}),
        b"",
        b"\x80\x02",
        b"no pickle",
    ],
)
def test_a_pickle_runs_nothing_and_is_checked(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    for name in cifar.CIFAR10.python_names:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError):
        cifar.read(tmp_path, cifar.CIFAR10)
    assert not (tmp_path / "pwned").exists()


def test_fuzzed_batches_never_crash(tmp_path):
    generator = np.random.default_rng(0)
    images, labels = batch(cifar.CIFAR10, 2, 0)
    whole = pickled(cifar.CIFAR10, images, labels)
    refused = 0
    for _ in range(80):
        data = bytearray(whole)
        ends = [*range(120), *range(len(data) - 60, len(data))]
        for _ in range(2):
            data[generator.choice(ends)] = int(generator.integers(256))
        for name in cifar.CIFAR10.python_names:
            (tmp_path / name).write_bytes(data)
        try:
            train, _ = cifar.read(tmp_path, cifar.CIFAR10)
            assert train.images.shape[1:] == (3, 32, 32) and train.labels.max() < 10
        except DataError:
            refused += 1
    assert 60 < refused < 80


def test_broken_binary_files_are_named(tmp_path):
    make_cifar(tmp_path, cifar.CIFAR10, "binary")
    with (tmp_path / "data_batch_4.bin").open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(DataError, match="data_batch_4.bin: 3000 bytes are no whole number"):
        cifar.read(tmp_path, cifar.CIFAR10)
    (tmp_path / "data_batch_4.bin").write_bytes(bytes([10]) * 3073)
    with pytest.raises(DataError, match="data_batch_4.bin: record 0 has the label 10"):
        cifar.read(tmp_path, cifar.CIFAR10)
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match="expected the files of cifar10"):
        cifar.read(tmp_path, cifar.CIFAR10)


def test_broken_archives_are_named(tmp_path):
    archive = tmp_path / "cifar-10-binary.tar.gz"
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        info = tarfile.TarInfo("x/data_batch_1.bin")
        info.size = 30000
        tar.addfile(info, io.BytesIO(np.random.default_rng(0).bytes(30000)))
    archive.write_bytes(file.getvalue())
    with pytest.raises(DataError, match="the archive has no data_batch_2.bin"):
        cifar.read(tmp_path, cifar.CIFAR10)
    archive.write_bytes(file.getvalue()[:9000])
    with pytest.raises(DataError, match="cifar-10-binary.tar.gz"):
        cifar.read(tmp_path, cifar.CIFAR10)


def test_broken_idx_files_are_named(tmp_path):
    make_digits(tmp_path, zipped=True)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    for content, message in (
        (gzip.compress(idx(np.arange(20, dtype=np.uint8))), "record 19 has the label 19"),
        (gzip.compress(idx(np.zeros(19, np.uint8))), r"images of shape \(20, 28, 28\)"),
        (gzip.compress(idx(np.zeros(20, np.uint8))[:-1]), "truncated or damaged"),
        (gzip.compress(idx(np.zeros(20, np.uint8)))[:-9], "cannot be read to its end"),
        (gzip.compress(b"hello"), "not an idx file"),
        (b"", "not an idx file"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            mnist.read(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="expected MNIST's file t10k-labels-idx1-ubyte"):
        mnist.read(tmp_path)


def test_nothing_is_overwritten_unless_asked(tmp_path):
    make_digits(tmp_path, zipped=False)
    arguments = ("mnist", "--from", tmp_path, "--root", tmp_path / "root")
    run(*arguments)
    before = (tmp_path / "root" / mnist.TRAIN_LMDB / "data.mdb").stat().st_ino
    with pytest.raises(DataError, match="exists already; give --force"):
        run(*arguments)
    assert (tmp_path / "root" / mnist.TRAIN_LMDB / "data.mdb").stat().st_ino == before
    run(*arguments, "--force")
    assert (tmp_path / "root" / mnist.TRAIN_LMDB / "data.mdb").stat().st_ino != before
    folder = (tmp_path / "root" / mnist.TRAIN_LMDB).parent
    assert sorted(p.name for p in folder.iterdir()) == ["mnist_test_lmdb", "mnist_train_lmdb"]


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands in for the disk."""
    code = f"""
import resource, numpy as np
from pathlib import Path
from pycaffe_clr.data import writer, mean
from pycaffe_clr.errors import DataError
resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))
images = np.zeros((2000, 1, 28, 28), np.uint8)
for write in (
    lambda: writer.write_records(Path({str(tmp_path)!r}, "db"), images, np.zeros(2000, int), 5),
    lambda: mean.write_mean(Path({str(tmp_path)!r}, "mean"), np.zeros((3, 256, 256))),
):
    try:
        write()
    except DataError as error:
        print("DataError", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all(line.startswith("DataError") for line in lines), done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_refused_before_writing(tmp_path, monkeypatch):
    usage = writer.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DataError, match="the disk is too full"):
        writer.write_records(tmp_path / "db", np.zeros((1, 1, 2, 2), np.uint8), np.zeros(1), 5)


def test_the_sample_is_balanced_and_small():
    train, test = sample.read()
    assert train.images.shape == (10000, 1, 28, 28) and test.images.shape == (2000, 1, 28, 28)
    assert np.bincount(train.labels).tolist() == [1000] * 10
    assert np.bincount(test.labels).tolist() == [200] * 10
    sizes = [path.stat().st_size for path in sample.FOLDER.iterdir()]
    assert sum(sizes) < 3 << 20 and max(sizes) < 1 << 20
    attribution = (sample.FOLDER / "ATTRIBUTION.txt").read_text()
    assert "LeCun" in attribution and "Attribution-Share Alike 3.0" in attribution


def test_the_sample_is_made_once(tmp_path):
    assert sample.make_sample(tmp_path) == tmp_path
    file = tmp_path / sample.TRAIN_LMDB / "data.mdb"
    before = file.stat()
    sample.make_sample(tmp_path)
    assert file.stat().st_ino == before.st_ino
    assert len(LmdbSource(tmp_path / sample.TEST_LMDB)) == 2000


def test_data_mnist_sample_writes_where_mnist_lies(tmp_path):
    run("mnist", "--sample", "--root", tmp_path)
    assert len(LmdbSource(tmp_path / "examples/mnist/mnist_train_lmdb")) == 10000


def test_the_sample_can_be_drawn_again(shared):
    drawn = make_sample.draw(*mnist.read(shared / "data" / "mnist"))
    for again, kept in zip(drawn, sample.read(), strict=True):
        assert np.array_equal(again.images, kept.images)
        assert np.array_equal(again.labels, kept.labels)


def test_the_samples_files_are_written_as_they_are_read(tmp_path, monkeypatch):
    images = np.arange(40 * 784, dtype=np.uint8).reshape(40, 1, 28, 28)
    split = mnist.Split(images, np.arange(40, dtype=np.uint8) % 10)
    make_sample.write_files(split, split, tmp_path)
    monkeypatch.setattr(sample, "FOLDER", tmp_path)
    for read in sample.read():
        assert np.array_equal(read.images, images) and np.array_equal(read.labels, split.labels)


@pytest.mark.parametrize("like", list(synthetic.LIKE))
def test_synthetic_sets_can_be_learnt_and_are_the_same_every_time(tmp_path, like):
    kind = synthetic.LIKE[like]
    counts = (8, 4) if like == "imagenet" else (20 * kind.classes, 100)
    run("synthetic", "--like", like, "--root", tmp_path, "--train", counts[0], "--test", counts[1])
    train, test = LmdbSource(tmp_path / kind.train_lmdb), LmdbSource(tmp_path / kind.test_lmdb)
    assert train.shape == kind.shape and (len(train), len(test)) == counts
    images, labels = synthetic.make_images(kind, counts[0], seed=1)
    assert np.array_equal(train.held.data, images) and np.array_equal(train.held.labels, labels)
    if kind.mean_file is not None:
        assert read_mean(tmp_path / kind.mean_file, kind.shape).shape == kind.shape
    if like != "imagenet":
        x, y = train.held.data.reshape(counts[0], -1).astype(float), train.held.labels
        centres = np.stack([x[y == label].mean(0) for label in range(kind.classes)])
        seen = test.held.data.reshape(counts[1], -1).astype(float)
        distance = (centres**2).sum(1) - 2 * seen @ centres.T
        assert (distance.argmin(1) == test.held.labels).mean() > 0.7


@pytest.mark.parametrize(
    "words",
    [
        ("synthetic",),
        ("synthetic", "--like", "mnist", "--train", "0"),
        ("cifar10", "--sample"),
        ("mnist", "--train", "5"),
        ("mnist", "--from", "nowhere"),
        ("mnist", "--sample", "--from", "."),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, words):
    with pytest.raises(PycaffeClrError):
        run(*words, "--root", tmp_path)
    with pytest.raises(ConfigError, match="known: mnist"):
        synthetic.make(tmp_path, "svhn")


def test_mean_files_are_checked(tmp_path):
    path = tmp_path / "mean.binaryproto"
    good = mean.encode_mean(np.ones((3, 4, 5)))
    path.write_bytes(good)
    assert np.array_equal(read_mean(path), np.ones((3, 4, 5), np.float32))
    with pytest.raises(DataError, match="3x4x5 .* records are 3x32x32"):
        read_mean(path, (3, 32, 32))
    for data, message in (
        (good[:-3], "not a mean file"),
        (b"", "holds 0 values"),
        (mean.encode_mean(np.full((1, 1, 1), np.nan)), "not finite"),
        (good.replace(b"\x08\x01\x10", b"\x08\x02\x10"), "expected the mean of one image"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataError, match=message):
            read_mean(path)
    with pytest.raises(DataError, match="no such mean file.*data cifar10"):
        read_mean(tmp_path / "examples/cifar10/mean.binaryproto")


def test_the_mean_is_caffes(shared):
    golden = shared / "golden" / "data"
    held = LmdbSource(golden / "cifar10_train_lmdb").held
    assert (
        mean.encode_mean(mean.mean_image(held.data)) == (golden / "mean.binaryproto").read_bytes()
    )


def test_golden_records_are_those_of_the_published_files(shared):
    """Caffe's own MNIST database holds records that the idx files give here."""
    train, _ = mnist.read(shared / "data" / "mnist")
    known = {image.tobytes(): label for image, label in zip(*train, strict=True)}
    held = LmdbSource(shared / "golden/data/mnist_train_lmdb").held
    assert [known[image.tobytes()] for image in held.data] == held.labels.tolist()
