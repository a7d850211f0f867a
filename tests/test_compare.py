"""compare and plot-log: what words name, numbers by hand, pictures, and what cannot be compared."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from run_cases import make_run

from pycaffe_clr.cli import main
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.experiments import author
from pycaffe_clr.experiments.compare import (
    accuracy_of,
    along,
    apart,
    band_of,
    compare,
    default_levels,
    iterations_to,
    noise,
)
from pycaffe_clr.experiments.compare_text import text_of
from pycaffe_clr.experiments.groups import Group, classes_of, groups_of, readable
from pycaffe_clr.experiments.overlay import draw, lines_of
from pycaffe_clr.experiments.store import Store
from pycaffe_clr.train.result import RunResult, read_run

NET = """
layer { name: "data" type: "Input" top: "data" top: "label" }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 7 } }
layer { name: "relu" type: "ReLU" bottom: "ip" top: "ip" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" include { phase: TEST } }
"""


def log_text(accuracies: list[float], step: int = 100) -> str:
    return "".join(
        f"I0101 00:00:{i:02}.0 1 s.cpp:1] Iteration {i * step}, Testing net (#0)\n"
        f"I0101 00:00:{i:02}.0 1 s.cpp:1]     Test net output #0: accuracy = {accuracy}\n"
        f"I0101 00:00:{i:02}.0 1 s.cpp:1]     Test net output #1: loss = {1 - accuracy:.6g}\n"
        f"I0101 00:00:{i:02}.5 1 s.cpp:1] Iteration {i * step}, loss = {2 - accuracy:.6g}\n"
        f"I0101 00:00:{i:02}.5 1 s.cpp:1] Iteration {i * step}, lr = {0.1 * (i + 1):.6g}\n"
        for i, accuracy in enumerate(accuracies)
    )


def result(accuracies: list[float], state: str = "finished", step: int = 100) -> RunResult:
    count = len(accuracies)
    at = step * np.arange(count, dtype=float)
    accuracy = np.array(accuracies)
    tests = {"iteration": at, "net": np.zeros(count), "accuracy": accuracy, "loss": 1 - accuracy}
    metrics = {"iteration": at, "loss": 2 - accuracy, "lr": at / 1000}
    end = int(at[-1]) if count else 0
    return RunResult("x", state, "", Path(f"x{id(at)}"), end, 1000, 50, metrics, tests)


def group(*runs: RunResult, classes: int = 10, label: str = "g") -> Group:
    return Group(label, runs, 0, classes)


# --- what words name ------------------------------------------------------------------------------


def names(groups: list[Group]) -> list[tuple[str, int]]:
    return [(found.label, len(found.runs)) for found in groups]


def test_words_name_folders_logs_patterns_and_settings(tmp_path):
    runs = tmp_path / "runs"
    for plan in ("run1", "run2", "file"):
        make_run(runs, "lenet_1cycle", plan)
    make_run(runs, "mine", "run1")
    logs = [tmp_path / f"{name}.log" for name in ("a_1", "a_2")]
    for path in logs:
        path.write_text(log_text([0.1, 0.5]))
    (tmp_path / "a_3.png").write_bytes(b"\x89PNG")
    store = Store([runs])

    def of(*words: object) -> list[tuple[str, int]]:
        return names(groups_of([str(word) for word in words], store))

    setting, here = ("lenet_1cycle", 2), runs / "lenet_1cycle"
    assert of("lenet_1cycle") == of(here) == of(here / "run?") == [setting]
    assert of(here / "run1", here / "run2") == of(here, here / "run1") == [setting]
    assert of(runs) == of(runs / "*") == [setting, ("mine", 1)]
    assert of(here / "file") == [("lenet_1cycle/file", 1)]
    assert of(here / "run*" / "run.json") == [setting]
    assert of(logs[0]) == [("a_1", 1)]
    assert of(tmp_path / "a_*") == [("a_1", 1), ("a_2", 1)]
    assert of(f"both={tmp_path}/a_*", "mine") == [("both", 2), ("mine", 1)]
    groups = groups_of(["lenet_1cycle", "mine"], store)
    assert [(g.images, g.classes) for g in groups] == [(60_000, 10), (0, 0)]


def test_runs_of_one_solver_are_one_group_if_their_settings_agree(tmp_path):
    for name, spec in (
        ("a", {"seed": 1}), ("a-2", {"seed": 2, "batch": 7}), ("a-3", {"sets": {"base_lr": "1"}}),
    ):  # fmt: skip
        make_run(tmp_path, "runs", name, spec=spec, name="a")
    words = [str(tmp_path / "runs" / name) for name in ("a", "a-2", "a-3")]
    assert names(groups_of(words, Store([]))) == [("a (a, a-2)", 2), ("a (a-3)", 1)]


def test_the_authors_logs_by_name_or_by_setting(tmp_path):
    (found,) = groups_of(["inception-resnetM9LR"], Store([]))
    assert found.label == "author: inception-resnetM9LR.1WD1e-4BS28_145Epochs"
    assert len(found.runs) == 2 and found.through
    make_run(tmp_path, "resnet56_1cycle_m95_same_batch", "run1")
    pair = groups_of(["resnet56_1cycle_m95_same_batch", "author"], Store([tmp_path]))
    assert pair[1].label.startswith("author: gResnet56_ResTBS512")
    folder = tmp_path / "resnet56_1cycle_m95_same_batch"
    assert names(groups_of([str(folder), "author"], Store([]))) == names(pair)


def test_words_that_name_nothing(tmp_path):
    store = Store([tmp_path])
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.log").write_text("nothing\n")
    for word, message in (
        ("lenet_1cycle", "no run of this setting lies in"),
        ("lenet_2cycle", "nor one of the author's logs. Did you mean lenet_1cycle"),
        (str(tmp_path / "empty"), "holds no run"),
        (str(tmp_path / "*.txt"), "fits no run and no log"),
        ("author", "no setting stands before it"),
    ):
        with pytest.raises(ConfigError, match=message):
            groups_of([word], store)
    with pytest.raises(DataError, match="no line of a training log"):
        groups_of([str(tmp_path / "no.log")], store)


def test_classes_come_from_the_net(tmp_path):
    folder = make_run(tmp_path, "mine", "run1", "diverged")
    assert classes_of(read_run(folder)) == 0
    (folder / "net.prototxt").write_text(NET)
    assert classes_of(read_run(folder)) == 7
    (found,) = groups_of([str(folder)], Store([]))
    assert found.classes == 7
    (folder / "net.prototxt").write_text("layer {")
    assert classes_of(read_run(folder)) == 0


def test_early_records_are_completed_from_the_log(tmp_path):
    folder = make_run(tmp_path, "lenet_1cycle", "run1", batch=0)
    (folder / "train.log").write_text(
        "I0101 00:00:00.0 1 n.cpp:1] Initializing net from parameters:\nbatch_size: 600\n"
        + log_text([0.1, 0.5])
    )
    (found,) = groups_of(["lenet_1cycle"], Store([tmp_path]))
    at = np.array([0.0, 100.0])
    assert along(found, "epoch", at).tolist() == [0, 1]
    assert along(found, "seconds", at).tolist() == [0.5, 1.5]
    assert along(found, "epoch", at, images=120_000).tolist() == [0, 0.5]


# --- numbers --------------------------------------------------------------------------------------


def test_iterations_until_an_accuracy():
    run = result([0.1, 0.5, 0.4, 0.8])
    assert iterations_to(run, 10) == 0
    assert iterations_to(run, 30) == 50
    assert iterations_to(run, 50) == 100
    assert iterations_to(run, 60) == 250
    assert math.isnan(iterations_to(run, 81)) and math.isnan(iterations_to(result([]), 1))


def test_levels_that_all_reach():
    assert default_levels([group(result([0.1, 0.9])), group(result([0.95]))]) == [60, 80, 89]
    assert default_levels([group(result([0.99]))]) == [96, 98, 98.9]
    assert default_levels([group(result([0.2]))]) == [12]
    assert default_levels([group(result([]))]) == []


def test_a_group_in_numbers():
    first = group(result([0.1, 0.8]), result([0.1, 0.9]), label="first")
    second = group(result([0.5, 0.6]), result([0.2, 0.4], "diverged"), label="second")
    one, two = compare([first, second], [50.0, 95.0])
    assert one.accuracy.mean == pytest.approx(85) and one.against is None
    assert two.accuracy.values == pytest.approx((60, 10)) and two.accuracy.diverged == 1
    assert two.against.difference == pytest.approx(-50) and 0 < two.against.p < 1
    assert one.reach[50.0].values == pytest.approx((400 / 7, 50))
    assert one.reach[95.0].n == 0
    assert two.loss.values == pytest.approx((0.4,))
    unknown = group(result([0.5]), result([0.2], "diverged"), classes=0)
    assert accuracy_of(unknown).values == (50,)
    text = text_of([one, two])
    assert "second" in text and "counts at chance, 10 %" in text and "never" in text
    assert "(1 of 2)" in text
    words = text_of(compare([unknown])).split()
    assert "is left out: how many classes there are is not known." in " ".join(words)


def test_curves_apart_by_hand():
    first = group(result([0.0, 0.5, 0.9]))
    second = group(result([0.2, 0.6], step=150))
    found = apart(first, second, "accuracy")
    assert (found.begin, found.end) == (0, 150)
    # 0 at 0, 50 at 100, 70 at 150; 20, 46.67, 60.
    assert found.at == 0 and found.largest == pytest.approx(-20)
    assert found.ends == pytest.approx((70, 60))
    areas = [(20 + 10 / 3) / 2 * 100, (10 / 3 + 10) / 2 * 50]
    assert found.mean == pytest.approx(sum(areas) / 150)
    loss = apart(first, second, "test_loss")
    assert loss.mean == pytest.approx(found.mean / 100)
    assert apart(first, group(result([])), "accuracy") is None
    same = apart(first, first, "train_loss")
    assert same.mean == same.largest == same.rms == 0 and same.points == 3
    # Points of both are at 0 alone.
    assert (found.points, found.rms) == (1, pytest.approx(20)) and math.isnan(found.noise)
    assert all(map(math.isnan, found.quarters))


def test_noise_is_what_strays_from_a_smooth_course():
    rng = np.random.default_rng(1)
    line = np.linspace(0, 5, 4000)
    assert noise(line) == pytest.approx(0, abs=1e-12)
    assert noise(line + rng.normal(0, 0.1, len(line))) == pytest.approx(0.1, rel=0.05)
    assert noise(np.array([1.0, 0.0, 1.0])) == pytest.approx(math.sqrt(4 / 6))
    assert math.isnan(noise(np.zeros(2)))


def test_curves_apart_by_quarters():
    accuracies = 0.5 + 0.01 * np.arange(12) + 0.01 * (-1.0) ** np.arange(12)
    first, second = (
        group(result(list(accuracies))),
        group(result([0.5 + 0.01 * i for i in range(12)])),
    )
    found = apart(first, second, "accuracy")
    # One percent up and down in turn: second differences of 4, over the root of 6.
    assert (found.points, found.rms) == (12, pytest.approx(1))
    assert found.noise == pytest.approx(4 / math.sqrt(6))
    # Three points each, of which one is left over.
    assert found.quarters == pytest.approx([s / math.sqrt(3) / found.noise for s in (1, -1, 1, -1)])
    text = text_of(compare([first, second]), [found])
    assert "+0.4 -0.4 +0.4 -0.4" in text and "second differences" in text


def test_a_log_is_compared_by_the_loss_that_it_shows(tmp_path):
    path = tmp_path / "a.log"
    path.write_text(log_text([0.1, 0.5, 0.75]))
    (found,) = groups_of([str(path)], Store([]))
    band = band_of(found, "train_loss")
    assert band.x.tolist() == [0, 100, 200] and band.mean.tolist() == [1.9, 1.5, 1.25]
    assert band_of(found, "lr").mean.tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_the_text_has_80_columns(tmp_path):
    groups = groups_of([name[:20] for name in author.names()], Store([]))
    for text in (text_of(compare(groups)), text_of(
        compare(groups[:2]), [apart(*groups[:2], y) for y in ("accuracy", "test_loss")]
    )):  # fmt: skip
        assert max(map(len, text.splitlines())) <= 80
    assert readable("a" * 50 + "b" * 50, 11) == "aaaaa…bbbbb" and readable("abc", 3) == "abc"


def test_ours_and_the_authors_logs_side_by_side():
    one = groups_of(["gResnet56"], Store([]))[0]
    entry = compare([one, one], [90])[0]
    assert entry.accuracy.mean == pytest.approx(91.91, abs=0.01)
    assert entry.reach[90].mean == pytest.approx(7345, abs=1)
    found = apart(one, one, "accuracy")
    assert (found.mean, found.largest, found.begin, found.end) == (0, 0, 200, 9200)


# --- pictures -------------------------------------------------------------------------------------


def test_lines_of_a_picture():
    pair = [group(result([0.1, 0.5]), result([0.3, 0.7])), group(result([]), label="none")]
    line, nothing = lines_of(pair, "accuracy")
    assert line.mean.tolist() == pytest.approx([20, 60]) and line.n == 2
    assert line.sd == pytest.approx([100 * math.sqrt(0.02)] * 2)
    assert not len(nothing.x)
    assert lines_of(pair[:1], "accuracy", "lr")[0].x.tolist() == pytest.approx([0, 0.1])
    with pytest.raises(ConfigError, match="--images N"):
        lines_of(pair[:1], "accuracy", "epoch")
    assert lines_of(pair[:1], "accuracy", "epoch", 500)[0].x.tolist() == [0, 10]
    with pytest.raises(ConfigError, match="do not say the seconds"):
        lines_of(pair[:1], "accuracy", "seconds")


def test_pictures_are_drawn(tmp_path):
    from matplotlib.image import imread

    many = [group(result([0.1 * i, 0.5]), label=f"group {i}") for i in range(1, 10)]
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    draw(many[:1], ["accuracy"], one)
    draw(many, ["accuracy", "test_loss", "lr"], two, title="all")
    pictures = [imread(path) for path in (one, two)]
    assert all((picture[..., :3].min(axis=2) < 0.9).any() for picture in pictures)
    assert pictures[1].shape[0] > 2 * pictures[0].shape[0]
    draw([group(result([0.1]))], ["accuracy"], tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(DataError, match="nothing to draw"):
        draw([group(result([]))], ["accuracy"], one)
    with pytest.raises(DataError, match="cannot be written"):
        draw(many[:1], ["accuracy"], tmp_path / "nowhere" / "a.png")
    with pytest.raises(DataError, match="xyz"):
        draw(many[:1], ["accuracy"], tmp_path / "a.xyz")


def test_the_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.log").write_text(log_text([0.1, 0.5, 0.9]))
    Path("b.log").write_text(log_text([0.2, 0.4, 0.8]))
    assert main(["compare", "a.log", "b.log", "--to", "45", "--x", "lr", "--y", "test_loss"]) == 0
    out = capsys.readouterr().out
    assert "How far apart" in out and "45 %" in out and out.endswith("compare.png\n")
    assert Path("compare.png").is_file()
    assert main(["compare", "a.log", "--no-picture", "--out", "x.png"]) == 0
    assert not Path("x.png").exists() and "How far" not in capsys.readouterr().out
    assert main(["plot-log", "a.log"]) == 0 and Path("a.png").is_file()
    assert "a: 201 iterations, 3 tests" in capsys.readouterr().out
    for chart in (0, 7):
        assert main(["plot-log", "a.log", "b.log", "--chart", str(chart)]) == 0
    assert Path("log.png").is_file()
    assert main(["plot-log", "a.log", "--chart", "1", "--x", "seconds"]) == 1
    assert "leave out --x and --y" in capsys.readouterr().err
    assert main(["plot-log", "a.log", "--x", "epoch"]) == 1
    assert main(["compare", "nothing"]) == 1


def test_no_compiled_code_is_loaded(tmp_path):
    (tmp_path / "a.log").write_text(log_text([0.1, 0.5]))
    code = (
        "import sys, json; from pycaffe_clr.cli import main; "
        "main(['compare', 'a.log', 'gResnet56']); main(['plot-log', 'a.log']); "
        "print(json.dumps([m for m in sys.modules if m.startswith('pycaffe_clr')]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    loaded = json.loads(found.stdout.splitlines()[-1])
    assert "pycaffe_clr.experiments.overlay" in loaded
    assert not {"pycaffe_clr._core", "pycaffe_clr.engine", "pycaffe_clr.native"} & set(loaded)


def test_runs_without_tests_are_drawn_by_their_training_loss(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for plan in ("run1", "run2"):
        folder = make_run(tmp_path, "mine", plan, tests=[])
        (folder / "tests.csv").write_text("iteration,net,accuracy,loss\n")
    assert main(["compare", "mine/run1", "mine/run2"]) == 0
    assert (tmp_path / "compare.png").stat().st_size > 1000
    capsys.readouterr()
    assert main(["compare", "mine/run1", "--y", "accuracy"]) == 1
    assert "nothing to draw: none of the runs has accuracy" in capsys.readouterr().err
