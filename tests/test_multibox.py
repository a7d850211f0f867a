"""SSD's and Fast R-CNN's losses against their formulas, written down in numpy, and their gradients
against finite differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import pycaffe_clr as caffe
from pycaffe_clr.errors import ConfigError, DataError

SAMPLES, PRIORS, CLASSES = 3, 14, 4
VARIANCE = np.array([0.1, 0.1, 0.2, 0.2])


def make(folder, inputs: dict[str, tuple[int, ...]], layer: str) -> caffe.Net:
    text = "force_backward: true\n" + "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {dim}" for dim in shape)
        + " } } }\n"
        for name, shape in inputs.items()
    )
    (folder / "net.prototxt").write_text(text + layer)
    return caffe.Net(folder / "net.prototxt", caffe.TRAIN, device="reference", dtype="float64")


def multibox(fields: str = "", common: str = "") -> str:
    return f"""layer {{ name: "l" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "prior"
      bottom: "truth" top: "loss" {common}
      multibox_loss_param {{ num_classes: {CLASSES} code_type: CENTER_SIZE {fields} }} }}"""


def problem(seed: int, places: int = 1) -> dict[str, np.ndarray]:
    """Random priors, some of them over the border, and truths that several of them overlap."""
    random = np.random.default_rng(seed)
    low = random.uniform(-0.1, 0.6, (PRIORS, 2))
    priors = np.hstack([low, low + random.uniform(0.15, 0.5, (PRIORS, 2))])
    truths = []
    for sample, chosen in enumerate([(0, 5, 9), (2,), ()]):  # the last sample has none
        for n, prior in enumerate(chosen):
            box = priors[prior] + random.normal(0, 0.03, 4)
            truths.append([sample, 1 + (prior + n) % (CLASSES - 1), n, *box, n == 1])
    truths += [[-1] * 8, [0, 2, 0, 0.9, 0.9, 0.95, 0.95, 0]]  # no sample's; overlaps hardly any
    return {
        "loc": random.normal(0, 1.2, (SAMPLES, PRIORS * places * 4)),
        "conf": random.normal(0, 2, (SAMPLES, PRIORS * CLASSES)),
        "prior": np.stack([priors.ravel(), np.tile(VARIANCE, PRIORS)])[None],
        "truth": np.array(truths, float)[None, None],
    }


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (sides <= 0).any():
        return 0.0
    shared = sides.prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def smooth(d: np.ndarray) -> np.ndarray:
    return np.where(np.abs(d) < 1, d * d / 2, np.abs(d) - 0.5)


def centre_size(prior: np.ndarray, box: np.ndarray) -> np.ndarray:
    size, its = prior[2:] - prior[:2], box[2:] - box[:2]
    shift = ((box[:2] + box[2:]) - (prior[:2] + prior[2:])) / 2 / size
    return np.concatenate([shift, np.log(its / size)]) / VARIANCE


def decoded(prior: np.ndarray, shift: np.ndarray) -> np.ndarray:
    size, d = prior[2:] - prior[:2], shift * VARIANCE
    centre, half = (prior[:2] + prior[2:]) / 2 + d[:2] * size, np.exp(d[2:]) * size / 2
    return np.concatenate([centre - half, centre + half])


def class_loss(x: np.ndarray, label: int, logistic: bool) -> float:
    if logistic:
        target = np.arange(len(x)) == label
        return float((np.log1p(np.exp(x)) - x * target).sum())
    return float(np.log(np.exp(x).sum()) - x[label])


def expected(p: dict[str, np.ndarray], **how) -> float:
    """The loss, one step of the fork's after the other, for boxes that all classes share."""
    mining = how.get("mining", "MAX_NEGATIVE")
    logistic, square = how.get("logistic", False), how.get("square", False)
    priors = p["prior"][0, 0].reshape(-1, 4)
    places, classes, matched = 0.0, 0.0, 0
    for n in range(SAMPLES):
        loc, conf = p["loc"][n].reshape(-1, 4), p["conf"][n].reshape(-1, CLASSES)
        rows = [r for r in p["truth"].reshape(-1, 8) if r[0] == n]
        rows = [r for r in rows if how.get("difficult", True) or not r[7]]
        if not rows:
            if mining == "NONE":
                classes += sum(class_loss(conf[i], 0, logistic) for i in range(PRIORS))
            continue
        boxes = priors
        if not how.get("match_priors", True):
            boxes = np.array([decoded(q, d) for q, d in zip(priors, loc, strict=True)])
        table = np.array([[overlap(b, r[3:7]) for r in rows] for b in boxes])
        ignored = np.zeros(PRIORS, bool)
        if how.get("ignore_crossing"):
            ignored = ((boxes < 0) | (boxes > 1)).any(1)
            table[ignored] = 0
        of = np.full(PRIORS, -1)
        left = table.copy()
        while left.max() > 1e-6:
            i, j = np.unravel_index(left.argmax(), left.shape)
            of[i] = j
            left[i, :] = left[:, j] = 0
        for i in range(PRIORS):
            j = table[i].argmax()
            if not how.get("bipartite") and of[i] < 0 and table[i, j] >= 0.5:
                of[i] = j
        loss_of_place = np.zeros(PRIORS)
        for i in range(PRIORS):
            if of[i] >= 0:
                d = loc[i] - centre_size(priors[i], rows[of[i]][3:7])
                loss_of_place[i] = (d * d / 2 if square else smooth(d)).sum()
        label = np.array([int(rows[j][1]) if j >= 0 else 0 for j in of])
        worth = np.array([class_loss(conf[i], label[i], logistic) for i in range(PRIORS)])
        if mining == "NONE":
            chosen = set(range(PRIORS))
        elif mining == "MAX_NEGATIVE":
            most = table.max(1)
            others = [i for i in range(PRIORS) if of[i] < 0 and not ignored[i] and most[i] < 0.5]
            others.sort(key=lambda i: -worth[i])
            count = int((of >= 0).sum() * how.get("ratio", 3))
            chosen = {i for i in range(PRIORS) if of[i] >= 0} | set(others[:count])
        else:
            order = sorted(range(PRIORS), key=lambda i: -(worth[i] + loss_of_place[i]))
            chosen = set(order[: how["sample_size"]])
            of = np.where([i in chosen for i in range(PRIORS)], of, -1)
        matched += int((of >= 0).sum())
        places += loss_of_place[of >= 0].sum()
        classes += sum(worth[i] for i in chosen if not ignored[i])
    return (how.get("weight", 1) * places + classes) / max(matched, 1)


