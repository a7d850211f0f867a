"""AnnotatedData: pictures with boxes, as SSD's databases hold them."""

from __future__ import annotations

import io

import lmdb
import numpy as np
import pytest
from PIL import Image

from pycaffe_clr import proto
from pycaffe_clr.data.annotated import MOST_BOXES, AnnotatedRecords
from pycaffe_clr.data.annotated_settings import check_settings
from pycaffe_clr.data.box_sampling import Boxes, Part, choose, crop, expand
from pycaffe_clr.data.colors import distort
from pycaffe_clr.data.sources import RawRecords
from pycaffe_clr.errors import ConfigError, DataError

RNG = np.random.default_rng(3)
PICTURES = RNG.integers(0, 256, (3, 3, 8, 12), dtype=np.uint8)
BOXES = [
    [(3, 0, 0.1, 0.2, 0.6, 0.7, False), (7, 1, 0.5, 0.5, 1.0, 0.9, True)],
    [],
    [(1, 0, 0.25, 0.0, 0.75, 0.5, False)],
]


def record(image: np.ndarray, boxes) -> bytes:
    message = proto.AnnotatedDatum(type=0)
    datum = message.datum
    datum.channels, datum.height, datum.width = image.shape
    datum.data = image.tobytes()
    for label, instance, x1, y1, x2, y2, difficult in boxes:
        box = message.annotation_group.add(group_label=label).annotation.add(instance_id=instance)
        for name, value in zip(("xmin", "ymin", "xmax", "ymax"), (x1, y1, x2, y2), strict=True):
            setattr(box.bbox, name, value)
        box.bbox.difficult = difficult
    return message.SerializeToString()


def database(folder, values: list[bytes]):
    with lmdb.open(str(folder), map_size=1 << 24) as env, env.begin(write=True) as put:
        for number, value in enumerate(values):
            put.put(b"%08d" % number, value)
    return folder


@pytest.fixture
def records(tmp_path):
    values = [record(*each) for each in zip(PICTURES, BOXES, strict=True)]
    return RawRecords(database(tmp_path / "db", values))


def settings(height=8, width=12, **more):
    return {"resize_param": {"height": height, "width": width}, **more}


def test_a_batch_has_its_boxes_in_one_list(records):
    transform = settings(mean_value=[10.0, 20.0, 30.0], scale=0.5)
    source = AnnotatedRecords(records, transform, [], ["data", "label"], 1)
    assert source.fields == {"data": (3, 8, 12), "label": (MOST_BOXES, 8)}
    batch = source.next(4)  # the first one again at the end
    mean = np.float32([10, 20, 30])[:, None, None]
    for row, which in enumerate((0, 1, 2, 0)):
        assert np.array_equal(batch["data"][row], (PICTURES[which] - mean) * np.float32(0.5))
    rows = batch["label"].reshape(-1, 8)
    expected = [[n, *box] for n, which in enumerate((0, 1, 2, 0)) for box in BOXES[which]]
    assert np.array_equal(rows[: len(expected)], np.float32(expected))
    assert (rows[len(expected) :] == -1).all() and source.position == 4
    source.seek(0)
    assert np.array_equal(source.next(4)["data"], batch["data"])


def test_mirrored_pictures_have_mirrored_boxes(records):
    source = AnnotatedRecords(records, settings(mirror=True), [], ["data", "label"], 1)
    seen = set()
    for _ in range(8):
        batch = source.next(3)
        x1, x2 = batch["label"].reshape(-1, 8)[0, [3, 5]]
        turned = not np.array_equal(batch["data"][0], PICTURES[0])
        assert np.allclose((x1, x2), (0.4, 0.9) if turned else (0.1, 0.6))
        seen.add(turned)
    assert seen == {True, False}


def boxes(*sides) -> Boxes:
    return Boxes(np.float32([[1, 0, *each, 0] for each in sides]).reshape(-1, 7))


def test_a_part_keeps_the_boxes_that_it_shows():
    image = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(3, 8, 8)
    both = boxes((0.0, 0.0, 0.6, 0.6), (0.1, 0.1, 0.45, 0.45))
    part = Part(0.25, 0.25, 0.75, 0.75)
    image_part, kept = crop(image, both, part, {"emit_type": "CENTER"})
    assert np.array_equal(image_part, image[:, 2:6, 2:6])
    assert np.allclose(kept.sides, [[0, 0, 0.7, 0.7], [0, 0, 0.4, 0.4]], atol=1e-6)
    _, kept = crop(image, both, part, {"emit_type": "MIN_OVERLAP", "emit_overlap": 0.33})
    assert np.allclose(kept.sides, [[0, 0, 0.7, 0.7]], atol=1e-6)
    assert len(crop(image, both, Part(0.8, 0.8, 1, 1), None)[1]) == 0


