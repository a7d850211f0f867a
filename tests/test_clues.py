"""What the test loss shows, on made-up curves whose clues are known."""

import json
import math

import numpy as np
import pytest

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.clues import Clues, read_clues
from pycaffe_clr.experiments.curves import (
    Curve,
    curve,
    mean_curve,
    means_between,
    noise_of,
    smoothed,
    turning_points,
)

TESTS = 80
RATES = np.linspace(0.001, 0.02, TESTS)


def noisy(loss: np.ndarray, deviation: float, seed: int = 0) -> np.ndarray:
    return loss + np.random.default_rng(seed).normal(0, deviation, len(loss))


def falling(floor: float, speed: float = 8.0) -> np.ndarray:
    """From 2.3 to the floor, as a training that converges at once."""
    return floor + (2.3 - floor) * np.exp(-speed * np.linspace(0, 1, TESTS) * 3)


def clues(loss: np.ndarray, train: np.ndarray | None = None, **keywords: object) -> Clues:
    return read_clues(curve(RATES, loss, train, start=2.303, **keywords))  # type: ignore[arg-type]


def test_smoothing_keeps_a_constant_and_takes_an_outlier_out() -> None:
    values = np.full(20, 0.5)
    assert np.array_equal(smoothed(values), values)
    values[7] = 9.0
    assert np.allclose(smoothed(values), 0.5)
    assert smoothed(np.array([1.0])).tolist() == [1.0]
    assert len(smoothed(np.empty(0))) == 0


def test_smoothing_does_not_pull_a_steep_beginning_up() -> None:
    values = np.array([2.3, 1.0, 0.9, 0.85, 0.8, 0.8, 0.8, 0.8])
    assert smoothed(values)[0] == 2.3


def test_noise_does_not_count_a_trend() -> None:
    assert noise_of(np.linspace(2, 1, 50)) == pytest.approx(0, abs=1e-12)
    found = [noise_of(noisy(falling(0.8), 0.05, seed)) for seed in range(20)]
    assert np.mean(found) == pytest.approx(0.05, rel=0.1)


def test_turning_points_alternate_and_leave_small_ways_out() -> None:
    values = np.array([2.0, 1.0, 1.05, 0.95, 1.5, 1.45, 1.6, 0.7, 0.72])
    assert turning_points(values, 0.2) == [0, 3, 6, 7]
    assert turning_points(np.ones(5), 0.1) == []


def test_training_loss_of_a_test_is_the_mean_since_the_one_before() -> None:
    steps, losses = np.arange(6.0), np.array([6.0, 5, 4, 3, 2, 1])
    assert means_between(steps, losses, np.array([0.0, 2, 6])).tolist() == [6, 5.5, 2.5]


def test_a_flat_loss_is_balanced() -> None:
    found = clues(noisy(falling(0.8), 0.01))
    assert found.label == "flat: balanced"
    assert found.bottom is not None and found.bottom.plateau and not found.bottom.rises
    assert found.convergence is not None and found.convergence.x < 0.002
    assert found.underfitting is None and not found.rises


@pytest.mark.parametrize("deviation", [0.0, 0.01, 0.04, 0.1])
def test_noise_alone_is_no_clue(deviation: float) -> None:
    flat = [clues(noisy(falling(0.8), deviation, seed)) for seed in range(200)]
    wrong = [found for found in flat if found.label != "flat: balanced"]
    assert len(wrong) <= 6  # 3 in a hundred
    assert all(found.divergence is None for found in flat)


def test_a_continually_falling_loss_underfits() -> None:
    found = clues(noisy(2.3 - 1.2 * np.linspace(0, 1, TESTS), 0.01))
    assert found.label == "underfits"
    assert found.underfitting is not None and 0.15 < found.underfitting.fall < 0.35
    assert any("Underfitting" in text for text in found.sentences())


def test_a_rise_while_the_training_loss_falls_overfits() -> None:
    """As with weight decay 1e-4 in Figure 4a: a minimum near 0.006, then a slow rise."""
    loss = falling(0.8) + np.maximum(0, RATES - 0.006) * 30
    found = clues(noisy(loss, 0.01), falling(0.3, 2))
    assert found.label.startswith("overfits")
    rise = found.overfitting[0]
    assert rise.first == pytest.approx(0.006, abs=0.0015) and not rise.temporary
    assert found.bottom is not None and found.bottom.rises
    assert 0.005 < found.bottom.last < 0.009
    assert not found.instabilities and found.divergence is None


def test_a_rise_of_both_losses_is_instability() -> None:
    rise = np.maximum(0, RATES - 0.012) * 60
    found = clues(noisy(falling(0.8) + rise, 0.01), noisy(falling(0.7) + rise, 0.02, 1))
    assert found.label.startswith("unstable")
    assert not found.overfitting and "not overfitting" in " ".join(found.sentences())


