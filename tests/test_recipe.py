"""The recipe: real short runs of a tiny net, and a solver that runs by itself."""

import json
import shutil
from pathlib import Path

import pytest
from study_cases import make_blobs

import pycaffe_clr
from pycaffe_clr.cli import main
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.recipe import Recipe, recipe
from pycaffe_clr.experiments.recipe_solver import Chosen, commented
from pycaffe_clr.experiments.recipe_words import table
from pycaffe_clr.prototxt import parse_solver, read_net, read_solver

SECONDS = {16: 0.010, 8: 0.007, 32: 0.016}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blobs")


@pytest.fixture(scope="module")
def blobs(folder: Path) -> Path:
    return make_blobs(folder)


def cook(blobs: Path, out: Path, **settings: object) -> Recipe:
    """A recipe whose steps take a known time, so that its runs are always as long."""
    given: dict[str, object] = {"budget": 40.0, "threads": 1, "draw": False}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("recipe", "search"):
            patch.setattr(
                f"pycaffe_clr.experiments.{name}.step_seconds",
                lambda solver, batch, fields: SECONDS[batch or 16],
            )
        return recipe(blobs, out=out, data_dir=str(blobs.parent), **given | settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cooked(blobs: Path, folder: Path) -> Recipe:
    return cook(blobs, folder / "cooked")


def test_every_value_has_a_reason_and_a_run_behind_it(cooked: Recipe) -> None:
    fields = "net lr_policy base_lr max_lr stepsize max_iter momentum weight_decay".split()
    assert set(fields) <= set(cooked.chosen)
    assert all(len(chosen.reason) > 10 for chosen in cooked.chosen.values())
    kept = json.loads((cooked.path / "recipe.json").read_text())
    assert kept["iterations"] == 156  # 40 s over 16 runs of 10 ms steps and 60 % more
    for vary in ("momentum", "weight_decay"):
        # Where every value diverged there is a second folder, with lower rates.
        last = sorted(cooked.path.glob(f"{vary}*/search.json"))[-1]
        found = json.loads(last.read_text())
        good = {found["best"].removesuffix("-0.85"), *found["tied"]}
        assert cooked.chosen[vary].text in good
    assert list(cooked.path.glob("range*/range.json"))
    assert cooked.before["momentum"] == "0.95" and cooked.before["max_lr"] == "0.2"


def test_the_solver_is_1cycle_with_cyclical_momentum(cooked: Recipe) -> None:
    solver = read_solver(cooked.solver)
    batch = int(cooked.batch)
    assert solver.lr_policy == "1cycle" and solver.type == "Nesterov"
    assert solver.max_iter == 400 * 16 // batch
    assert solver.stepsize == int(0.45 * solver.max_iter)
    assert solver.base_lr == pytest.approx(solver.max_lr / 10)
    if solver.momentum > 0.85:
        assert list(solver.cyclical_momentum) == pytest.approx([0.85, solver.stepsize])
    assert (solver.test_iter[0], solver.test_interval, solver.display) == (5, 40, 40)
    assert solver.snapshot == solver.max_iter
    assert read_net(cooked.path / solver.net).layer[0].data_param.batch_size == batch


def test_the_solver_runs_by_itself(
    cooked: Recipe, blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (cooked.solver.name, read_solver(cooked.solver).net):
        shutil.copy(cooked.path / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    result = pycaffe_clr.run(
        cooked.solver.name, out=tmp_path / "run", data_dir=str(blobs.parent), threads=1, curve=False
    )
    assert result.state == "finished" and result.whole_accuracy > 0.9


def test_a_smaller_batch_is_taken_only_where_it_is_asked_for(
    cooked: Recipe, blobs: Path, tmp_path: Path
) -> None:
    assert int(cooked.batch) >= 16
    asked = cook(blobs, tmp_path / "r", batches=[8])
    sizes = json.loads(sorted((tmp_path / "r").glob("batch*/search.json"))[-1].read_text())
    accuracy = {t["label"]: t["accuracy"] for t in sizes["tried"]}
    assert set(accuracy) == {"8", "16"}
    assert asked.batch == ("8" if accuracy["8"] - accuracy["16"] > 0.002 else "16")
    assert "Accuracy in the same time: " in asked.chosen["net"].reason


def test_the_second_call_runs_nothing(cooked: Recipe, blobs: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in cooked.path.rglob("metrics.csv")}
    text = cooked.solver.read_text()
    again = cook(blobs, cooked.path)
    assert again.chosen == cooked.chosen and cooked.solver.read_text() == text
    assert {p: p.stat().st_mtime_ns for p in cooked.path.rglob("metrics.csv")} == before
    longer = cook(blobs, cooked.path, max_iter=1000)
    assert longer.chosen["stepsize"].text == "450" and longer.chosen["max_iter"].text == "1000"
    cook(blobs, cooked.path)


def test_the_table_shows_both_at_80_columns(cooked: Recipe) -> None:
    lines = table(cooked).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any(line.split()[:3] == ["momentum", "0.95", cooked.chosen["momentum"].text]
               for line in lines if line.startswith("momentum"))  # fmt: skip


def test_reasons_stand_over_their_values() -> None:
    solver = parse_solver('net: "a.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 5')
    chosen = {
        "base_lr": Chosen("base_lr", "0.1", "Because " + 30 * "of this "),
        "lr_policy": Chosen("lr_policy", "fixed", "One rate."),
    }
    text = commented(solver, chosen, "Head.")
    assert parse_solver(text) == solver
    lines = text.splitlines()
    assert lines[0] == "# Head." and all(len(line) <= 100 for line in lines)
    assert lines[lines.index("base_lr: 0.1") - 1].startswith("# ")
    assert lines[lines.index('lr_policy: "fixed"') - 1] == "# One rate."
    assert lines[-2:] == ["max_iter: 5", 'net: "a.prototxt"']


def test_a_budget_that_is_too_small_says_what_is_needed(blobs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"only.*Give 15s or more"):
        cook(blobs, tmp_path / "r", budget=5.0)


def test_other_settings_are_refused(cooked: Recipe, blobs: Path) -> None:
    with pytest.raises(ConfigError, match="budget 40.0, not 50.0"):
        cook(blobs, cooked.path, budget=50.0)


def test_the_command_refuses_nonsense(
    blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "r")
    assert main(["recipe", str(blobs), "--budget", "soon", "--out", out]) == 1
    assert main(["recipe", str(tmp_path / "none.prototxt"), "--out", out]) == 1
    said = capsys.readouterr().err
    assert "is no duration" in said and "no such solver file" in said
