"""caffe.io: images, their preparation, messages as arrays."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pycaffe_clr as caffe

PB = caffe.proto.caffe_pb2


# --- messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (6,), (3, 1), ()])
def test_blobs_go_there_and_back(shape):
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    blob = caffe.io.array_to_blobproto(values, diff=values * 2)
    assert tuple(blob.shape.dim) == shape
    assert np.array_equal(caffe.io.blobproto_to_array(blob), values)
    assert np.array_equal(caffe.io.blobproto_to_array(blob, return_diff=True), values * 2)


def test_blobs_of_the_old_shape_and_of_double_precision():
    old = PB.BlobProto(num=1, channels=1, height=2, width=3, data=range(6))
    assert caffe.io.blobproto_to_array(old).shape == (1, 1, 2, 3)
    double = PB.BlobProto(double_data=[0.1, 0.2], shape={"dim": [2]})
    assert np.array_equal(caffe.io.blobproto_to_array(double), [0.1, 0.2])


def test_a_blob_without_its_shape_is_one_value_or_refused():
    assert caffe.io.blobproto_to_array(PB.BlobProto(data=[123])) == 123
    with pytest.raises(ValueError, match="cannot reshape array of size 4"):
        caffe.io.blobproto_to_array(PB.BlobProto(data=[1, 2, 3, 4]))
    with pytest.raises(ValueError):
        caffe.io.blobproto_to_array(PB.BlobProto(data=[1], shape={"dim": [2**62, 2]}))


def test_vectors_of_blobs():
    arrays = [np.arange(6.0).reshape(2, 3), np.ones(2)]
    text = caffe.io.arraylist_to_blobprotovector_str(arrays)
    back = caffe.io.blobprotovector_str_to_arraylist(text)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))
    with pytest.raises(caffe.DataError, match="not a BlobProtoVector"):
        caffe.io.blobprotovector_str_to_arraylist(b"\xff\xff")


def test_datums():
    raw = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    datum = caffe.io.array_to_datum(raw, label=7)
    assert datum.label == 7 and datum.data == raw.tobytes()
    assert np.array_equal(caffe.io.datum_to_array(datum), raw)
    floats = caffe.io.array_to_datum(raw / 8)
    assert not floats.HasField("label") and not floats.data
    assert np.array_equal(caffe.io.datum_to_array(floats), raw / 8)
    with pytest.raises(ValueError, match="three axes"):
        caffe.io.array_to_datum(raw[0])


def test_an_encoded_datum_is_decoded_blue_first():
    file = io.BytesIO()
    Image.new("RGB", (3, 2), (255, 10, 0)).save(file, "PNG")
    pixels = caffe.io.datum_to_array(PB.Datum(encoded=True, data=file.getvalue()))
    assert pixels.shape == (3, 2, 3) and pixels[:, 0, 0].tolist() == [0, 10, 255]
    with pytest.raises(caffe.DataError, match="cannot decode"):
        caffe.io.datum_to_array(PB.Datum(encoded=True, data=b"no image"))


# --- images ---------------------------------------------------------------------------------------


def saved(folder: Path, mode: str, color: object) -> str:
    path = folder / f"{mode}.png"
    Image.new(mode, (4, 3), color).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("mode", "color", "wanted"),
    [
        ("RGB", (255, 51, 0), [1, 0.2, 0]),
        ("RGBA", (255, 51, 0, 10), [1, 0.2, 0]),
        ("L", 51, [0.2] * 3),
        ("LA", (51, 9), [0.2] * 3),
        ("1", 1, [1] * 3),
        ("I;16", 13107, [0.2] * 3),
    ],
)
def test_images_of_every_kind(tmp_path, mode, color, wanted):
    image = caffe.io.load_image(saved(tmp_path, mode, color))
    assert image.shape == (3, 4, 3) and image.dtype == np.float32
    assert np.allclose(image[1, 2], wanted, atol=1e-6)
    gray = caffe.io.load_image(saved(tmp_path, mode, color), color=False)
    assert gray.shape == (3, 4, 1)
    assert np.allclose(gray, np.dot(wanted, [0.2125, 0.7154, 0.0721]), atol=1e-6)


def test_palettes_have_the_colours_that_they_stand_for(tmp_path):
    picture = Image.new("P", (2, 2), 1)
    picture.putpalette([0, 0, 0, 0, 255, 51])
    picture.save(tmp_path / "p.gif")
    assert np.allclose(caffe.io.load_image(tmp_path / "p.gif")[0, 0], [0, 1, 0.2])


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 30])
def test_broken_images_are_data_errors(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(caffe.DataError, match="x.png: cannot read the image"):
        caffe.io.load_image(tmp_path / "x.png")
    with pytest.raises(caffe.DataError, match="No such file"):
        caffe.io.load_image(tmp_path / "none.png")


def test_hostile_images_are_data_errors(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file, "PNG")
    rng = np.random.default_rng(5)
    for _ in range(60):
        data = bytearray(file.getvalue())
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(256)
        try:
            assert caffe.io.load_image(io.BytesIO(data[: rng.integers(1, len(data) + 1)])).ndim == 3
        except caffe.DataError:
            pass


def test_resizing_an_image_sees_pixels_as_squares():
    image = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
    down = caffe.io.resize_image(image, (2, 2))
    # Rows at 0.25 and 1.75, columns at 0.5 and 2.5.
    rows = np.array([0.25, 1.75])[:, None] * 4
    assert np.allclose(down[:, :, 0], rows + [0.5, 2.5])
    up = caffe.io.resize_image(image + 1, (3, 8))
    # A quarter beyond the border, where the least value lies.
    assert np.allclose(up[:, 0, 0], 1 + 0.75 * image[:, 0, 0])
    assert np.allclose(up[:, 1, 0], image[:, 0, 0] + 1.25)
    nearest = caffe.io.resize_image(image, (3, 2), interp_order=0)
    assert set(nearest.ravel()) <= set(image.ravel())


def test_resizing_keeps_what_it_can():
    rng = np.random.default_rng(1)
    for channels in (1, 3, 5):
        image = rng.random((4, 6, channels)).astype(np.float32)
        assert np.allclose(caffe.io.resize_image(image, (4, 6)), image, atol=1e-6)
        assert caffe.io.resize_image(image, (9, 2)).shape == (9, 2, channels)
    assert np.array_equal(
        caffe.io.resize_image(np.full((2, 2, 3), 7), (3, 4)), np.full((3, 4, 3), 7, np.float32)
    )
    corners = rng.random((3, 3, 2)).astype(np.float32)  # of other than 1 and 3 channels
    assert np.allclose(caffe.io.resize_image(corners, (7, 5))[::6, ::4], corners[::2, ::2])
    for dims, order in [((0, 3), 1), ((3, 3), 2)]:
        with pytest.raises(ValueError, match="resize_image takes"):
            caffe.io.resize_image(corners, dims, order)


def test_ten_crops():
    image = np.arange(30, dtype=np.float32).reshape(5, 6, 1)
    crops = caffe.io.oversample([image, image + 100], (2, 3))
    assert crops.shape == (20, 2, 3, 1) and crops.dtype == np.float32
    tops = [crop[0, 0, 0] for crop in crops[:5]]
    assert tops == [0, 3, 18, 21, 7]
    assert np.array_equal(crops[5:10], crops[:5, :, ::-1])
    assert np.array_equal(crops[10:], crops[:10] + 100)
    with pytest.raises(ValueError, match="do not fit"):
        caffe.io.oversample([image], (6, 2))


# --- preparation ----------------------------------------------------------------------------------


@pytest.fixture
def transformer():
    made = caffe.io.Transformer({"data": (1, 3, 4, 4)})
    made.set_transpose("data", (2, 0, 1))
    return made


def test_preparation_in_caffes_order_and_back(transformer):
    transformer.set_channel_swap("data", (2, 1, 0))
    transformer.set_raw_scale("data", 255)
    transformer.set_mean("data", np.array([1.0, 2.0, 3.0]))
    transformer.set_input_scale("data", 0.5)
    image = np.random.default_rng(2).random((4, 4, 3)).astype(np.float32)
    before = image.copy()
    ready = transformer.preprocess("data", image)
    assert ready.dtype == np.float32 and ready.shape == (3, 4, 4)
    wanted = (255 * image[:, :, ::-1] - [1, 2, 3]) * 0.5
    assert np.allclose(ready, wanted.transpose(2, 0, 1), atol=1e-4)
    assert np.array_equal(image, before)
    assert np.allclose(transformer.deprocess("data", ready[None]), image, atol=1e-5)


def test_images_are_resized_to_the_input(transformer):
    image = np.random.default_rng(3).random((8, 6, 3)).astype(np.float32)
    wanted = caffe.io.resize_image(image, (4, 4)).transpose(2, 0, 1)
    assert np.array_equal(transformer.preprocess("data", image), wanted)


def test_means_of_every_shape(transformer):
    transformer.set_mean("data", np.arange(3))
    assert transformer.mean["data"].shape == (3, 1, 1)
    transformer.set_mean("data", np.ones((3, 8, 8)))
    assert transformer.mean["data"].shape == (3, 4, 4)
    transformer.set_mean("data", np.ones((4, 4)))
    assert transformer.mean["data"].shape == (1, 4, 4)
    for wrong in (np.ones(2), np.ones((2, 4, 4)), np.ones((1, 3, 4, 4))):
        with pytest.raises(ValueError, match="for an input of"):
            transformer.set_mean("data", wrong)


def test_settings_that_do_not_fit_are_refused(transformer):
    with pytest.raises(caffe.ConfigError, match="dat is not one of the net inputs: data"):
        transformer.preprocess("dat", np.zeros((4, 4, 3)))
    with pytest.raises(caffe.ConfigError, match="transpose order"):
        transformer.set_transpose("data", (1, 0))
    with pytest.raises(caffe.ConfigError, match="channel swap"):
        transformer.set_channel_swap("data", (1, 0))