CASES = [
    ("", {}),
    ("loc_weight: 2.5 loc_loss_type: L2", {"weight": 2.5, "square": True}),
    ("conf_loss_type: LOGISTIC neg_pos_ratio: 1.5", {"logistic": True, "ratio": 1.5}),
    ("mining_type: NONE", {"mining": "NONE"}),
    ("mining_type: HARD_EXAMPLE sample_size: 6", {"mining": "HARD", "sample_size": 6}),
    ("match_type: BIPARTITE use_difficult_gt: false", {"bipartite": True, "difficult": False}),
    ("use_prior_for_matching: false", {"match_priors": False}),
    ("ignore_cross_boundary_bbox: true", {"ignore_crossing": True}),
]


@pytest.mark.parametrize(("fields", "how"), CASES, ids=[fields or "plain" for fields, _ in CASES])
def test_multibox_loss(tmp_path, fields, how):
    for seed in range(3):
        arrays = problem(seed)
        net = make(tmp_path, {name: a.shape for name, a in arrays.items()}, multibox(fields))
        for name, array in arrays.items():
            net.blobs[name].data[...] = array
        net.forward()
        assert net.blobs["loss"].data == pytest.approx(expected(arrays, **how), rel=1e-9)
        # Finite differences of every shift and confidence that counts for something, and some more.
        net.backward()
        random = np.random.default_rng(seed)
        for name in ("loc", "conf"):
            blob = net.blobs[name]
            diff = blob.diff.copy().ravel()
            some = [*np.flatnonzero(diff)[:6], *random.integers(0, diff.size, 4)]
            for at in some:
                values = []
                for step in (1e-5, -1e-5):
                    blob.data.flat[at] += step
                    net.forward()
                    values.append(float(net.blobs["loss"].data))
                    blob.data.flat[at] -= step
                slope = (values[0] - values[1]) / 2e-5
                assert diff[at] == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_each_class_may_have_boxes_of_its_own(tmp_path):
    arrays = problem(1, CLASSES)
    fields = "share_location: false mining_type: NONE"
    net = make(tmp_path, {name: a.shape for name, a in arrays.items()}, multibox(fields))
    for name, array in arrays.items():
        net.blobs[name].data[...] = array
    net.forward()
    net.backward()
    diff = net.blobs["loc"].diff.reshape(SAMPLES, PRIORS, CLASSES, 4)
    used = np.abs(diff).sum(3) > 0
    assert used.any() and used.sum(2).max() == 1 and not used[:, :, 0].any()


