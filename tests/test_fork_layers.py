"""Layers of Caffe's forks against the forks' own formulas, written down in numpy."""

from __future__ import annotations

import numpy as np
import pytest

import pycaffe_clr as caffe

RNG = np.random.default_rng(4)


def run(
    folder, inputs: dict[str, np.ndarray], layer: str, params=(), device: str = "reference"
) -> np.ndarray:
    """The first top of a layer `l` over these inputs."""
    text = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {dim}" for dim in array.shape)
        + " } } }\n"
        for name, array in inputs.items()
    )
    (folder / "net.prototxt").write_text(text + layer)
    net = caffe.Net(folder / "net.prototxt", caffe.TEST, seed=1, device=device)
    if net._core.backend.startswith("cuda"):
        # What belongs on the host runs there, and nothing else.
        assert not net._core.fallbacks()
    for name, array in inputs.items():
        net.blobs[name].data[...] = array
    for param, array in zip(net.params.get("l", []), params, strict=False):
        param.data[...] = array
    net.forward()
    return net.blobs["y"].data.copy()


def layer(kind: str, bottoms: str, fields: str = "") -> str:
    names = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    return f'layer {{ name: "l" type: "{kind}" {names} top: "y" {fields} }}'


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5))


def test_permute_and_shuffle(tmp_path):
    x = normal(2, 6, 3, 4)
    got = run(
        tmp_path, {"x": x}, layer("Permute", "x", "permute_param { order: 0 order: 2 order: 3 }")
    )
    assert np.array_equal(got, x.transpose(0, 2, 3, 1))
    got = run(
        tmp_path, {"x": x}, layer("ShuffleChannel", "x", "shuffle_channel_param { group: 3 }")
    )
    assert np.array_equal(got, x.reshape(2, 3, 2, 3, 4).swapaxes(1, 2).reshape(x.shape))


@pytest.mark.parametrize("across", ["true", "false"])
def test_normalize(tmp_path, across):
    x, scale = normal(2, 3, 4, 5), np.float32([2, 3, 4])
    text = f"norm_param {{ across_spatial: {across} channel_shared: false }}"
    got = run(tmp_path, {"x": x}, layer("Normalize", "x", text), [scale])
    axes = (1, 2, 3) if across == "true" else 1
    norm = np.sqrt((x**2).sum(axes, keepdims=True) + 1e-10)
    assert close(got, x / norm * scale[:, None, None])


def test_axpy_adds_scaled_channels(tmp_path):
    a, x, y = normal(2, 3, 1, 1), normal(2, 3, 4, 5), normal(2, 3, 4, 5)
    assert close(run(tmp_path, {"a": a, "x": x, "z": y}, layer("Axpy", "a x z")), a * x + y)


def test_interp_keeps_the_corners(tmp_path):
    x = normal(1, 2, 3, 4)
    got = run(tmp_path, {"x": x}, layer("Interp", "x", "interp_param { height: 5 width: 7 }"))
    assert np.array_equal(got[:, :, ::2, ::2], x)
    assert close(got[:, :, 1, 0], (x[:, :, 0, 0] + x[:, :, 1, 0]) / 2)
    assert close(got[:, :, 0, 1], (x[:, :, 0, 0] + x[:, :, 0, 1]) / 2)


@pytest.mark.parametrize(
    ("fields", "size"),
    [("height: 7 width: 3", (7, 3)),
     ("is_pyramid_test: true out_height_scale: 2 out_width_scale: 1.7", (6, 6))],
)  # fmt: skip
def test_resize_fades_out_behind_the_last_row_and_column(tmp_path, fields, size):
    x = normal(2, 3, 3, 4)
    grown = np.pad(x, [(0, 0), (0, 0), (0, 1), (0, 1)])
    expected = np.zeros((2, 3, *size), np.float32)
    for i, j in np.ndindex(*size):
        h, w = i * 3 / size[0], j * 4 / size[1]
        part = grown[:, :, int(h) :, int(w) :][:, :, :2, :2]
        by_row = np.array([1 - h % 1, h % 1])[:, None]
        expected[:, :, i, j] = (part * by_row * [1 - w % 1, w % 1]).sum((2, 3))
    for device in ("reference", "cpu"):
        text = layer("Resize", "x", f"resize_param {{ {fields} }}")
        assert close(run(tmp_path, {"x": x}, text, device=device), expected)


def test_batch_norm_with_scale_and_bias(tmp_path):
    x = normal(4, 3, 2, 2)
    mean, variance = normal(3), np.float32([1, 2, 3])
    gain, shift = normal(3), normal(3)
    got = run(
        tmp_path,
        {"x": x},
        layer("BatchNorm", "x", "batch_norm_param { scale_bias: true }"),
        [mean, variance, np.float32([1]), gain, shift],
    )
    wide = (slice(None), None, None)
    expected = (x - mean[wide]) / np.sqrt(variance[wide] + 1e-5) * gain[wide] + shift[wide]
    assert close(got, expected)


def test_roi_pooling(tmp_path):
    x = normal(2, 3, 8, 9)
    rois = np.float32([[0, 0, 0, 15, 15], [1, 3, 5, 9, 13], [1, 20, 20, 40, 40]])
    text = "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }"
    got = run(tmp_path, {"x": x, "rois": rois}, layer("ROIPooling", "x rois", text))
    for r, roi in enumerate(rois):
        x1, y1, x2, y2 = np.floor(roi[1:] * 0.5 + 0.5).astype(int)
        height, width = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        for p in range(2):
            for q in range(3):
                top = np.clip(int(np.floor(p * height / 2)) + y1, 0, 8)
                bottom = np.clip(int(np.ceil((p + 1) * height / 2)) + y1, 0, 8)
                left = np.clip(int(np.floor(q * width / 3)) + x1, 0, 9)
                right = np.clip(int(np.ceil((q + 1) * width / 3)) + x1, 0, 9)
                part = x[int(roi[0]), :, top:bottom, left:right]
                expected = part.max((1, 2)) if part.size else np.zeros(3, np.float32)
                assert np.array_equal(got[r, :, p, q], expected)


