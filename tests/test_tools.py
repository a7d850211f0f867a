"""Caffe's tools: upgrade, convert-imageset, compute-mean, extract-features, parse-log, draw."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

import pycaffe_clr as caffe
from pycaffe_clr import cli
from pycaffe_clr.data import pictures
from pycaffe_clr.data.image_list import Conversion, convert, read_list
from pycaffe_clr.data.sources import open_source
from pycaffe_clr.data.writer import DatabaseWriter
from pycaffe_clr.prototxt.upgrade_file import upgraded

PB = caffe.proto.caffe_pb2


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def records(path: str) -> list[tuple[str, PB.Datum]]:
    """Keys and Datums, by the library."""
    with lmdb.open(path, readonly=True, lock=False) as database, database.begin() as transaction:
        return [(k.decode(), PB.Datum.FromString(v)) for k, v in transaction.cursor()]


# --- upgrade --------------------------------------------------------------------------------------

V0 = """
name: "old" input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers { layer { name: "conv1" type: "conv" num_output: 2 kernelsize: 3 blobs_lr: 1 blobs_lr: 2
  weight_decay: 1 weight_decay: 0 } bottom: "pad1" top: "conv1" }
"""


def test_old_text_is_upgraded(here, capsys):
    Path("old.prototxt").write_text(V0)
    assert cli.main(["upgrade", "old.prototxt", "new.prototxt"]) == 0
    assert "V0 layers to V1 layers" in capsys.readouterr().err
    net = caffe.prototxt.read_net("new.prototxt")
    assert [layer.type for layer in net.layer] == ["Input", "Convolution"]
    assert net.layer[1].convolution_param.pad == [2]
    assert "layers" not in Path("new.prototxt").read_text()
    assert cli.main(["upgrade", "new.prototxt", "again.prototxt"]) == 0
    assert "today's form already" in capsys.readouterr().out
    assert Path("again.prototxt").read_bytes() == Path("new.prototxt").read_bytes()


def test_old_models_are_upgraded_with_their_weights(here):
    old = PB.NetParameter(name="old")
    v1 = old.layers.add(name="ip", type="INNER_PRODUCT", bottom=["data"], top=["ip"])
    v1.blobs.add(num=1, channels=1, height=2, width=3, data=range(6))
    v0 = old.layers.add(bottom=["ip"], top=["conv"])
    v0.layer.name, v0.layer.type = "conv", "conv"
    v0.layer.blobs.add(num=1, channels=1, height=1, width=1, data=[7])
    Path("old.caffemodel").write_bytes(old.SerializeToString())
    assert cli.main(["upgrade", "old.caffemodel", "new.caffemodel"]) == 0
    new = PB.NetParameter.FromString(Path("new.caffemodel").read_bytes())
    assert not new.layers and [x.type for x in new.layer] == ["InnerProduct", "Convolution"]
    assert list(new.layer[0].blobs[0].data) == list(range(6)) and new.layer[1].blobs[0].data == [7]


def test_old_solvers_are_upgraded(here):
    Path("s.prototxt").write_text('net: "n.prototxt" base_lr: 0.1 solver_type: NESTEROV')
    assert cli.main(["upgrade", "s.prototxt", "new.prototxt"]) == 0
    assert 'type: "Nesterov"' in Path("new.prototxt").read_text()


@pytest.mark.parametrize("content", [b"\x00\x01\x02", b"\x08\x01", b'layer { type: "X', b""])
def test_what_cannot_be_upgraded_is_told(here, capsys, content):
    Path("x").write_bytes(content)
    code = cli.main(["upgrade", "x", "y"])
    assert code == 1 or content == b""
    assert ("error: x" in capsys.readouterr().err) == (code == 1)
    assert cli.main(["upgrade", "nothing", "y"]) == 1


def test_hostile_models_are_errors(here):
    net = PB.NetParameter(name="n")
    net.layers.add(name="ip", type="INNER_PRODUCT", bottom=["d"], top=["ip"]).blobs.add(
        num=1, channels=1, height=2, width=3, data=range(6)
    )
    whole = net.SerializeToString()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        data = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        data[rng.integers(len(data))] = rng.integers(256)
        Path("x").write_bytes(data)
        try:
            upgraded(Path("x"))
        except (caffe.DataError, caffe.ConfigError):
            refused += 1
    assert refused >= 50
    Path("x").write_bytes(whole.replace(b"ip", b"\xee\xff"))  # names that are no UTF-8
    with pytest.raises(caffe.DataError, match="x: cannot be written"):
        upgraded(Path("x"))


def test_tools_answer_to_caffes_names(here):
    Path("old.prototxt").write_text(V0)
    assert cli.main(["upgrade_net_proto_text", "old.prototxt", "new.prototxt"]) == 0
    assert Path("new.prototxt").exists()


# --- databases ------------------------------------------------------------------------------------


@pytest.fixture
def shown(here):
    """Five pictures in pics/, and their list."""
    rng = np.random.default_rng(0)
    (here / "pics").mkdir()
    lines = []
    for index in range(5):
        kind = "jpg" if index == 3 else "png"
        pixels = rng.integers(0, 256, (6, 8 + index % 2, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(here / "pics" / f"a {index}.{kind}")
        lines.append(f"a {index}.{kind} {index * 10}\n")
    (here / "list.txt").write_text("".join(lines) + "\n")
    return here


def test_pictures_become_raw_records(shown):
    assert cli.main(["convert-imageset", "-resize_height=4", "--resize_width", "5",
                     "pics/", "list.txt", "db"]) == 0  # fmt: skip
    found = records("db")
    assert [key for key, _ in found] == [f"{i:08d}_a {i}.{'jpg' if i == 3 else 'png'}"
                                         for i in range(5)]  # fmt: skip
    assert [datum.label for _, datum in found] == [0, 10, 20, 30, 40]
    for index, (_, datum) in enumerate(found[:3]):
        assert (datum.channels, datum.height, datum.width) == (3, 4, 5) and not datum.encoded
        pixels = np.frombuffer(datum.data, np.uint8).reshape(3, 4, 5)
        whole = np.asarray(Image.open(f"pics/a {index}.png"))[:, :, ::-1].transpose(2, 0, 1)
        assert np.array_equal(pixels, pictures.resize(whole, 4, 5))
    assert open_source("db").shape == (3, 4, 5)


def test_either_kind_of_database_holds_the_same(shown):
    words = ["--resize_height=4", "--resize_width=5", "pics/", "list.txt"]
    found = []
    for kind in ("lmdb", "leveldb"):
        assert cli.main(["convert-imageset", f"--backend={kind}", *words, kind]) == 0
        source = open_source(kind)
        assert f"{type(source).__name__.lower()}" == f"{kind}source"
        found.append((*source.read(0, 5), source.describe(3).split("(key")[1]))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)


def test_pictures_may_be_gray_shuffled_or_of_their_own_sizes(shown):
    assert cli.main(["convert-imageset", "--gray=true", "--shuffle", "pics/", "list.txt", "g"]) == 0
    found = records("g")
    assert {datum.channels for _, datum in found} == {1}
    labels = [datum.label for _, datum in found]
    assert sorted(labels) == [0, 10, 20, 30, 40] and labels != sorted(labels)
    assert {datum.width for _, datum in found} == {8, 9}


def test_compressed_pictures_stay_as_they_are_unless_they_must_change(shown):
    assert cli.main(["convert-imageset", "--encoded", "pics/", "list.txt", "same"]) == 0
    for key, datum in records("same"):
        assert datum.encoded and datum.data == Path("pics", key[9:]).read_bytes()
        assert not datum.HasField("channels")
    assert cli.main(["convert-imageset", "--encode_type=jpg", "pics/", "list.txt", "jpgs"]) == 0
    assert all(datum.data.startswith(b"\xff\xd8") for _, datum in records("jpgs"))
    assert cli.main(["convert-imageset", "-encoded", "-gray", "-resize_height=3",
                     "-resize_width=3", "pics/", "list.txt", "small"]) == 0  # fmt: skip
    source = open_source("small")
    assert source.shape == (1, 3, 3) and source.encoded
    assert source.read(0, 5)[1].tolist() == [0, 10, 20, 30, 40]


def test_pictures_that_cannot_be_read_are_left_out_and_sizes_checked(shown, capsys):
    Path("pics/a 0.png").write_bytes(b"broken")
    with Path("list.txt").open("a") as file:
        file.write("not there.png 3\n")
    assert cli.main(["convert-imageset", "pics/", "list.txt", "db"]) == 0
    said = capsys.readouterr().err
    assert "left out: pics/a 0.png" in said and "not there.png" in said
    assert "Processed 4 files." in said and len(records("db")) == 4
    assert cli.main(["convert-imageset", "--check_size", "pics/", "list.txt", "sized"]) == 1
    assert "is (3, 6, 8) (C x H x W), the pictures before (3, 6, 9)" in capsys.readouterr().err
    assert not Path("sized").exists()
    assert cli.main(["convert-imageset", "pics/", "list.txt", "db"]) == 1
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["a.png\n", "a.png b\n", " 3\n", "a.png 99999999999\n", "\n"])
def test_lists_that_are_none_are_refused(here, text):
    Path("list.txt").write_text(text)
    with pytest.raises(caffe.DataError, match="list.txt"):
        read_list("list.txt")


def test_only_one_side_of_a_size_is_refused(shown):
    with pytest.raises(caffe.ConfigError, match="both"):
        convert("pics/", read_list("list.txt"), Path("db"), Conversion(height=3))
    with pytest.raises(caffe.ConfigError, match="cannot be written as 'xyz'"):
        convert("pics/", read_list("list.txt"), Path("db"), Conversion(encode_type="xyz"))
    assert not Path("db").exists()


def test_resizing_is_opencvs():
    image = np.arange(0, 120, 10, dtype=np.uint8).reshape(1, 3, 4)
    # cv2.resize(..., INTER_LINEAR) of these pixels.
    assert pictures.resize(image, 3, 2)[0].tolist() == [[5, 25], [45, 65], [85, 105]]
    assert pictures.resize(image, 3, 8)[0, 0].tolist() == [0, 3, 8, 13, 18, 23, 28, 30]
    assert np.array_equal(pictures.resize(image, 3, 4), image)


def test_a_database_grows_as_it_must(here):
    value = PB.Datum(data=bytes(1 << 16)).SerializeToString()
    with DatabaseWriter(here / "db", map_size=1 << 20) as writer:
        for index in range(100):
            writer.put(f"{index:08d}".encode(), value)
    assert len(records("db")) == 100
    with pytest.raises(RuntimeError), DatabaseWriter(here / "other") as writer:
        writer.put(b"0", value)
        raise RuntimeError
    with pytest.raises(caffe.DataError, match="no records"), DatabaseWriter(here / "other"):
        pass
    assert sorted(path.name for path in here.iterdir()) == ["db"]


def test_what_a_thread_raises_comes_in_its_turn():
    got = []
    with pytest.raises(ZeroDivisionError):
        for value in pictures.in_threads(lambda x: 6 // x, [3, 2, 1, 0, 1], 2):
            got.append(value)
    assert got == [2, 3, 6]


def test_the_mean_of_a_database(shown, capsys):
    cli.main(["convert-imageset", "--resize_height=4", "--resize_width=5", "pics/", "list.txt",
              "db"])  # fmt: skip
    assert cli.main(["compute-mean", "--backend=lmdb", "db", "out/mean.binaryproto"]) == 0
    images = open_source("db").read(0, 5)[0].astype(np.float64)
    mean = caffe.data.read_mean("out/mean.binaryproto")
    assert np.allclose(mean, images.mean(axis=0), rtol=1e-6)
    said = capsys.readouterr().err
    assert f"mean_value channel [2]: {images[:, 2].mean():.6g}" in said
    assert cli.main(["compute-mean", "nothing"]) == 1


# --- features and logs ----------------------------------------------------------------------------

NET = """
layer { name: "data" type: "Data" top: "data" top: "label"
  data_param { source: "db" batch_size: 2 backend: LMDB } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""


def test_features_are_records_of_floats(shown):
    cli.main(["convert-imageset", "--resize_height=4", "--resize_width=6", "pics/", "list.txt",
              "db"])  # fmt: skip
    Path("net.prototxt").write_text(NET)
    net = caffe.Net("net.prototxt", caffe.TEST, seed=3)
    net.save("w.caffemodel")
    words = ["w.caffemodel", "net.prototxt", "pool,ip", "p,i", "2", "lmdb", "CPU"]
    assert cli.main(["extract-features", *words]) == 0
    pools, scores = records("p"), records("i")
    assert [key for key, _ in pools] == [f"{i:010d}" for i in range(4)]
    assert {(d.channels, d.height, d.width) for _, d in pools} == {(3, 2, 3)}
    assert not pools[0][1].HasField("label")
    net.forward()
    for (_, pool), (_, score), n in zip(pools, scores, range(2), strict=False):
        assert np.array_equal(pool.float_data, net.blobs["pool"].data[n].ravel())
        assert np.array_equal(score.float_data, net.blobs["ip"].data[n])
    assert open_source("i").read(0, 1)[0].shape == (1, 3, 1, 1)


def test_the_time_of_a_net_stands_beside_that_of_its_database(here, capsys):
    value = caffe.io.array_to_datum(np.ones((3, 4, 6), np.float32), 1).SerializeToString()
    with DatabaseWriter(here / "db") as writer:  # floats are not held in memory
        for index in range(9):
            writer.put(b"%d" % index, value)
    Path("net.prototxt").write_text(NET)
    assert cli.main(["time", "--model=net.prototxt", "--iterations=2"]) == 0
    said = re.search(r"db gives (\S+) images/s; a step takes (\S+)", capsys.readouterr().err)
    assert said is not None and float(said[1]) > 0 and float(said[2]) > 0


def test_the_time_of_a_net_stands_beside_that_of_its_pictures(shown, capsys):
    Path("net.prototxt").write_text(
        'layer { name: "data" type: "ImageData" top: "data" top: "label" image_data_param { '
        'source: "list.txt" root_folder: "pics/" batch_size: 2 new_height: 4 new_width: 6 } }'
        + NET.split("}\n", 1)[1]
    )
    assert cli.main(["time", "--model=net.prototxt", "--iterations=2"]) == 0
    said = re.search(r"list.txt gives (\S+) images/s; a step takes", capsys.readouterr().err)
    assert said is not None and float(said[1]) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope", "x", "1"], "no blob 'nope'"),
        (["ip", "x,y", "1"], "1 blobs and 2 databases"),
        (["ip", "x", "0"], "1 or more"),
        (["ip,pool", "x,x", "1"], "one database"),
    ],
)
def test_features_that_cannot_be_extracted_are_told(shown, capsys, words, message):
    cli.main(["convert-imageset", "--resize_height=4", "--resize_width=6", "pics/", "list.txt",
              "db"])  # fmt: skip
    Path("net.prototxt").write_text(NET)
    caffe.Net("net.prototxt", caffe.TEST).save("w.caffemodel")
    assert cli.main(["extract-features", "w.caffemodel", "net.prototxt", *words]) == 1
    assert message in capsys.readouterr().err and not Path("x").exists()


