"""How right detections are: DetectionEvaluate, average precision, and a solver's test by it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from detector_nets import (
    BODY,
    DATA,
    DETECTIONS,
    EVALUATION,
    HEADS,
    LOSS,
    TEST_DATA,
    box_database,
    precision_by_the_formula,
)  # fmt: skip

import pycaffe_clr as caffe
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.train.detection import Judged, average_precision, mean
from pycaffe_clr.train.evaluate import evaluate
from pycaffe_clr.train.log import CaffeLog

VERSIONS = ("Integral", "MaxIntegral", "11point")


# --- average precision ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "truths", "expected"),
    [
        # Precisions 1, 1/2, 2/3, 1/2 at recalls 1/2, 1/2, 1, 1.
        ([1, 0, 1, 0], 2, (1 / 2 + 1 / 3, 1 / 2 + 1 / 3, (6 + 5 * 2 / 3) / 11)),
        # 0, 1/2, 2/3 at 0, 1/3, 2/3; nothing from 0.7 on.
        ([0, 1, 1], 3, ((1 / 2 + 2 / 3) / 3, (2 / 3 + 2 / 3) / 3, 7 * 2 / 3 / 11)),
        ([1, 1], 2, (1, 1, 1)),
        ([0, 0], 2, (0, 0, 0)),
        ([1], 4, (1 / 4, 1 / 4, 3 / 11)),
        ([], 3, (0, 0, 0)),
        ([0, 0], 0, (0, 0, 0)),
    ],
)
def test_precision_of_a_few_detections(right, truths, expected):
    scores = np.linspace(1, 0.5, len(right))
    for version, value in zip(VERSIONS, expected, strict=True):
        found = average_precision(scores, np.array(right), truths, version)
        assert found == pytest.approx(value, abs=1e-6), version


@pytest.mark.parametrize("version", VERSIONS)
def test_precision_by_the_formula(version):
    random = np.random.default_rng(2)
    for _ in range(40):
        count = int(random.integers(1, 30))
        scores = random.integers(0, 12, count) / 12  # many are equal
        right = random.integers(0, 2, count)
        truths = max(1, int(right.sum() + random.integers(0, 4)))
        found = average_precision(scores, right, truths, version)
        assert found == pytest.approx(
            precision_by_the_formula(scores, right, truths, version), abs=1e-6
        )


def test_of_equal_scores_the_earlier_counts_first():
    scores = np.full(2, 0.5)
    assert average_precision(scores, np.array([1, 0]), 1, "Integral") == 1
    assert average_precision(scores, np.array([0, 1]), 1, "Integral") == 0.5


def test_classes_without_detections_count_as_nothing():
    judged = Judged()
    judged.add(np.array([[-1, 1, 1, -1, -1], [-1, 2, 3, -1, -1], [0, 1, 0.9, 1, 0], [-1] * 5]))
    judged.add(np.array([[-1, 1, 1, -1, -1], [-1, 2, 0, -1, -1], [1, 2, 0.9, 0, 0]]))
    precisions = judged.precisions("Integral")
    assert precisions == {1: 0.5, 2: None} and mean(precisions) == 0.25


# --- the layer ------------------------------------------------------------------------------------


def judge(tmp_path, detections, truths, fields="", device="cpu"):
    """Rows of what a net of that one layer gives; several passes where there are several lists."""
    path = tmp_path / "net.prototxt"
    path.write_text(
        f"""layer {{ name: "in" type: "Input" top: "found" top: "truth" input_param {{
          shape {{ dim: 1 dim: 1 dim: {len(detections)} dim: 7 }}
          shape {{ dim: 1 dim: 1 dim: {len(truths)} dim: 8 }} }} }}
        layer {{ name: "judge" type: "DetectionEvaluate" bottom: "found" bottom: "truth" top: "rows"
          detection_evaluate_param {{ num_classes: 3 {fields} }} }}"""
    )
    net = caffe.Net(path, caffe.TEST, device=device)
    net.blobs["found"].data[0, 0] = detections
    net.blobs["truth"].data[0, 0] = truths
    net.forward()
    return net, net.blobs["rows"].data[0, 0]


LEFT, RIGHT, LOW = [0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 1.0, 0.5], [0.0, 0.5, 0.5, 1.0]
SHIFTED = [0.05, 0.0, 0.55, 0.5]  # overlaps LEFT by 0.45 / 0.55
TRUTHS = [
    [0, 1, 0, *LEFT, 0],
    [0, 1, 1, *RIGHT, 1],  # difficult
    [1, 2, 0, *LOW, 0],
    [-1] * 8,
]
FOUND = [
    [0, 1, 0.7, *LEFT],
    [0, 1, 0.9, *SHIFTED],
    [0, 1, 0.8, *RIGHT],
    [0, 2, 0.6, *LEFT],
    [1, 2, 0.5, *RIGHT],
    [1, 2, 0.4, *LOW],
    [2, 1, 0.3, *LOW],
    [2, 1, 0.35, *LOW],
    [-1] * 7,
]


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_rows_of_classes_and_detections(tmp_path, device):
    _, rows = judge(tmp_path, FOUND, TRUTHS, device=device)
    expected = [
        [-1, 1, 2, -1, -1],
        [-1, 2, 1, -1, -1],
        [0, 1, 0.9, 1, 0],  # the best first, where there are truths
        [0, 1, 0.8, 1, 0],
        [0, 1, 0.7, 0, 1],  # its truth is taken
        [0, 2, 0.6, 0, 1],  # none of its class
        [1, 2, 0.5, 0, 1],
        [1, 2, 0.4, 1, 0],
        [2, 1, 0.3, 0, 1],  # none in its sample
        [2, 1, 0.35, 0, 1],
    ]
    assert np.array_equal(rows, np.float32(expected))
    _, rows = judge(tmp_path, FOUND, TRUTHS, "evaluate_difficult_gt: false", device)
    expected[0], expected[3] = [-1, 1, 1, -1, -1], [0, 1, 0.8, 0, 0]
    assert np.array_equal(rows, np.float32(expected))
    _, rows = judge(tmp_path, FOUND, TRUTHS, "overlap_threshold: 0.9", device)
    assert rows[2:5, 3].tolist() == [0, 1, 1]


def test_only_difficult_truths_and_none_at_all(tmp_path):
    difficult = [[*row[:7], 1] for row in TRUTHS]
    _, rows = judge(tmp_path, FOUND, difficult, "evaluate_difficult_gt: false")
    judged = Judged()
    judged.add(rows)
    assert rows[:2, 2].tolist() == [0, 0] and rows[2:5, 3:].tolist() == [[0, 0]] * 3
    assert judged.precisions("11point") == {1: 0, 2: 0}
    _, rows = judge(tmp_path, FOUND, [[-1] * 8])
    assert rows[:2, 2].tolist() == [0, 0] and (rows[2:, 3:] == [0, 1]).all() and len(rows) == 10
    _, rows = judge(tmp_path, [[0, *[-1] * 6], [1, *[-1] * 6]], TRUTHS)
    assert rows.tolist() == [[-1, 1, 2, -1, -1], [-1, 2, 1, -1, -1]]


@pytest.mark.parametrize(
    ("list_", "label", "message"),
    [("found", 3, "a detection .* has class 3"), ("truth", 0, "a truth .* has class 0")],
)
def test_classes_that_there_are_not(tmp_path, list_, label, message):
    net, _ = judge(tmp_path, FOUND, TRUTHS)
    net.blobs[list_].data[0, 0, 0, 1] = label
    with pytest.raises(DataError, match=f"layer 'judge': {message}"):
        net.forward()


SIZES = [(10, 20), (7, 6), (40, 12)]
RESIZES = {
    "": lambda share, side, other, scale: share * side,
    "resize_mode: FIT_LARGE_SIZE_AND_PAD height: 30 width: 30": lambda share, side, other, scale: (
        # In the middle of a square.
        (share - 0.5) * max(side, other) + side / 2
    ),
    "resize_mode: FIT_SMALL_SIZE height_scale: 9 width_scale: 15": (
        lambda share, side, other, scale: share * scale
    ),
}


@pytest.mark.parametrize("resize", RESIZES)
def test_boxes_in_pixels_of_their_pictures(tmp_path, resize):
    """Both ends belong to a box then, and pictures come in their order, again and again."""
    (tmp_path / "sizes.txt").write_text("a 10 20\nb c 7 6\n\nd 40 12\n")
    boxes = np.array([[0.1, 0.2, 0.6, 1.2], [0.3, 0.1, 0.8, 0.9]])
    overlaps = []
    for height, width in SIZES:
        sides = boxes.copy()
        for axis, (side, other, scale) in enumerate([(width, height, 15), (height, width, 9)]):
            for column in (axis, axis + 2):
                at = RESIZES[resize](boxes[:, column], side, other, scale)
                sides[:, column] = np.clip(at, 0, side)
        area = (sides[:, 2:] - sides[:, :2] + 1).prod(1)
        low, high = np.maximum(*sides[:, :2]), np.minimum(*sides[:, 2:])
        shared = (high - low + 1).prod()
        overlaps.append(shared / (area.sum() - shared))
    fields = f'name_size_file: "{tmp_path / "sizes.txt"}" resize_param {{ {resize} }}'
    found, truth = [[0, 1, 0.5, *boxes[0]]], [[0, 1, 0, *boxes[1], 0]]
    for threshold in np.array(overlaps) + 1e-4:
        net, rows = judge(tmp_path, found, truth, f"{fields} overlap_threshold: {threshold}")
        right = [rows[2, 3], *(net.forward()["rows"][0, 0, 2, 3] for _ in range(4))]
        assert right == [overlaps[n % 3] >= threshold for n in range(5)]


def test_files_of_sizes_that_are_none(tmp_path):
    (tmp_path / "sizes.txt").write_text("a 10 20\nb 10\n")
    with pytest.raises(DataError, match=r"sizes.txt:2: expected `name height width`"):
        judge(tmp_path, FOUND, TRUTHS, f'name_size_file: "{tmp_path / "sizes.txt"}"')
    with pytest.raises(ConfigError, match="layer 'judge'"):
        judge(tmp_path, FOUND, TRUTHS, "background_label_id: 4294967295")


# --- a solver's tests -----------------------------------------------------------------------------


def solver_of(folder, test_net: str, more: str = 'eval_type: "detection"') -> None:
    box_database(folder / "boxes", 16, 32)
    (folder / "train.prototxt").write_text(DATA + BODY + HEADS + LOSS)
    (folder / "test.prototxt").write_text(test_net)
    (folder / "solver.prototxt").write_text(
        'train_net: "train.prototxt" test_net: "test.prototxt" test_iter: 4 test_interval: 2'
        ' base_lr: 0.004 lr_policy: "fixed" type: "Adam" momentum: 0.9 max_iter: 2 display: 0'
        f' random_seed: 3 snapshot_prefix: "s" {more}'
    )


# Enough is found by a net that knows nothing.
TEST_NET = TEST_DATA + BODY + HEADS + DETECTIONS.replace("0.5", "0.34") + EVALUATION


def test_a_run_keeps_it_as_it_keeps_an_accuracy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solver_of(tmp_path, TEST_NET, 'eval_type: "detection" ap_version: "MaxIntegral"')
    result = caffe.run("solver.prototxt", out=tmp_path / "out")
    found = result.tests["detection_eval"]
    assert result.state == "finished" and len(found) == 2 and 0 < found.max() <= 1
    assert result.best_accuracy == found.max()
    # The four batches of a test are the whole database.
    assert result.whole_accuracy == pytest.approx(found[-1], abs=1e-7)
    log = caffe.read_log(tmp_path / "out" / "train.log")
    assert np.allclose(log.tests["detection_eval"], found, rtol=1e-5)
    weights = tmp_path / "out" / "s_iter_2.caffemodel"
    for version, value in (("MaxIntegral", found[-1]), ("11point", None)):
        rated = evaluate("test.prototxt", weights, ap_version=version)["detection_eval"]
        assert rated == pytest.approx(value, abs=1e-7) if value else rated != found[-1]


def test_classes_that_nothing_was_found_of_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solver_of(tmp_path, TEST_NET.replace("0.34", "2"))
    said = io.StringIO()
    caffe.SGDSolver("solver.prototxt", log=CaffeLog(said)).step(1)
    assert "] Missing true_pos for label: 1\n" in said.getvalue()
    assert "Test net output #0: detection_eval = 0\n" in said.getvalue()


def test_other_outputs_and_other_words_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solver_of(tmp_path, TEST_NET + 'layer { name: "s" type: "Softmax" bottom: "flat" top: "s" }')
    with pytest.raises(ConfigError, match=r"DetectionEvaluate.*output 's' of a test net"):
        caffe.SGDSolver("solver.prototxt")
    for more, message in (
        ('eval_type: "segmentation"', 'eval_type "segmentation" is unknown'),
        ('ap_version: "101point"', 'ap_version "101point" is unknown'),
    ):
        solver_of(tmp_path, TEST_NET, more)
        with pytest.raises(ConfigError, match=message):
            caffe.SGDSolver("solver.prototxt")
