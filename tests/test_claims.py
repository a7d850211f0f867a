"""What the report says of its figures, checked against runs that show it and runs that do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pycaffe_clr.experiments.claim_checks import CHECKS
from pycaffe_clr.experiments.claim_subject import Subject
from pycaffe_clr.experiments.claims import check_claims, check_table_claims
from pycaffe_clr.experiments.manifest import load
from pycaffe_clr.experiments.store import Store

TESTS = np.arange(100, 10_001, 100)


def write(root: Path, name: str, loss, accuracy=None, runs: int = 4, spread: float = 0.002) -> None:
    """Finished runs of a setting with this test loss and accuracy, one value per test."""
    setting = load().setting(name)
    at = np.linspace(setting.test_interval, setting.max_iter, len(loss)).astype(int)
    steps = np.unique(np.linspace(0, setting.max_iter - 1, 200).astype(int))
    ends = (setting.lr[0], setting.lr[-1])
    rates = np.interp(steps, [0, setting.max_iter], ends)
    momenta = np.interp(steps, [0, setting.max_iter], [setting.momentum[0], setting.momentum[-1]])
    accuracy = np.full(len(loss), 0.5) if accuracy is None else accuracy
    for k in range(runs):
        folder = root / name / f"run{k + 1}"
        folder.mkdir(parents=True)
        diverged = not np.isfinite(loss).all()
        record = {"state": "diverged" if diverged else "finished", "max_iter": setting.max_iter}
        good = int(np.argmin(np.isfinite(loss))) if diverged else len(loss)
        record["iteration"] = int(at[good - 1]) if diverged else setting.max_iter
        (folder / "run.json").write_text(json.dumps(record))
        shift = spread * (k - 1.5)
        rows = [
            f"{i},0,{a - shift:.6f},{v + shift:.6f}"
            for i, a, v in zip(at[:good], accuracy, loss, strict=False)
        ]
        (folder / "tests.csv").write_text("\n".join(["iteration,net,accuracy,loss", *rows, ""]))
        rows = [
            f"{i},2.0,2.0,{r:.8g},{m:.8g}"
            for i, r, m in zip(steps, rates, momenta, strict=True)
            if i <= record["iteration"]
        ]
        head = "iteration,loss,smoothed_loss,lr,momentum"
        (folder / "metrics.csv").write_text("\n".join([head, *rows, ""]))


def falling(low: float, high: float = 2.3, rate: float = 8.0) -> np.ndarray:
    """A loss that falls fast to `low` and stays there."""
    return low + (high - low) * np.exp(-rate * np.linspace(0, 1, 100))


def words(figure: int, root: Path) -> dict[str, str]:
    return {v.claim.says: v.word for v in check_claims(figure, Store([root]))}


def test_every_claim_names_a_check_and_subjects_that_exist():
    manifest = load()
    for figure in manifest.figures.values():
        ids = {curve.id for curve in figure.curves}
        for claim in figure.claims:
            assert claim.check in CHECKS and claim.says
            assert set(claim.of) <= ids | set(manifest.settings), claim
        assert figure.claims or figure.number == 2
    for claims in manifest.table_claims.values():
        for claim in claims:
            assert claim.check in CHECKS and set(claim.of) <= set(manifest.settings), claim


def test_without_runs_nothing_is_said(tmp_path):
    verdicts = [v for n in load().figures for v in check_claims(n, Store([tmp_path]))]
    verdicts += [v for n in (1, 2) for v in check_table_claims(n, Store([tmp_path]))]
    assert len(verdicts) > 80
    assert {v.word for v in verdicts} == {"cannot say"}
    assert all(v.why.startswith("no finished run of ") for v in verdicts)


def test_a_weight_decay_search_that_shows_what_the_report_says(tmp_path):
    rising = falling(1.0) + np.linspace(0, 0.25, 100)
    for name, loss, accuracy in (
        ("wd1e-2", falling(1.1), 0.7),
        ("wd32e-4", falling(0.8), 0.8),
        ("wd18e-4", falling(0.85), 0.79),
        ("wd1e-3", rising, 0.75),
    ):
        write(tmp_path, f"cifar3_fixed_{name}", loss, np.full(100, accuracy))
    assert set(words(9, tmp_path).values()) == {"held"}


def test_a_weight_decay_search_that_shows_something_else(tmp_path):
    for name, loss, accuracy in (
        ("wd1e-2", falling(0.7), 0.8),
        ("wd32e-4", falling(0.8), 0.7),
        ("wd18e-4", falling(0.8), 0.7),
        ("wd1e-3", falling(0.9), 0.7),
    ):
        write(tmp_path, f"cifar3_fixed_{name}", loss, np.full(100, accuracy))
    found = words(9, tmp_path)
    assert found["1e-3 is too small: its loss rises gradually, overfitting."] == "not held"
    assert found["1e-2 is too large: its loss stays above that of 3.2e-3."] == "not held"
    assert found["The loss foretells the best final accuracy: 3.2e-3."] == "not held"


def test_a_difference_within_two_standard_errors_decides_nothing(tmp_path):
    write(tmp_path, "cifar3_1cycle", falling(1.0), np.full(100, 0.813), spread=0.004)
    write(tmp_path, "cifar3_1cycle_cm90_100", falling(1.0), np.full(100, 0.812), spread=0.004)
    verdicts = check_table_claims(1, Store([tmp_path]))
    (found,) = [v for v in verdicts if v.claim.of[-1:] == ("cifar3_1cycle_cm90_100",)]
    assert found.word == "cannot say"
    assert "81.30 %" in found.why and "within 2 standard errors" in found.why


def test_range_tests_of_momenta(tmp_path):
    lr = np.linspace(0.002, 0.02, 100)
    climbing = np.where(lr < 0.006, falling(0.9), 0.9 + 60 * (lr - 0.006))
    write(tmp_path, "cifar3_range_m99", np.where(lr < 0.0102, climbing, np.nan))
    write(tmp_path, "cifar3_range_m90", falling(0.8))
    write(tmp_path, "cifar3_range_m70", falling(0.95))
    found = words(7, tmp_path)
    assert found["Momentum 0.9 is best: it reaches the lowest test loss."] == "held"
    assert found["The loss with momentum 0.99 rises above a rate of 0.006: overfitting."] == "held"
    assert found["With momentum 0.99 it diverges near a rate of 0.01."] == "held"
    assert found["The loss with momentum 0.9 does not rise like that."] == "held"
    why = {v.claim.check: v.why for v in check_claims(7, Store([tmp_path])) if v.held}
    assert why["diverges_near"].startswith("diverges at 0.0102")


def test_a_momentum_range_test_has_momentum_as_its_axis(tmp_path):
    write(tmp_path, "cifar3_momentum_range", falling(0.8, rate=1.5), 1 - falling(0.3, 0.9, 1.5))
    found = words(7, tmp_path)
    assert found["The test loss falls as the momentum rises to 1, with no sign of an optimum."] == (
        "held"
    )
    assert found["The accuracy rises with the momentum."] == "held"


@pytest.mark.parametrize("bad, word", [(False, "not held"), (True, "held")])
def test_a_run_that_diverges_counts_at_chance(bad, word, tmp_path):
    loss = falling(0.5)
    write(tmp_path, "densenet40_range_m99", np.where(np.arange(100) < 30, loss, np.nan) if bad else
          loss, np.full(100, 0.8))  # fmt: skip
    assert words(13, tmp_path)["Momentum 0.99 (not shown) diverges."] == word


def subject(root: Path, name: str, y: str = "test_loss") -> Subject:
    return Subject(name, load().setting(name), "iteration", y, Store([root]))


def test_runs_without_numbers_say_nothing_about_curves(tmp_path):
    """Diverged before the first test: no curve, an end at chance and an infinite loss."""
    name = "cifar3_1cycle"
    write(tmp_path, name, np.full(20, np.nan), runs=2)
    found = subject(tmp_path, name)
    assert len(found.runs) == 2 and found.curves == []
    assert found.finals.mean == np.inf and found.at(100).n == 0 and found.lows.n == 0
    assert subject(tmp_path, name, "accuracy").finals.mean == pytest.approx(0.9)
    for claims in (
        check_table_claims(1, Store([tmp_path])),
        check_table_claims(2, Store([tmp_path])),
    ):
        assert all("nan" not in verdict.why for verdict in claims)


def test_a_run_that_diverges_is_read_up_to_there(tmp_path):
    name = "cifar3_1cycle"
    loss = falling(0.5)
    loss[60:] = np.nan
    write(tmp_path, name, loss, runs=2)
    found = subject(tmp_path, name)
    last = found.curves[0].x[-1]
    assert found.at(last / 2).n == 2 and np.isfinite(found.at(last / 2).mean)
    assert found.at(load().setting(name).max_iter).n == 0


def test_only_runs_that_tables_count_are_asked(tmp_path):
    name = "cifar3_1cycle"
    write(tmp_path, name, falling(0.5), runs=4)
    for plan, change in (("run1", {"iteration": 40}), ("run2", {"labels": {"scaled": "0.5"}})):
        path = tmp_path / name / plan / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    (tmp_path / name / "run3" / "tests.csv").write_text("iteration,net,accuracy,loss\n")
    assert [run.path.name for run in subject(tmp_path, name).runs] == ["run4"]
    (tmp_path / name / "run4" / "tests.csv").write_text("iteration,net\n,\n")
    assert subject(tmp_path, name).runs == []