LOG = """\
I0321 09:01:36.000000 1 solver.cpp:272] Solving net
I0321 09:01:36.500000 1 solver.cpp:330] Iteration 0, Testing net (#0)
I0321 09:01:37.000000 1 solver.cpp:397]     Test net output #0: accuracy = 0.1
I0321 09:01:37.000000 1 solver.cpp:397]     Test net output #1: loss = 2.5 (* 1 = 2.5 loss)
I0321 09:01:38.000000 1 solver.cpp:218] Iteration 0 (1 iter/s, 2s/10 iters), loss = 2.4
I0321 09:01:38.000000 1 solver.cpp:237]     Train net output #0: loss = 2.4 (* 1 = 2.4 loss)
I0321 09:01:38.000000 1 sgd_solver.cpp:105] Iteration 0, lr = 0.01
I0321 09:01:48.000000 1 solver.cpp:218] Iteration 10 (1 iter/s, 10s/10 iters), loss = 1.5
I0321 09:01:48.000000 1 solver.cpp:237]     Train net output #0: loss = 1.25 (* 1 = 1.25 loss)
I0321 09:01:48.000000 1 sgd_solver.cpp:105] Iteration 10, lr = 0.02
I0321 09:01:49.000000 1 solver.cpp:330] Iteration 20, Testing net (#0)
I0321 09:01:49.500000 1 solver.cpp:397]     Test net output #0: accuracy = 0.75
I0321 09:01:49.500000 1 solver.cpp:397]     Test net output #1: loss = 0.5 (* 1 = 0.5 loss)
"""