def test_samplers_find_parts_that_meet_their_constraint():
    one = boxes((0.3, 0.3, 0.6, 0.6))
    samplers = [
        {
            "sampler": {
                "min_scale": 0.3,
                "max_scale": 0.4,
                "max_aspect_ratio": 2.0,
                "min_aspect_ratio": 0.5,
            },
            "sample_constraint": {"min_jaccard_overlap": 0.5},
            "max_sample": 1,
            "max_trials": 500,
        }
    ]
    for seed in range(20):
        part = choose(one, samplers, np.random.default_rng(seed))
        assert part is not None
        low, high = np.maximum(part[:2], 0.3), np.minimum(part[2:], 0.6)
        shared = np.maximum(high - low, 0).prod()
        area = (part.x2 - part.x1) * (part.y2 - part.y1)
        assert shared / (area + 0.09 - shared) >= 0.5
        assert 0 <= part.x1 < part.x2 <= 1 + 1e-9 and 0 <= part.y1 < part.y2 <= 1 + 1e-9
    assert choose(one, [], np.random.default_rng(0)) is None


def test_expanded_pictures_lie_on_a_canvas_of_the_mean():
    image = np.full((3, 10, 20), 200, np.uint8)
    mean = np.float32([104, 117, 123])
    for seed in range(5):
        random = np.random.default_rng(seed)
        whole = boxes((0, 0, 1, 1))
        big, moved = expand(image, whole, {"max_expand_ratio": 4.0}, mean, None, random)
        assert (big == 200).all(0).sum() == 200
        inside = np.argwhere((big == 200).all(0))
        height, width = big.shape[1:]
        x1, y1, x2, y2 = moved.sides[0]
        assert np.allclose((y1 * height, x1 * width), inside.min(0), atol=1e-3)
        assert np.allclose((y2 * height, x2 * width), inside.max(0) + 1, atol=1e-3)
        assert (big[:, (big != 200).any(0)] == [[104], [117], [123]]).all()


def test_colours_change_as_they_are_asked_to():
    image = RNG.integers(0, 256, (3, 6, 7), dtype=np.uint8)
    random = np.random.default_rng(1)
    assert np.array_equal(distort(image, {}, random), image)
    brighter = {"brightness_prob": 1.0, "brightness_delta": 32.0}
    changes = distort(image, brighter, random).astype(int) - image
    assert len(np.unique(changes[(image > 40) & (image < 200)])) == 1
    kept = {"saturation_prob": 1.0, "saturation_lower": 1.0, "saturation_upper": 1.0}
    turned = {"hue_prob": 1.0, "hue_delta": 1e-4}
    assert np.abs(distort(image, kept | turned, random).astype(int) - image).max() <= 1
    gray = {"saturation_prob": 1.0, "saturation_lower": 0.0, "saturation_upper": 0.0}
    assert (distort(image, gray, random) == image.max(0)).all()


def test_encoded_pictures_are_decoded(tmp_path):
    pixels = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    message = proto.AnnotatedDatum(type=0)
    message.datum.encoded, message.datum.data = True, file.getvalue()
    values = RawRecords(database(tmp_path / "db", [message.SerializeToString()]))
    source = AnnotatedRecords(values, settings(5, 4), [], ["data"], 1)
    assert np.array_equal(source.next(1)["data"][0], pixels[:, :, ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("value", [b"\xff\xff", b"", proto.Datum(label=3).SerializeToString()])
def test_records_of_other_kinds_are_refused(tmp_path, value):
    with pytest.raises(DataError, match="record 0 .*AnnotatedDatum"):
        AnnotatedRecords(
            RawRecords(database(tmp_path / "db", [value])), settings(), [], ["data", "label"], 1
        )


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({}, "needs a resize_param"),
        ({"resize_param": {"height": 3, "width": 3, "resize_mode": "FIT_SMALL_SIZE"}}, "WARP is"),
        (settings(noise_param={"prob": 1.0}), "noise_param is not supported"),
        (settings(crop_size=3), "crop_size is not supported"),
    ],
)
def test_what_is_not_supported_is_told(transform, message):
    with pytest.raises(ConfigError, match=message):
        check_settings(transform, [], "net:1: layer 'data'")


def test_numbers_that_no_picture_can_have_are_refused():
    for transform, samplers, word in [
        (settings(expand_param={"max_expand_ratio": 0.5}), [], "max_expand_ratio is 0.5"),
        (settings(distort_param={"hue_delta": -1}), [], "hue_delta is -1"),
        (settings(distort_param={"contrast_lower": 2, "contrast_upper": 1}), [], "contrast_upper"),
        (settings(), [{"sampler": {"min_scale": 0}}], "min_scale is 0"),
        (settings(), [{"sampler": {"max_scale": 2}}], "max_scale is 2"),
        (settings(), [{"sampler": {"min_aspect_ratio": 2}}], "max_aspect_ratio, 1"),
        (settings(scale=float("nan")), [], "is nan"),
    ]:
        with pytest.raises(ConfigError, match=f"layer 'data'.*{word}"):
            check_settings(transform, samplers, "net:1: layer 'data'")
