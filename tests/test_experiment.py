"""Choosing settings, and `pycaffe_clr experiment list` and `show`."""

from __future__ import annotations

import json

import pytest

from pycaffe_clr.cli import main
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.manifest import load
from pycaffe_clr.experiments.queue import with_bases
from pycaffe_clr.experiments.selection import Selection, ordered, select


def chosen(**fields):
    return [setting.name for setting in select(load(), Selection(**fields))]


def test_settings_are_chosen_by_table_row_figure_name_data_net_and_cost():
    assert len(chosen(tables=("1",))) == 20
    assert len(chosen(tables=("1", "2"))) == 46
    assert chosen(tables=("2",), rows=("17",)) == ["lenet_1cycle"]
    both = chosen(tables=("2",), rows=("17",), readings=True)
    assert both == [
        "lenet_1cycle",
        "lenet_1cycle_batch128",
        "lenet_1cycle_m95",
        "lenet_1cycle_m95_batch128",
    ]
    assert chosen(tables=("1",), rows=("11-12", "20")) == [
        "resnet56_1cycle",
        "resnet56_1cycle_cm90_100",
        "resnet56_step_m95",
    ]
    assert len(chosen(figures=("7c",))) == 4
    assert len(chosen(figures=("14",))) == 5  # 14a and 14b share one
    assert len(chosen(tables=("1",), figures=("7c",))) == 24
    assert {load().setting(n).dataset for n in chosen(datasets=("imagenet",))} == {"imagenet"}
    assert chosen(names=("lenet_1cycle*",), nets=("lenet",)) == [
        "lenet_1cycle",
        "lenet_1cycle_m95",
        "lenet_1cycle_25",
        "lenet_1cycle_25_m95",
        "lenet_1cycle_50",
        "lenet_1cycle_50_m95",
        "lenet_1cycle_85",
        "lenet_1cycle_85_m95",
    ]
    cheap = chosen(max_seconds=120)
    assert "lenet_1cycle" in cheap and "cifar3_1cycle" not in cheap
    assert chosen() == ordered(load()) and len(chosen()) == len(load().settings)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"tables": ("3",)}, "table '3' is none of 1, 2"),
        ({"figures": ("17",)}, "figure '17' is none of"),
        ({"figures": ("7x",)}, "figure 7 has no panel x; its panels: a, b, c, d"),
        ({"figures": ("seven",)}, "expected a number"),
        ({"rows": ("3",)}, "--row needs --table"),
        ({"tables": ("1",), "rows": ("21",)}, "table 1 has no row 21; it has 20"),
        ({"tables": ("1",), "rows": ("x",)}, "row 'x': expected a number"),
        ({"names": ("lenet_1cylce",)}, "Did you mean lenet_1cycle"),
    ],
)
def test_a_choice_of_nothing_known_is_a_clear_error(fields, expected):
    with pytest.raises(ConfigError, match=expected):
        chosen(**fields)


def test_what_goes_on_from_a_snapshot_comes_after_what_makes_it():
    branch = load().setting("cifar3_branch_wd1e-2")
    found = with_bases([(branch, branch.runs[0])])
    assert [setting.name for setting, _ in found] == ["cifar3_fixed_wd1e-3", "cifar3_branch_wd1e-2"]


def test_the_list_has_place_report_cost_and_what_is_done(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "lenet_1cycle" / "run2"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"state": "finished"}))
    assert main(["experiment", "list", "--table", "2", "--row", "17", "--root", str(tmp_path)]) == 0
    _, line, end = capsys.readouterr().out.splitlines()
    words = line.split()
    assert words[:2] == ["lenet_1cycle", "T2.17"]
    assert "99.25 +- 0.03" in line and words[-1] == "1/4"
    assert end.startswith("1 settings; all their runs take")


def test_the_list_and_all_pages_fit_80_columns(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "list"]) == 0
    assert main(["experiment", "show", *load().settings]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []


def test_a_page_has_values_sources_disagreements_and_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "show", "densenet40_1cycle_50"]) == 0
    page = capsys.readouterr().out
    for part in (
        "In the report: row 11 of table 2.",
        "91.7 +- 0.3 %",
        "momentum          0.9 to 0.85",
        "I-03 Densenet, cyclical momentum",
        "run1: total batch 524, xavier, seed 1: missing",
        "Mean total batch: 518",
    ):
        assert part in page
    assert main(["experiment", "show", "nothing"]) == 1
    assert "is no setting" in capsys.readouterr().err


def test_claims_are_listed_with_their_verdicts(capsys, tmp_path):
    assert main(["experiment", "claims", "--figure", "9", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Figure 9: ")
    assert "  cannot say 3.2e-3 ends at the lowest test loss." in lines
    assert lines[-1] == "0 held, 0 not held, 4 cannot say"
    assert main(["experiment", "claims", "--known", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("0 held, 0 not held, ")
    assert main(["experiment", "claims", "--figure", "17"]) == 1
    assert "figure 17 is none" in capsys.readouterr().err


def test_choosing_nothing_says_so(capsys):
    assert main(["experiment", "list", "--dataset", "mnist", "--net", "resnet56"]) == 0
    assert capsys.readouterr().out == "no setting is all of that\n"