def table(path: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(path).read_text()), delimiter=delimiter))


def test_a_log_becomes_two_tables(here, capsys):
    Path("a.log").write_text(LOG)
    assert cli.main(["parse-log", "a.log", "out", "--verbose"]) == 0
    train, test = table("out/a.log.train"), table("out/a.log.test")
    assert list(train[0]) == ["NumIters", "Seconds", "LearningRate", "loss"]
    assert [list(map(float, row.values())) for row in train] == [
        [0, 2, 0.01, 2.4],
        [10, 12, 0.02, 1.25],
    ]
    assert list(test[0]) == ["NumIters", "Seconds", "LearningRate", "accuracy", "loss"]
    assert [float(row["LearningRate"]) for row in test] == [0.01, 0.02]
    assert [float(row["accuracy"]) for row in test] == [0.1, 0.75]
    assert "Wrote out/a.log.test" in capsys.readouterr().out
    assert cli.main(["parse-log", "a.log", "out", "--delimiter", ";"]) == 0
    assert table("out/a.log.train", ";") == train
    assert cli.main(["parse-log", "a.log", "out", "--delimiter", ";;"]) == 1


def test_a_net_is_drawn_by_the_command(here, capsys):
    assert cli.main(["draw", "lenet_sample", "net.svg", "--phase", "TEST", "--rankdir=TB"]) == 0
    assert capsys.readouterr().out == "net.svg\n" and Path("net.svg").read_text().startswith("<svg")
    assert cli.main(["draw", "no_such_net", "net.svg"]) == 1


