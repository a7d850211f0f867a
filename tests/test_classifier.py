"""Classifier and Detector."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import pycaffe_clr as caffe

# The mean of each channel: what a prediction must be can be computed by hand.
NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 4 dim: 3 dim: 6 dim: 6 } } }
layer { name: "mean" type: "Pooling" bottom: "data" top: "mean"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "out" type: "Flatten" bottom: "mean" top: "out" }
"""
WEIGHTLESS = None


@pytest.fixture
def net(tmp_path, one_thread):
    (tmp_path / "net.prototxt").write_text(NET)
    return tmp_path / "net.prototxt"


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.random((8, 10, 3)).astype(np.float32) for _ in range(3)]


def test_predictions_of_the_centre(net, images):
    classifier = caffe.Classifier(str(net), WEIGHTLESS, image_dims=(8, 8))
    scaled = [caffe.io.resize_image(image, (8, 8)) for image in images]
    wanted = [image[1:7, 1:7].mean(axis=(0, 1)) for image in scaled]
    assert np.allclose(classifier.predict(images, oversample=False), wanted, atol=1e-5)


def test_predictions_are_means_over_ten_crops(net, images):
    classifier = caffe.Classifier(
        net, WEIGHTLESS, image_dims=(8, 10), channel_swap=(2, 1, 0), raw_scale=255,
        mean=np.array([1, 2, 3.0]), input_scale=0.5,
    )  # fmt: skip
    crops = caffe.io.oversample(images, (6, 6)).mean(axis=(1, 2)).reshape(3, 10, 3).mean(axis=1)
    wanted = (crops[:, ::-1] * 255 - [1, 2, 3]) * 0.5
    out = classifier.predict(images)
    assert out.shape == (3, 3) and np.allclose(out, wanted, rtol=1e-4)


def test_images_are_scaled_to_the_input_where_nothing_else_is_said(net, images):
    classifier = caffe.Classifier(net, WEIGHTLESS)
    wanted = [caffe.io.resize_image(image, (6, 6)).mean(axis=(0, 1)) for image in images]
    assert np.allclose(classifier.predict(images, oversample=False), wanted, atol=1e-5)


def test_what_is_no_classifier_is_refused(net, tmp_path):
    with pytest.raises(caffe.ConfigError, match="smaller than the net's input"):
        caffe.Classifier(net, WEIGHTLESS, image_dims=(5, 8))
    flat = tmp_path / "flat.prototxt"
    flat.write_text(
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 2 dim: 3 } } }'
    )
    with pytest.raises(caffe.ConfigError, match="no input for images"):
        caffe.Classifier(flat, WEIGHTLESS)


@pytest.fixture
def picture(tmp_path):
    """An image of four colours, each 10 x 12."""
    pixels = np.zeros((20, 24, 3), np.uint8)
    pixels[:10, :12], pixels[10:, :12], pixels[10:, 12:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return str(path)


def test_windows_are_warped_and_predicted(net, picture):
    detector = caffe.Detector(net, WEIGHTLESS)
    windows = [(0, 0, 10, 12), (10, 0, 20, 12), (0, 12, 10, 24), (10, 0, 20, 24)]
    found = detector.detect_windows([(picture, windows), (picture, [(10, 12, 20, 24)])])
    assert [each["window"] for each in found] == [*windows, (10, 12, 20, 24)]
    assert {each["filename"] for each in found} == {picture}
    predictions = np.array([each["prediction"] for each in found])
    assert np.allclose(predictions[:3], [[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert np.allclose(predictions[4], [0, 0, 1])
    assert predictions[3] @ [0, 1, 1] == pytest.approx(1, abs=0.01)
    assert detector.detect_windows([]) == []


def test_context_surrounds_a_window_and_the_mean_what_lies_outside(net, picture):
    detector = caffe.Detector(
        net, WEIGHTLESS, context_pad=1, mean=np.array([10.0, 20.0, 30.0]), raw_scale=100,
        channel_swap=(2, 1, 0),
    )  # fmt: skip
    crop = detector.crop(caffe.io.load_image(picture), np.array([2, 2, 17, 21]))
    assert crop.shape == (6, 6, 3)
    assert np.allclose(crop[0, 0], [0.3, 0.2, 0.1])  # in the image's order and scale
    assert np.allclose(crop[1, 1], [1, 0, 0], atol=1e-5)
    inside = detector.crop(caffe.io.load_image(picture), (6, 6, 13, 17))
    assert np.allclose(inside[0, 0], [1, 0, 0], atol=0.3)


def test_windows_that_cannot_be_cut_are_refused(net, picture):
    detector = caffe.Detector(net, WEIGHTLESS)
    for window in [(5, 5, 5, 9), (30, 0, 40, 5), (9, 9, 2, 2)]:
        with pytest.raises(caffe.ConfigError, match="holds no pixel"):
            detector.detect_windows([(picture, [window])])
    with pytest.raises(caffe.ConfigError, match="context_pad of 3"):
        caffe.Detector(net, WEIGHTLESS, context_pad=3)
    with pytest.raises(caffe.ConfigError, match="selective_search"):
        detector.detect_selective_search([picture])
