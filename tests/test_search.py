"""Searches: which values come next, and real searches of a tiny net."""

import json
import math
from pathlib import Path

import pytest
from study_cases import make_blobs

from pycaffe_clr.cli import main
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments import search_plan as plan
from pycaffe_clr.experiments.search import search
from pycaffe_clr.experiments.search_result import Search
from pycaffe_clr.experiments.search_words import conclusion, table
from pycaffe_clr.experiments.step_time import iterations_at_constant_time, step_seconds
from pycaffe_clr.experiments.watch import Watch


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_blobs(tmp_path_factory.mktemp("blobs"))


def run(blobs: Path, out: Path, vary: str, **settings: object) -> Search:
    given: dict[str, object] = {"iterations": 60, "max_lr": 0.1, "threads": 1, "tests": 20}
    given |= {"draw": False, "data_dir": str(blobs.parent)} | settings
    return search(blobs, vary, out=out, **given)  # type: ignore[arg-type]


# --- plans --------------------------------------------------------------------------------------


def test_bisection_halves_the_exponent_between_the_best_two() -> None:
    """The report's own example: 3.2e-3 beside 1e-3 is followed by 1.8e-3 (section 4.4)."""
    following = plan.next_value({1e-2: 1.2, 3.2e-3: 0.8, 1e-3: 0.9})
    assert following is not None and following.value == pytest.approx(1.79e-3, rel=0.01)
    assert "between 0.0032 and 0.001" in following.reason and not following.outwards
    following = plan.next_value({1e-3: 0.9, 1e-4: 0.8, 1e-5: 1.0})
    assert following is not None and following.value == pytest.approx(3.16e-4)


def test_the_best_at_an_edge_is_extrapolated() -> None:
    up = plan.next_value({1e-2: 0.7, 1e-3: 0.8, 1e-4: 0.9})
    assert up is not None and up.value == pytest.approx(0.1) and up.outwards
    down = plan.next_value({1e-2: 0.9, 1e-3: 0.8, 1e-4: math.inf, 3e-4: 0.7})
    assert down is not None and 3e-4 < down.value < 1e-3  # one that diverged lies beyond
    down = plan.next_value({1e-4: 0.9, 1e-5: 0.8})
    assert down is not None and down.value == pytest.approx(1e-6)


def test_one_significant_figure_is_enough() -> None:
    assert plan.next_value({1e-3: 0.8, 1.78e-3: 0.81, 5.6e-4: 0.82}) is None
    assert plan.next_value({1e-3: 0.8}) is None
    assert plan.next_value({1e-3: math.inf, 1e-4: math.inf}) is None


def test_no_decay_at_all_is_bisected_towards() -> None:
    following = plan.next_value({0.0: 0.8, 1e-5: 0.9, 1e-4: 1.0})
    assert following is not None and following.value == pytest.approx(1e-6)
    following = plan.next_value({0.0: 0.9, 1e-5: 0.8, 1e-4: 1.0})
    assert following is not None and following.value == pytest.approx(1e-6)


def test_values_and_their_labels() -> None:
    assert plan.parse_values("weight_decay", ["1e-3", 0, "0.001"]) == [1e-3, 0.0]
    assert plan.parse_values("momentum", ["0.95-0.85", 0.9, "0.95:0.8"]) == [
        (0.95, 0.85),
        0.9,
        (0.95, 0.8),
    ]
    assert [plan.label(v) for v in (1e-3, (0.95, 0.85), 1024.0)] == ["0.001", "0.95-0.85", "1024"]
    assert plan.first_values("batch", 1, 0.1) == [1.0, 2.0, 4.0]
    assert plan.first_values("momentum", 64, 0.1) == [0.99, 0.97, 0.95, 0.9]


@pytest.mark.parametrize(
    ("vary", "value"),
    [
        ("weight_decay", "-1"),
        ("weight_decay", "much"),
        ("weight_decay", "nan"),
        ("momentum", "1.5"),
        ("momentum", "0.9-0.8-0.7"),
        ("batch", "2.5"),
        ("batch", "0"),
        ("lr", "0"),
    ],
)
def test_bad_values_are_refused(vary: str, value: str) -> None:
    with pytest.raises(ConfigError, match="--values"):
        plan.parse_values(vary, [value])


def test_rates_grow_with_the_root_of_the_batch_as_in_figure_6() -> None:
    rates = [plan.scaled_rate(0.4, batch, 128) for batch in (128, 512, 1024)]
    assert rates == pytest.approx([0.4, 0.8, 1.13], rel=0.01)


def test_iterations_at_constant_time() -> None:
    assert iterations_at_constant_time(1000, 0.1, 0.16) == 625
    assert iterations_at_constant_time(10, 0.001, 1.0) == 1


