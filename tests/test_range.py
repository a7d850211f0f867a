"""Range tests: the rates that clues give, and real runs of a tiny net."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from study_cases import make_blobs

from pycaffe_clr.cli import main
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.experiments.clues import diverged_for_good, read_clues
from pycaffe_clr.experiments.curves import curve
from pycaffe_clr.experiments.range_test import (
    RangeTest,
    default_iterations,
    default_rates,
    range_test,
)
from pycaffe_clr.experiments.rates import suggest
from pycaffe_clr.experiments.trials import base_of, frequent_tests, read_study
from pycaffe_clr.experiments.watch import Watch
from pycaffe_clr.train import events

RATES = np.linspace(0.001, 0.02, 60)
FALLING = 0.8 + 1.5 * np.exp(-0.3 * np.arange(60))


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_blobs(tmp_path_factory.mktemp("blobs"))


def run(blobs: Path, out: Path, **settings: object) -> RangeTest:
    given: dict[str, object] = {"min_lr": 0.01, "max_lr": 2.0, "iterations": 240, "threads": 1}
    return range_test(blobs, out=out, data_dir=str(blobs.parent), **given | settings)  # type: ignore[arg-type]


# --- rates from clues ---------------------------------------------------------------------------


def test_the_maximum_is_where_the_loss_leaves_its_bottom() -> None:
    loss = FALLING + np.maximum(0, RATES - 0.01) * 30
    rates = suggest(read_clues(curve(RATES, loss, start=2.3)))
    assert rates.turned and 0.009 < rates.maximum < 0.0125
    third, twentieth, begins = rates.minima
    assert (third.low, third.high) == (rates.maximum / 4, rates.maximum / 3)
    assert (twentieth.low, twentieth.high) == (rates.maximum / 20, rates.maximum / 10)
    assert rates.base == rates.maximum / 10
    assert "short runs were not made" in begins.sentence


def test_the_maximum_is_where_both_losses_first_rise_even_if_they_fall_again() -> None:
    """As the 3-layer net on CIFAR-10: noisy tests, a training loss that leaps at 0.007."""
    leap = 0.25 * np.exp(-(((RATES - 0.0095) / 0.002) ** 2)) * (RATES > 0.006)
    noise = np.random.default_rng(0).normal(0, 1, 60) * np.where(RATES > 0.007, 0.12, 0.02)
    clues = read_clues(curve(RATES, FALLING + leap + noise, FALLING + leap, start=2.3))
    rates = suggest(clues)
    assert clues.instabilities and rates.turned
    assert rates.maximum == pytest.approx(0.0065, abs=0.001) and "unstable" in rates.sentence
    steady = read_clues(curve(RATES, FALLING + noise, FALLING, start=2.3))
    assert not steady.instabilities and not suggest(steady).turned


def test_a_loss_that_does_not_turn_gives_a_lower_bound() -> None:
    rates = suggest(read_clues(curve(RATES, FALLING, start=2.3)))
    assert not rates.turned and rates.maximum == RATES[-1]
    assert "at least 0.02" in rates.sentence and "--max-lr 0.08" in rates.sentence


def test_a_sudden_divergence_keeps_the_maximum_away() -> None:
    loss = FALLING.copy()
    loss[40:] = 2.303
    rates = suggest(read_clues(curve(RATES, loss, start=2.3)))
    assert rates.maximum == pytest.approx(RATES[40] / 1.5) and "two thirds" in rates.sentence


@pytest.mark.parametrize("loss", [np.full(60, 2.303), np.full(60, math.nan)])
def test_without_convergence_there_is_no_maximum(loss: np.ndarray) -> None:
    rates = suggest(read_clues(curve(RATES, loss, start=2.303)))
    assert math.isnan(rates.maximum) and rates.sentences() == [rates.sentence]
    assert rates.sentence.startswith("No maximum")


def test_the_third_rule_takes_the_largest_short_run_that_starts_well() -> None:
    steps = np.arange(20)
    good = read_clues(curve(steps, FALLING[:20], start=2.3, x_name="iteration"))
    stuck = read_clues(curve(steps, np.full(20, 2.3), start=2.3, x_name="iteration"))
    clues = read_clues(curve(RATES, FALLING, start=2.3))
    rates = suggest(clues, {0.02: stuck, 0.01: good, 0.005: good})
    assert rates.minima[2].low == rates.minima[2].high == 0.01
    assert "0.02 does not converge" in rates.minima[2].sentence
    assert math.isnan(suggest(clues, {0.02: stuck}).minima[2].low)


# --- early ends ---------------------------------------------------------------------------------


def test_a_leap_of_the_test_loss_alone_is_not_the_end() -> None:
    loss = FALLING.copy()
    loss[30:40] = 5.0
    steps = np.arange(40)
    assert not diverged_for_good(curve(steps, loss[:40], FALLING[:40], start=2.3))
    assert diverged_for_good(curve(steps, loss[:40], loss[:40], start=2.3))
    assert not diverged_for_good(curve(steps[:33], loss[:33], loss[:33], start=2.3))


def test_the_watch_stops_after_five_bad_tests_and_repeats_are_counted_once() -> None:
    watch = Watch()
    answers = []
    losses = [2.3, 1.0, 0.9, 0.9, 0.9, 2.3, 2.3, 2.3, 2.3, 2.3]
    for number, loss in [(0, 2.3), *enumerate(losses)]:
        result = events.TestResult(10 * number, 0, [("accuracy", 0.5), ("loss", loss)], loss, 0.0)
        answers.append(watch.tested(result))
        watch.rows([events.Row(10 * number + i, loss, loss, 0.1, 0.9) for i in range(10)])
    assert answers[:-1] == [None] * 10 and str(answers[-1]).startswith("stop")
    assert watch.at == [10 * i for i in range(10)] and len(watch.steps) == 100


# --- settings -----------------------------------------------------------------------------------


def test_a_base_says_what_the_solver_and_its_net_have() -> None:
    base = base_of("lenet_sample")
    assert (base.batch, base.pass_batch, base.test_batch) == (64, 64, 100)
    assert base.lr == pytest.approx((0.005, 0.05)) and base.max_iter == 1250
    assert base.momentum == pytest.approx((0.95, 0.8))
    assert base_of("lenet_sample", {"batch": 32, "replicas": 2}).batch == 64


def test_default_rates_are_those_of_a_range_test_or_lie_above_the_solvers() -> None:
    assert default_rates(base_of("lenet_sample")) == (0.005, 0.5)
    assert default_rates(base_of("cifar3_range_cm95_80")) == (0.002, 0.02)
    assert default_iterations(base_of("lenet_sample")) == 546


def test_tests_are_frequent_and_cost_no_more_than_the_training() -> None:
    base = base_of("lenet_1cycle_batch128")
    fields = frequent_tests(base, 2400)
    assert fields["test_interval"] == 40 and fields["test_iter"] == [100]
    short = frequent_tests(base, 120)
    assert short["test_interval"] == 2 and short["test_iter"] == [20]


# --- real runs ----------------------------------------------------------------------------------


def test_a_range_test_ends_early_and_names_rates(blobs: Path, tmp_path: Path) -> None:
    found = run(blobs, tmp_path / "r", short_runs=60)
    assert found.runs[0].state in ("ended early", "diverged")
    assert found.runs[0].iteration < 240
    assert found.clues.convergence is not None and found.clues.divergence is not None
    assert 0.05 < found.rates.maximum < found.clues.divergence.x < 2
    assert "NaN" not in (tmp_path / "r" / "range.json").read_text()
    assert found.short_runs and found.curve.x[0] == pytest.approx(0.01)
    kept = read_study(tmp_path / "r" / "range.json")
    assert kept["rates"]["maximum"] == found.rates.maximum
    assert kept["curve"]["test_loss"] == found.curve.test_loss.tolist()
    assert (tmp_path / "r" / "range.png").stat().st_size > 10_000
    assert not list((tmp_path / "r").rglob("checkpoint.bin"))


def test_it_is_read_the_second_time_and_refuses_other_settings(blobs: Path, tmp_path: Path) -> None:
    first = run(blobs, tmp_path / "r", draw=False)
    times = (tmp_path / "r/run/metrics.csv").stat().st_mtime_ns
    again = run(blobs, tmp_path / "r", draw=False)
    assert (tmp_path / "r/run/metrics.csv").stat().st_mtime_ns == times
    assert again.rates == first.rates
    with pytest.raises(ConfigError, match=r"max_lr 2.0, not 3.0.*--out"):
        run(blobs, tmp_path / "r", max_lr=3.0)


def test_momentum_falls_while_the_rate_rises(blobs: Path, tmp_path: Path) -> None:
    found = run(blobs, tmp_path / "r", max_lr=0.1, momentum=(0.9, 0.5), draw=False)
    metrics = found.runs[0].metrics
    assert metrics["momentum"][0] == pytest.approx(0.9)
    assert metrics["momentum"][-1] == pytest.approx(0.5, abs=0.01)
    assert np.all(np.diff(metrics["lr"]) > 0) and metrics["lr"][-1] == pytest.approx(0.1, rel=0.01)


def test_every_test_sees_the_same_images(blobs: Path, tmp_path: Path) -> None:
    sets = {"test_iter": "2"}  # 80 of the 200 images
    low = {"min_lr": 1e-9, "max_lr": 1e-8, "iterations": 60, "tests": 20}
    found = run(blobs, tmp_path / "r", sets=sets, draw=False, **low)
    assert found.curve.test_loss == pytest.approx(found.curve.test_loss[0], abs=1e-6)


def test_several_runs_follow_the_protocol(blobs: Path, tmp_path: Path) -> None:
    found = run(blobs, tmp_path / "r", max_lr=0.1, runs=2, iterations=60, draw=False)
    assert [r.record["spec"]["filler"] for r in found.runs] == ["xavier", "msra"]
    assert [r.record["spec"]["batch"] for r in found.runs] == [20, 16]
    losses = [r.test()["loss"] for r in found.runs]
    assert np.allclose(found.curve.test_loss, np.mean(losses, axis=0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_lr": 3.0}, "must rise"),
        ({"min_lr": 0.0}, "must rise"),
        ({"momentum": (0.9, 0.8, 0.7)}, "one value, or from and to"),
        ({"iterations": 3}, "iterations must be 10"),
        ({"runs": 0}, "runs must be 1"),
    ],
)
def test_bad_settings_are_refused(
    blobs: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(blobs, tmp_path / "r", **settings)
    assert not (tmp_path / "r").exists()


def test_a_solver_that_tests_nothing_is_refused(blobs: Path, tmp_path: Path) -> None:
    text = blobs.read_text().replace("test_iter: 5\n", "")
    (blobs.parent / "untested.prototxt").write_text(text)
    with pytest.raises(ConfigError, match="tests nothing"):
        run(blobs.parent / "untested.prototxt", tmp_path / "r")


def test_a_broken_state_file_is_reported(blobs: Path, tmp_path: Path) -> None:
    (tmp_path / "range.json").write_text("{")
    with pytest.raises(DataError, match=r"range.json: cannot be read"):
        run(blobs, tmp_path)
    (tmp_path / "range.json").write_text("[]")
    with pytest.raises(DataError, match="is not the file of a range test"):
        run(blobs, tmp_path)


def test_the_command_says_all_at_80_columns(
    blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["range", str(blobs), "--max-lr", "2", "--iterations", "240", "--threads", "1"]
    words += ["--cyclical-momentum", "0.95", "0.85", "--data-dir", str(blobs.parent)]
    assert main([*words, "--out", str(tmp_path / "r")]) == 0
    said = capsys.readouterr().out
    assert "Maximum: " in said and "Minimum by rule 3" in said
    assert all(len(line) <= 80 for line in said.splitlines() if str(tmp_path) not in line)
    assert json.loads((tmp_path / "r/range.json").read_text())["settings"]["momentum"] == [
        0.95,
        0.85,
    ]