# --- a folder of pictures -------------------------------------------------------------------------


@pytest.fixture
def classes(here):
    """Twelve bright and twelve dark pictures, of different sizes."""
    rng = np.random.default_rng(1)
    for name, level in (("bright", 200), ("dark", 20)):
        (here / "set" / name / "more").mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(level, level + 50, (*rng.integers(8, 20, 2), 3)).astype(np.uint8)
            folder = here / "set" / name / ("more" if index % 2 else "")
            Image.fromarray(pixels).save(folder / f"{index}.png")
        (here / "set" / name / "notes.txt").write_text("no picture")
    return here


def test_a_folder_of_pictures_trains_in_two_commands(classes, capsys):
    assert cli.main(["data", "folder", "set", "--size", "8x12", "--test-share", "0.25"]) == 0
    assert "train with: pycaffe_clr run " in capsys.readouterr().out
    folder = classes / "set_data"
    assert (folder / "labels.txt").read_text() == "bright\ndark\n"
    train, test = open_source(folder / "train_lmdb"), open_source(folder / "test_lmdb")
    assert (len(train), len(test)) == (18, 6) and train.shape == (3, 8, 12)
    assert sorted(test.read(0, 6)[1].tolist()) == [0, 0, 0, 1, 1, 1]
    keys = [{k.partition("_")[2] for k, _ in records(str(folder / f"{n}_lmdb"))}
            for n in ("train", "test")]  # fmt: skip
    assert not keys[0] & keys[1] and len(keys[0] | keys[1]) == 24
    assert caffe.data.read_mean(folder / "mean.binaryproto").shape == (3, 8, 12)
    words = ["run", str(folder / "solver.prototxt"), "--out", "out", "--set", "max_iter=90"]
    assert cli.main([*words, "--threads", "1"]) == 0
    assert caffe.read_run("out").final_accuracy == 1


