"""Statistics of a few runs against tables, other programs' numbers and closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pycaffe_clr.experiments.statistics import (
    Summary,
    counted_accuracy,
    incomplete_beta,
    mean_curve,
    student_p,
    summarize,
    welch,
)
from pycaffe_clr.train.result import RunResult


def result(state: str, accuracies: list[float]) -> RunResult:
    count = len(accuracies)
    tests = {
        "iteration": np.arange(count, dtype=float),
        "net": np.zeros(count),
        "accuracy": np.array(accuracies, float),
    }
    return RunResult("x", state, "", Path("x"), count, count, 1, {}, tests if count else {})


def test_mean_and_sample_deviation():
    found = summarize([2, 4, 4, 4, 5, 5, 7, 9])
    assert found.mean == 5 and found.n == 8
    assert found.sd == pytest.approx(math.sqrt(32 / 7), rel=1e-15)
    assert found.standard_error == pytest.approx(math.sqrt(32 / 7 / 8), rel=1e-15)
    one = summarize([0.5])
    assert one.mean == 0.5 and math.isnan(one.sd) and math.isnan(one.standard_error)
    assert summarize([]).n == 0 and math.isnan(summarize([]).mean)
    # Differences far below the mean survive.
    assert summarize([1e9 + 1, 1e9 + 2, 1e9 + 3]).sd == 1


# Critical values as tables of Student's t print them: degrees, two-sided p, t.
TABLE = [
    (1, 0.5, 1.0), (1, 0.05, 12.7062), (1, 0.01, 63.6567), (2, 0.05, 4.30265), (2, 0.01, 9.92484),
    (3, 0.10, 2.35336), (3, 0.05, 3.18245), (3, 0.01, 5.84091), (3, 0.001, 12.9240),
    (4, 0.05, 2.77645), (5, 0.05, 2.57058), (5, 0.01, 4.03214), (6, 0.05, 2.44691),
    (6, 0.01, 3.70743), (6, 0.001, 5.95882), (10, 0.05, 2.22814), (10, 0.01, 3.16927),
    (30, 0.05, 2.04227), (60, 0.05, 2.00030), (120, 0.05, 1.97993), (1e7, 0.05, 1.959964),
]  # fmt: skip


@pytest.mark.parametrize(("degrees", "p", "t"), TABLE)
def test_students_t_by_the_tables(degrees, p, t):
    assert student_p(t, degrees) == pytest.approx(p, rel=2e-5)
    assert student_p(-t, degrees) == student_p(t, degrees)


@pytest.mark.parametrize("t", [0.0, 1e-9, 0.1, 0.7, 1.0, 2.5, 10.0, 1e3, 1e8])
def test_students_t_by_closed_forms(t):
    assert student_p(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t), abs=1e-9)
    assert student_p(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-9)
    assert student_p(t, 1e6) == pytest.approx(math.erfc(t / math.sqrt(2)), abs=1e-6)


def test_the_ends_of_students_t():
    assert student_p(0, 5) == 1 and student_p(math.inf, 5) == 0
    assert math.isnan(student_p(math.nan, 5)) and math.isnan(student_p(1, math.nan))
    assert 0 < student_p(1e5, 3) < 1e-12  # not lost against 1


def test_the_incomplete_beta_function():
    for x in (0.0, 0.01, 0.3, 0.5, 0.9, 1.0):
        assert incomplete_beta(1, 1, x) == pytest.approx(x, abs=1e-15)
        assert incomplete_beta(2, 3, x) == pytest.approx(6 * x**2 - 8 * x**3 + 3 * x**4, abs=1e-14)
        assert incomplete_beta(0.5, 0.5, x) == pytest.approx(
            2 / math.pi * math.asin(math.sqrt(x)), abs=1e-14
        )


def test_welch_by_an_example_known_from_textbooks():
    """Student's sleep data of 1908; R's t.test: t = -1.8608, df = 17.776, p-value = 0.07939."""
    first = summarize([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    second = summarize([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    found = welch(first, second)
    assert found.difference == pytest.approx(0.75 - 2.33)
    assert found.t == pytest.approx(-1.8608, abs=5e-5)
    assert found.degrees == pytest.approx(17.776, abs=5e-4)
    assert found.p == pytest.approx(0.07939, abs=5e-6)
    assert welch(second, first).p == found.p


def test_welch_from_what_the_report_prints():
    # Equal deviations and sizes: Student's own test, with 2 (n - 1) degrees.
    found = welch(Summary(92.0, 0.2, 4), Summary(91.8, 0.2, 4))
    assert found.degrees == pytest.approx(6)
    assert found.t == pytest.approx(0.2 / math.sqrt(0.2**2 / 4 * 2))
    assert found.p == pytest.approx(student_p(found.t, 6))
    # One without spread: the other's degrees.
    found = welch(Summary(92.0, 0.2, 4), Summary(91.0, 0.0, 4))
    assert found.degrees == pytest.approx(3) and found.t == pytest.approx(10)
    for one, two in (
        (Summary(92.0, math.nan, 1), Summary(91.0, 0.1, 4)),
        (Summary(math.nan, math.nan, 0), Summary(91.0, 0.1, 4)),
        (Summary(92.0, 0.0, 4), Summary(91.0, 0.0, 4)),
    ):
        found = welch(one, two)
        assert math.isnan(found.t) and math.isnan(found.p)


def test_a_diverged_run_counts_at_chance():
    assert counted_accuracy(result("diverged", [0.4]), 100) == 0.01
    assert counted_accuracy(result("finished", [0.1, 0.9]), 100) == 0.9
    assert math.isnan(counted_accuracy(result("running", []), 10))


def test_curves_with_the_same_points_are_averaged_as_they_are():
    x = np.array([0, 100, 200])
    band = mean_curve([(x, np.array([1.0, 2, 3])), (x, np.array([3.0, 2, 7]))])
    assert band.x.tolist() == [0, 100, 200] and band.n == 2
    assert band.mean.tolist() == [2, 2, 5]
    assert band.sd == pytest.approx([math.sqrt(2), 0, math.sqrt(8)])


def test_curves_with_other_points_are_interpolated_where_all_are():
    band = mean_curve([
        (np.array([0, 10, 20]), np.array([0.0, 10, 20])),
        (np.array([5, 15, 25]), np.array([0.0, 0, 0])),
    ])  # fmt: skip
    assert band.x.tolist() == [5, 10, 15, 20]
    assert band.mean.tolist() == [2.5, 5, 7.5, 10]


def test_what_a_curve_lacks():
    one = mean_curve([(np.array([0, 1, 2]), np.array([np.nan, 1, 2]))])
    assert one.x.tolist() == [1, 2] and one.n == 1 and np.isnan(one.sd).all()
    assert mean_curve([]).n == 0
    assert mean_curve([(np.empty(0), np.empty(0))]).n == 0
    apart = mean_curve([(np.array([0, 1]), np.ones(2)), (np.array([5, 6]), np.ones(2))])
    assert len(apart.x) == 0
