"""Caffe's weights and solver states are read and written, and broken ones refused."""

from __future__ import annotations

import random
from pathlib import Path

import h5py
import numpy as np
import pytest

from pycaffe_clr import proto
from pycaffe_clr import weights as w
from pycaffe_clr.errors import DataError
from pycaffe_clr.weights import wire

FILES = Path(__file__).parent / "golden" / "files"
MODELS = ["lenet_bin_iter_5.caffemodel", "lenet_h5_iter_5.caffemodel.h5", "lenet_v1.caffemodel"]
ADAM = FILES.parent / "trajectories" / "v_adam" / "run_iter_20.solverstate"
STATES = ["lenet_bin_iter_5.solverstate", "lenet_h5_iter_5.solverstate.h5"]


@pytest.fixture(scope="module")
def expected():
    with np.load(FILES / "lenet_expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def net():
    message = proto.NetParameter.FromString((FILES / MODELS[0]).read_bytes())
    for layer in message.layer:
        layer.ClearField("blobs")
    return message


def assert_equal(read, expected):
    shapes = {key: value for key, value in expected.items() if not key.startswith("history")}
    assert {f"{name}/{index}" for name in read for index in range(len(read[name]))} == set(shapes)
    for key, array in shapes.items():
        name, index = key.rsplit("/", 1)
        np.testing.assert_array_equal(w.fit(read[name][int(index)], array.shape), array)


@pytest.mark.parametrize("name", MODELS)
def test_weights_of_caffe_are_read(name, expected):
    assert_equal(w.read_weights(FILES / name), expected)


@pytest.mark.parametrize("name", STATES)
def test_states_of_caffe_are_read(name, expected):
    state = w.read_state(FILES / name)
    assert (state.iter, state.current_step) == (5, 2)
    assert state.learned_net == f"files/{name.replace('solverstate', 'caffemodel')}"
    assert len(state.history) == 8
    for index, array in enumerate(state.history):
        np.testing.assert_array_equal(array, expected[f"history/{index}"])
        assert array.dtype == np.float32 and array.flags.writeable


def test_written_binary_weights_are_caffes_message(tmp_path, net):
    read = w.read_weights(FILES / MODELS[0])
    w.write_weights(tmp_path / "a.caffemodel", net, read)
    ours, caffes = (
        proto.NetParameter.FromString(path.read_bytes())
        for path in (tmp_path / "a.caffemodel", FILES / MODELS[0])
    )
    assert ours == caffes


# Adam's has two histories for each parameter.
@pytest.mark.parametrize("file", [FILES / STATES[0], ADAM], ids=["SGD", "Adam"])
def test_written_binary_state_is_caffes_file(file, tmp_path):
    w.write_state(tmp_path / "a.solverstate", w.read_state(file))
    assert (tmp_path / "a.solverstate").read_bytes() == file.read_bytes()


def test_second_histories_come_back_from_hdf5_in_their_order(tmp_path):
    state = w.read_state(ADAM)
    w.write_state(tmp_path / "a.solverstate.h5", state)
    again = w.read_state(tmp_path / "a.solverstate.h5")
    assert len(again.history) == 16  # 10 comes before 2 in the file
    for a, b in zip(again.history, state.history, strict=True):
        np.testing.assert_array_equal(a, b)


def test_written_hdf5_weights_have_caffes_layout(tmp_path, net, expected):
    path = tmp_path / "a.caffemodel.h5"
    w.write_weights(path, net, w.read_weights(FILES / MODELS[0]))
    assert_equal(w.read_weights(path), expected)
    assert layout(path) == layout(FILES / MODELS[1])


def test_written_hdf5_state_has_caffes_layout(tmp_path):
    path = tmp_path / "a.solverstate.h5"
    state = w.read_state(FILES / STATES[1])
    w.write_state(path, state)
    assert layout(path) == layout(FILES / STATES[1])
    assert w.read_state(path).learned_net == state.learned_net


def layout(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update(
                {name: (item.shape, item.dtype) if isinstance(item, h5py.Dataset) else None}
            )
        )
    return found


def test_blobs_are_encoded_byte_for_byte_as_protobuf_does():
    rng = np.random.default_rng(0)
    for shape in [(), (3,), (200, 2), (1, 2, 3, 4), (0,), (2, 0)]:
        values, diff = rng.normal(size=(2, *shape)).astype(np.float32)
        blob = proto.BlobProto(data=values.ravel(), diff=diff.ravel())
        blob.shape.dim.extend(shape)
        assert b"".join(wire.encode_blob(values, diff)) == blob.SerializeToString()
        for part, array in ((False, values), (True, diff)):
            decoded = wire.decode_blob(memoryview(blob.SerializeToString()), "blob", part)
            np.testing.assert_array_equal(decoded, array)


def test_unpacked_and_double_values_are_read():
    unpacked = b"".join(b"\x2d" + np.float32(value).tobytes() for value in (1, 2))
    assert wire.decode_blob(memoryview(unpacked), "blob").tolist() == [1, 2]
    doubles = proto.BlobProto(double_data=[0.5, 0.25])
    doubles.shape.dim.extend([2, 1])
    assert wire.decode_blob(memoryview(doubles.SerializeToString()), "b").tolist() == [
        [0.5],
        [0.25],
    ]


def test_gradients_are_saved_on_request(tmp_path):
    message = proto.NetParameter(name="n")
    message.layer.add(name="a", type="InnerProduct")
    arrays, diffs = {"a": [np.ones((2, 3))]}, {"a": [np.full((2, 3), 7)]}
    for name in ("a.caffemodel", "a.caffemodel.h5"):
        w.write_weights(tmp_path / name, message, arrays, diffs)
        assert w.read_weights(tmp_path / name)["a"][0].tolist() == np.ones((2, 3)).tolist()
        assert w.read_weights(tmp_path / name, diff=True)["a"][0].tolist() == [[7] * 3] * 2


def test_v0_weights_are_read(tmp_path):
    message = proto.NetParameter()
    layer = message.layers.add().layer
    layer.name = "conv1"
    layer.blobs.add(num=1, channels=1, height=1, width=2, data=[1, 2])
    read = w.parse_weights(message.SerializeToString())
    assert w.fit(read["conv1"][0], (2,)).tolist() == [1, 2]
    assert w.fit(read["conv1"][0], (1, 3)) is None


def test_names_with_slashes_and_many_parameters_survive_hdf5(tmp_path):
    message = proto.NetParameter()
    for name in ("inception/1x1", "inception"):
        message.layer.add(name=name, type="Convolution")
    arrays = {
        "inception/1x1": [np.full(2, index, np.float32) for index in range(12)],
        "inception": [np.zeros(1, np.float32), np.ones(1, np.float32)],
    }
    path = tmp_path / "a.h5"
    w.write_weights(path, message, arrays, shared={("inception", 0)})
    read = w.read_weights(path)
    assert [array[0] for array in read["inception/1x1"]] == list(range(12))
    assert read["inception"][0] is None and read["inception"][1].tolist() == [1]


@pytest.mark.parametrize("reader", [w.read_weights, w.read_state])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b'name: "LeNet"\nlayer { }', "looks like text"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "broken HDF5 file"),
        (b"\xff" * 100, "more than 64 bits"),
    ],
)
def test_what_is_no_weights_file_is_refused(reader, content, message, tmp_path):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path}.*{message}"):
        reader(path)