def test_the_loss_is_made_of_what_gets_a_gradient(tmp_path):
    arrays = problem(2)
    losses = []
    for first, second in ((True, True), (True, False), (False, True)):
        flags = " ".join(
            f"propagate_down: {str(flag).lower()}" for flag in (first, second, False, False)
        )
        net = make(tmp_path, {name: a.shape for name, a in arrays.items()}, multibox(common=flags))
        for name, array in arrays.items():
            net.blobs[name].data[...] = array
        net.forward()
        losses.append(float(net.blobs["loss"].data))
    assert losses[0] == pytest.approx(losses[1] + losses[2])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [(1, 0, "class 0"), (1, 9, "class 9"), (1, np.nan, "class nan"), (5, -1, "no size")],
)
def test_truths_that_mean_nothing_are_refused(tmp_path, column, value, message):
    arrays = problem(0)
    net = make(tmp_path, {name: a.shape for name, a in arrays.items()}, multibox())
    arrays["truth"][0, 0, 0, column] = value
    for name, array in arrays.items():
        net.blobs[name].data[...] = array
    with pytest.raises(DataError, match=f"layer 'l': a truth of sample 0 has {message}"):
        net.forward()
    net.blobs["truth"].data[...] = -1
    net.forward()
    assert net.blobs["loss"].data == 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (multibox("share_location: false"), "needs share_location"),
        (multibox("do_neg_mining: false"), "contradict"),
        (multibox("neg_pos_ratio: 0"), "neg_pos_ratio"),
        (multibox().replace("num_classes: 4", ""), "num_classes is missing"),
        (multibox().replace("num_classes: 4", "num_classes: 5"), "expected 70 confidences"),
        (multibox().replace('bottom: "truth"', 'bottom: "loc"'), "truths of 8 numbers"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, layer, message):
    shapes = {name: array.shape for name, array in problem(0).items()}
    with pytest.raises(ConfigError, match=rf"layer 'l' \(MultiBoxLoss.*{message}"):
        make(tmp_path, shapes, layer)


def test_smooth_l1_loss(tmp_path):
    random = np.random.default_rng(1)
    shape = (3, 4, 2, 2)
    names = ("a", "b", "inside", "outside")
    arrays = {name: random.normal(0, 1.5, shape) for name in names}
    arrays["inside"] = random.integers(0, 2, shape).astype(float)
    for count, sigma in itertools.product((2, 3, 4), (1.0, 3.0)):
        bottoms = " ".join(f'bottom: "{name}"' for name in names[:count])
        layer = f"""layer {{ name: "l" type: "SmoothL1Loss" {bottoms} top: "loss"
          smooth_l1_loss_param {{ sigma: {sigma} }} }}"""
        net = make(tmp_path, dict.fromkeys(names[:count], shape), layer)
        for name in names[:count]:
            net.blobs[name].data[...] = arrays[name]
        net.forward()
        d = arrays["a"] - arrays["b"]
        d = np.abs(d * arrays["inside"]) if count > 2 else np.abs(d)
        each = np.where(d < 1 / sigma**2, (sigma * d) ** 2 / 2, d - 0.5 / sigma**2)
        each = each * arrays["outside"] if count > 3 else each
        assert net.blobs["loss"].data == pytest.approx(each.sum() / 3)