def test_overfitting_at_small_rates_that_ends_is_temporary() -> None:
    """As in Figure 1a: a bump at 0.01-0.04, then the loss goes on falling."""
    x = np.linspace(0, 1, TESTS)
    loss = 2.3 - 1.5 * x + 0.9 * np.exp(-(((x - 0.35) / 0.07) ** 2))
    found = clues(noisy(loss, 0.02), 2.2 - 1.6 * x)
    assert len(found.overfitting) == 1 and found.overfitting[0].temporary
    assert found.overfitting[0].first == pytest.approx(RATES[16], abs=0.001)
    assert found.overfitting[0].last == pytest.approx(RATES[27], abs=0.001)
    assert found.underfitting is not None


def test_divergence_to_chance_is_sudden_and_ends_the_reading() -> None:
    loss = noisy(falling(0.8), 0.01)
    loss[60:] = 2.303
    found = clues(loss)
    assert found.divergence is not None
    assert found.divergence.x == RATES[60] and found.divergence.sudden
    assert found.tests == 60 and found.bottom is not None and found.bottom.rises
    assert found.bottom.last == RATES[59] and not found.rises


def test_back_at_chance_after_a_little_progress_is_divergence() -> None:
    """As the 3-layer net in a few hundred iterations: 2.30 falls to 2.05 and is lost again."""
    x = np.arange(TESTS)
    loss = noisy(2.303 - 0.25 * np.exp(-(((x - 20) / 9) ** 2)), 0.01)
    found = clues(loss)
    assert found.convergence is not None and found.divergence is not None
    assert RATES[25] < found.divergence.x < RATES[45] and found.bottom is not None
    assert found.bottom.x == pytest.approx(RATES[20], abs=0.001)


def test_the_accuracy_is_read_as_well() -> None:
    accuracy = 0.9 - np.abs(RATES - 0.012) * 20
    found = clues(falling(0.8), accuracy=accuracy)
    assert found.peak is not None and found.peak.x == pytest.approx(0.012, abs=0.0005)
    assert "The accuracy is highest, 89" in " ".join(found.sentences())
    assert clues(falling(0.8)).peak is None


def test_one_bad_test_is_no_divergence() -> None:
    loss = falling(0.8)
    loss[[40, 79]] = 5.0
    found = clues(loss)
    assert found.divergence is None and found.label == "flat: balanced"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_diverges(value: float) -> None:
    loss = falling(0.8)
    loss[50:] = value
    found = clues(loss)
    assert found.divergence is not None and found.divergence.nan
    assert found.divergence.x == RATES[50] and found.tests == 50
    assert "no number" in found.sentences()[-1]


def test_a_training_loss_that_is_no_number_diverges_after_good_tests() -> None:
    found = clues(falling(0.8), nan_at=0.0205)
    assert found.divergence is not None and found.divergence.x == 0.0205
    assert found.label == "diverges at 0.0205"


def test_a_run_that_diverges_at_once_has_no_other_clue() -> None:
    found = read_clues(curve([], [], nan_at=0.5))
    assert found.divergence is not None and found.bottom is None
    assert found.sentences()[0] == "Nothing was tested."
    found = clues(np.full(TESTS, math.nan))
    assert found.divergence is not None and found.divergence.x == RATES[0]


def test_staying_at_chance_does_not_converge() -> None:
    found = clues(noisy(np.full(TESTS, 2.303), 0.001))
    assert found.label == "does not converge" and found.convergence is None
    assert found.sentences()[0] == "Training does not begin to converge."


def test_no_test_is_no_clue() -> None:
    found = read_clues(curve([], []))
    assert found.label == "no tests" and found.divergence is None
    assert read_clues(curve([0.1], [1.0], start=2.3)).bottom is not None


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match="as many losses"):
        curve([1, 2], [1.0])


def test_mean_curve_goes_as_far_as_all_runs() -> None:
    def run(count: int, value: float, nan_at: float | None) -> Curve:
        return curve(RATES[:count], np.full(count, value), start=2.0, nan_at=nan_at)

    mean = mean_curve([run(80, 1.0, None), run(60, 3.0, 0.015), run(70, 2.0, 0.017)])
    assert len(mean) == 60 and np.all(mean.test_loss == 2.0) and mean.nan_at == 0.015


def test_clues_are_plain_values() -> None:
    loss = falling(0.8) + np.maximum(0, RATES - 0.006) * 30
    kept = json.loads(json.dumps(clues(loss, falling(0.3)).to_json()))
    assert kept["rises"][0]["overfitting"] and kept["label"].startswith("overfits")