def overlaps(box: np.ndarray, boxes: np.ndarray, end: int) -> np.ndarray:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.maximum(high - low + end, 0).prod(1)
    area = (boxes[:, 2:] - boxes[:, :2] + end).prod(1)
    return shared / ((box[2:] - box[:2] + end).prod() + area - shared)


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float, end: int) -> list[int]:
    order = list(np.argsort(-scores, kind="stable"))
    kept = []
    while order:
        kept.append(order[0])
        rest = np.array(order[1:], int)
        order = list(rest[overlaps(boxes[order[0]], boxes[rest], end) <= threshold])
    return kept


def test_proposals(tmp_path):
    height, width, count = 4, 5, 20
    anchors = np.array([[-84, -40, 99, 55], [-56, -56, 71, 71], [-36, -80, 51, 95]])
    scores, shifts = normal(1, 6, height, width), normal(1, 12, height, width) * 0.1
    image = np.float32([[64, 80, 1]])
    text = f"proposal_param {{ scale: 8 post_nms_topn: {count} nms_thresh: 0.6 min_size: 20 }}"
    bottoms = {"s": scores, "b": shifts, "i": image}
    got = run(tmp_path, bottoms, layer("Proposal", "s b i", text))
    # As rpn/proposal_layer.py.
    at = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2) * 16
    boxes = (anchors[None] + np.tile(at, 2)[:, None]).reshape(-1, 4).astype(np.float64)
    size = boxes[:, 2:] - boxes[:, :2] + 1
    delta = shifts.transpose(0, 2, 3, 1).reshape(-1, 4).astype(np.float64)
    centre = boxes[:, :2] + size / 2 + delta[:, :2] * size
    half = np.exp(delta[:, 2:]) * size / 2
    limit = np.array([79, 63])
    boxes = np.hstack([np.clip(centre - half, 0, limit), np.clip(centre + half, 0, limit)])
    objects = scores[:, 3:].transpose(0, 2, 3, 1).ravel()
    large = ((boxes[:, 2:] - boxes[:, :2] + 1) >= 20).all(1)
    boxes, objects = boxes[large], objects[large]
    kept = boxes[suppress(boxes, objects, 0.6, 1)][:count]
    assert 2 < len(kept) < count
    assert got.shape == (len(kept), 5) and not got[:, 0].any()
    assert close(got[:, 1:], kept.astype(np.float32))
    # None at all: an empty box.
    nothing = text.replace("min_size: 20", "min_size: 200")
    assert run(tmp_path, bottoms, layer("Proposal", "s b i", nothing)).tolist() == [[0] * 5]


def test_detections(tmp_path):
    samples, count, classes = 2, 12, 3
    low = RNG.random((count, 2)) * 0.6
    priors = np.hstack([low, low + 0.1 + RNG.random((count, 2)) * 0.3])
    variances = np.tile([0.1, 0.1, 0.2, 0.2], count)
    prior = np.stack([priors.ravel(), variances])[None].astype(np.float32)
    shifts = normal(samples, count * 4)
    scores = RNG.random((samples, count * classes)).astype(np.float32)
    text = """detection_output_param { num_classes: 3 keep_top_k: 9 confidence_threshold: 0.6
      code_type: CENTER_SIZE nms_param { nms_threshold: 0.4 top_k: 10 } }"""
    bottoms = {"s": shifts, "c": scores, "p": prior}
    got = run(tmp_path, bottoms, layer("DetectionOutput", "s c p", text))
    expected = []
    for n in range(samples):
        delta = shifts[n].reshape(-1, 4) * variances.reshape(-1, 4)
        size = priors[:, 2:] - priors[:, :2]
        centre = (priors[:, 2:] + priors[:, :2]) / 2 + delta[:, :2] * size
        half = np.exp(delta[:, 2:]) * size / 2
        boxes = np.hstack([centre - half, centre + half])
        found = []
        for c in (1, 2):
            of_class = scores[n].reshape(-1, classes)[:, c]
            some = np.argsort(-of_class, kind="stable")[:10]
            some = some[of_class[some] > 0.6]
            for k in suppress(boxes[some], of_class[some], 0.4, 0):
                found.append([n, c, of_class[some[k]], *boxes[some[k]]])
        found = sorted(found, key=lambda row: -row[2])[:9]
        expected += sorted(found, key=lambda row: row[1])
    assert got.shape == (1, 1, len(expected), 7) and 2 < len(expected) < 18
    assert close(got[0, 0], np.array(expected, np.float32))
    # None at all: a row for each sample that says so.
    nothing = {**bottoms, "c": np.zeros_like(scores)}
    got = run(tmp_path, nothing, layer("DetectionOutput", "s c p", text))
    assert got.tolist() == [[[[0, *[-1] * 6], [1, *[-1] * 6]]]]


def test_prior_boxes_feed_detections(tmp_path):
    text = layer("PriorBox", "x i", "prior_box_param { min_size: 3 flip: false clip: true }")
    bottoms = {"x": normal(1, 2, 2, 3), "i": normal(1, 3, 20, 30)}
    got = run(tmp_path, bottoms, text)
    assert np.array_equal(got, run(tmp_path, bottoms, text, device="cpu"))
    assert got.shape == (1, 2, 24)
    assert close(got[0, 0, :4], np.float32([3.5 / 30, 3.5 / 20, 6.5 / 30, 6.5 / 20]))
    assert (got[0, 1] == np.float32(0.1)).all()