# --- real searches ------------------------------------------------------------------------------


def test_weight_decay_is_bisected_and_nothing_runs_twice(blobs: Path, tmp_path: Path) -> None:
    found = run(blobs, tmp_path, "weight_decay", values=[0.3, 1e-3], rounds=1, draw=True)
    assert [t.label for t in found.tried][-1] == "0.3" and found.best is not None
    assert len(found.tried) == 3 and found.tried[0].score < found.tried[-1].score
    assert sum(t.reason.startswith(("bisects", "extrapolates")) for t in found.tried) == 1
    assert (tmp_path / "search.png").stat().st_size > 10_000
    logs = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.csv")}
    assert len(logs) == 3
    again = run(blobs, tmp_path, "weight_decay", values=[0.3, 1e-3], rounds=1)
    assert [t.label for t in again.tried] == [t.label for t in found.tried]
    more = run(blobs, tmp_path, "weight_decay", values=[1e-5], rounds=1)
    assert len(more.tried) == 4
    assert all(path.stat().st_mtime_ns == time for path, time in logs.items())
    kept = json.loads((tmp_path / "search.json").read_text())
    assert kept["best"] == more.tried[0].label and len(kept["tried"]) == 4


def test_an_interrupted_search_ends_as_if_it_had_not_been(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, object] = {"values": [1e-2, 1e-3], "rounds": 1, "checkpoint_every": 0.0}
    whole = run(blobs, tmp_path / "whole", "weight_decay", **values)
    tested, calls = Watch.tested, []

    def interrupting(watch: Watch, result: object) -> str | None:
        calls.append(result)
        if len(calls) in (9, 30, 50):  # in the first, the second and the third run
            raise KeyboardInterrupt
        return tested(watch, result)  # type: ignore[arg-type]

    monkeypatch.setattr(Watch, "tested", interrupting)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(blobs, tmp_path / "parts", "weight_decay", **values)
    parts = run(blobs, tmp_path / "parts", "weight_decay", **values)
    assert [(t.label, t.score) for t in parts.tried] == [(t.label, t.score) for t in whole.tried]
    for tried in parts.tried:
        assert list(tried.run.test()["iteration"]) == list(range(0, 61, 3))