def test_a_folder_that_is_split_already_stays_so(classes):
    (classes / "split").mkdir()
    (classes / "set").rename(classes / "split" / "train")
    for name in ("bright", "dark"):
        folder = classes / "split" / "val" / name
        folder.mkdir(parents=True)
        Image.new("L", (5, 5), 9).save(folder / "only.png")
    words = ["data", "folder", "split", "--gray", "--size", "4", "--root", "there"]
    assert cli.main(words) == 0
    test = open_source("there/split_data/test_lmdb")
    assert len(test) == 2 and test.shape == (1, 4, 4)
    assert len(open_source("there/split_data/train_lmdb")) == 24
    assert cli.main(words) == 1  # is there already
    assert cli.main([*words, "--force"]) == 0


def test_folders_that_are_no_set_are_refused(classes, capsys):
    (classes / "set" / "dark").rename(classes / "elsewhere")
    for words, message in [
        (["set"], "two or more classes"),
        (["nowhere"], "cannot be read"),
        (["set", "--size", "0"], "--size"),
        (["set", "--size", "8x"], "--size"),
        (["set", "--test-share", "1"], "share of test pictures"),
        ([], "give a folder"),
    ]:
        assert cli.main(["data", "folder", *words]) == 1
        assert message in capsys.readouterr().err
    assert cli.main(["data", "mnist", "set"]) == 1