def test_a_file_of_the_other_kind_is_named():
    for name in (MODELS[0], MODELS[1]):
        with pytest.raises(DataError, match="weights.* expected a .solverstate"):
            w.read_state(FILES / name)
    with pytest.raises(DataError, match="is a .solverstate"):
        w.read_weights(FILES / STATES[0])
    with pytest.raises(DataError, match="it is a solver state"):
        w.read_weights(FILES / STATES[1])


def test_shapes_that_do_not_fit_the_values_are_refused():
    for blob in (
        proto.BlobProto(num=2, channels=2, height=1, width=1, data=[1, 2, 3]),
        proto.BlobProto(shape=proto.BlobShape(dim=[2**40, 2**40]), data=[1]),
        proto.BlobProto(shape=proto.BlobShape(dim=[-1]), data=[1]),
        proto.BlobProto(shape=proto.BlobShape(dim=[1] * 33), data=[1]),
        proto.BlobProto(shape=proto.BlobShape(dim=[3])),
    ):
        message = proto.NetParameter()
        message.layer.add(name="conv1").blobs.add().CopyFrom(blob)
        with pytest.raises(DataError, match='layer 0 ."conv1".: blob 0|more than 32 axes'):
            w.parse_weights(message.SerializeToString())


def test_weights_for_another_net_are_not_written(tmp_path, net):
    with pytest.raises(DataError, match="layers that the net lacks.*nowhere"):
        w.write_weights(tmp_path / "a", net, {"nowhere": []})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.solverstate"
    w.write_state(path, w.SolverState(iter=1, learned_net="a"))
    before = path.read_bytes()

    def disk_full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(DataError, match="a.solverstate: cannot be written: No space left"):
        w.write_state(path, w.SolverState(iter=2, learned_net="b"))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def mutations(data: bytes, count: int, seed: int):
    rng = random.Random(seed)
    for _ in range(count):
        broken = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            kind = rng.randrange(4)
            # Structure sits in front of the long runs of floats: aim there half the time.
            place = rng.randrange(len(broken)) if rng.random() < 0.5 else rng.randrange(400)
            place = min(place, len(broken) - 1)
            if kind == 0:
                broken[place] = rng.randrange(256)
            elif kind == 1:
                del broken[place : place + rng.randint(1, 20)]
            elif kind == 2:
                broken[place:place] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 10)))
            else:
                broken = broken[: place + 1]
        yield bytes(broken)


@pytest.mark.parametrize("name", [MODELS[0], MODELS[2], STATES[0]])
def test_mutated_binary_files_are_read_or_refused(name):
    parse = w.parse_state if "state" in name else w.parse_weights
    refused = 0
    for data in mutations((FILES / name).read_bytes(), 500, seed=3):
        try:
            parse(data)
        except DataError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("name", [MODELS[1], STATES[1]])
def test_mutated_hdf5_files_are_read_or_refused(name, tmp_path):
    path = tmp_path / "broken.h5"
    read = w.read_state if "state" in name else w.read_weights
    refused = 0
    for data in mutations((FILES / name).read_bytes(), 150, seed=4):
        path.write_bytes(data)
        try:
            read(path)
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
    assert 100 < refused < 150


@pytest.mark.parametrize("keep", [0, 1, 2, 10, 100, 1000, 20000, -1])
def test_truncated_files_are_refused(keep, tmp_path):
    for name in MODELS + STATES:
        path = tmp_path / name
        path.write_bytes((FILES / name).read_bytes()[:keep])
        with pytest.raises(DataError):
            (w.read_state if "state" in name else w.read_weights)(path)


def test_hdf5_links_out_of_the_file_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_group("data")["conv1"] = h5py.ExternalLink(
            str(FILES / MODELS[1]), "/data/conv1"
        )
    with pytest.raises(DataError, match="is a link"):
        w.read_weights(path)