def test_values_run_in_processes_of_their_own(
    blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(blobs, tmp_path / "two", "lr", values=[0.05, 0.02], jobs=2)
    alone = run(blobs, tmp_path / "one", "lr", values=[0.05, 0.02])
    assert [t.score for t in found.tried] == [t.score for t in alone.tried]
    assert capsys.readouterr().out.count("started") == 2


def test_each_run_has_its_value_and_a_rising_rate(blobs: Path, tmp_path: Path) -> None:
    found = run(blobs, tmp_path, "momentum", values=["0.9", "0.95-0.8"], momentum=[0.5])
    by_label = {t.label: t.run.metrics for t in found.tried}
    assert by_label["0.9"]["momentum"] == pytest.approx(0.9)
    cyclical = by_label["0.95-0.8"]["momentum"]
    assert cyclical[0] == pytest.approx(0.95) and cyclical[-1] == pytest.approx(0.8, abs=0.01)
    lr = by_label["0.9"]["lr"]
    assert lr[0] == pytest.approx(0.01) and lr[-1] == pytest.approx(0.1, rel=0.02)


def test_what_is_searched_wins_over_what_is_set(blobs: Path, tmp_path: Path) -> None:
    sets = {"weight_decay": "0.5", "clip_gradients": "1"}
    found = run(blobs, tmp_path, "weight_decay", values=[1e-3], rounds=0, sets=sets)
    text = (found.tried[0].run.path / "solver.prototxt").read_text()
    assert "weight_decay: 0.001\n" in text and "clip_gradients: 1" in text


def test_whole_cycles_go_down_again(blobs: Path, tmp_path: Path) -> None:
    found = run(blobs, tmp_path, "momentum", values=["0.95-0.85", "0.9"], cycle=True)
    metrics = {t.label: t.run.metrics for t in found.tried}["0.95-0.85"]
    assert metrics["lr"].argmax() == 27 == metrics["momentum"].argmin()  # 0.45 of 60
    assert metrics["lr"].max() == pytest.approx(0.1) and metrics["lr"][-1] < 1e-3
    assert metrics["momentum"][54] == pytest.approx(0.95)
    rates = run(blobs, tmp_path / "lr", "lr", values=[0.05], cycle=True).tried[0].run.metrics["lr"]
    assert rates[0] == pytest.approx(0.005) and rates.max() == pytest.approx(0.05)


def test_a_value_that_diverges_is_ranked_last(blobs: Path, tmp_path: Path) -> None:
    found = run(blobs, tmp_path, "lr", values=[50.0, 0.05], iterations=100)
    assert [t.label for t in found.tried] == ["0.05", "50"]
    assert found.tried[1].clues.divergence is not None or not found.tried[1].clues.convergence
    assert found.best is found.tried[0]
    none = run(blobs, tmp_path / "none", "lr", values=[1e30], iterations=100)
    assert none.best is None and "No value trained" in conclusion(none)[0]
    assert "1e+30" in table(none)


def test_batches_run_for_the_same_time(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {16: 0.010, 32: 0.015}
    monkeypatch.setattr(
        "pycaffe_clr.experiments.search.step_seconds", lambda solver, batch, fields: seconds[batch]
    )
    found = run(blobs, tmp_path, "batch", values=[16, 32])
    by_label = {t.label: t.run for t in found.tried}
    assert by_label["16"].max_iter == 60 and by_label["32"].max_iter == 40
    assert by_label["32"].metrics["lr"].max() == pytest.approx(0.1 * math.sqrt(2), rel=0.01)
    assert found.seconds == {"16": 0.010, "32": 0.015} and found.by_accuracy
    accuracies = [t.accuracy for t in found.tried]
    assert accuracies == sorted(accuracies, reverse=True)


def test_a_step_is_timed_and_leaves_nothing(blobs: Path) -> None:
    fields = {"data_dir": str(blobs.parent), "threads": 1}
    before = set(blobs.parent.iterdir())
    assert 1e-7 < step_seconds(blobs, 400, fields, seconds=0.1) < 0.1
    assert set(blobs.parent.iterdir()) == before


def test_runs_branch_off_from_a_snapshot(blobs: Path, tmp_path: Path) -> None:
    found = run(blobs, tmp_path, "weight_decay", values=[0.1, 1e-3], snapshot_at=40, rounds=0)
    trunk = tmp_path / "trunk_0.1"
    assert (trunk / "blobs_iter_40.solverstate").exists()
    for tried in found.tried:
        assert tried.run.metrics["iteration"][0] == 40 and tried.run.iteration == 100
        assert tried.run.metrics["lr"][-1] == pytest.approx(0.1, rel=0.02)
    state = trunk / "blobs_iter_40.solverstate"
    other = run(blobs, tmp_path / "b", "weight_decay", values=[1e-3], from_snapshot=state)
    assert other.tried[0].run.metrics["iteration"][0] == 40


def test_a_trunk_ends_at_its_plateau(blobs: Path, tmp_path: Path) -> None:
    found = run(
        blobs, tmp_path, "weight_decay", values=[1e-3], snapshot_at=0, rounds=0, iterations=300
    )
    trunk = json.loads((tmp_path / "trunk_0.001" / "run.json").read_text())
    assert trunk["state"] == "ended early" and "flat" in trunk["reason"]
    assert 20 < trunk["iteration"] < 300
    assert found.tried[0].run.metrics["iteration"][0] == trunk["iteration"]


@pytest.mark.parametrize(
    ("vary", "settings", "message"),
    [
        ("dropout", {}, "unknown"),
        ("momentum", {"rounds": 1}, "only weight_decay and lr"),
        ("batch", {"snapshot_at": 10}, "from scratch"),
        ("lr", {"snapshot_at": 10, "from_snapshot": "x"}, "exclude each other"),
        ("lr", {"iterations": 2}, "10 or more"),
        ("lr", {"min_lr": 0.0}, "must rise"),
    ],
)
def test_bad_settings_are_refused(
    blobs: Path, tmp_path: Path, vary: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(blobs, tmp_path / "s", vary, **settings)
    assert not (tmp_path / "s").exists()


def test_a_changed_net_is_noticed(blobs: Path, tmp_path: Path) -> None:
    run(blobs, tmp_path / "s", "lr", values=[0.05])
    with pytest.raises(ConfigError, match="has changed since"):
        run(blobs, tmp_path / "s", "lr", values=[0.05], batch=8)


def test_the_command_prints_a_table_of_80_columns(
    blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search", str(blobs), "--vary", "weight_decay", "--values", "1e-2", "1e-3", "--rounds"]
    words += ["1", "--iterations", "60", "--threads", "1", "--data-dir", str(blobs.parent)]
    assert main([*words, "--out", str(tmp_path / "s")]) == 0
    said = capsys.readouterr().out
    assert "weight decay test loss" in said and "Best weight decay by test loss" in said
    assert all(len(line) <= 80 for line in said.splitlines() if str(tmp_path) not in line)
    assert main([*words[:4], "--snapshot-at", "soon"]) == 1
