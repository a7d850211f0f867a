"""The report's tables with runs beside its numbers, in every format."""

from __future__ import annotations

import csv
import io
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from run_cases import make_run

from pycaffe_clr.cli import main
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.manifest import load
from pycaffe_clr.experiments.outcome import outcome_of, time_of
from pycaffe_clr.experiments.statistics import Summary, summarize, welch
from pycaffe_clr.experiments.store import Store
from pycaffe_clr.experiments.table_notes import notes_of, ranges
from pycaffe_clr.experiments.table_text import CSV_COLUMNS, FORMATS, render, tex
from pycaffe_clr.experiments.tables import lines_of, scientific
from pycaffe_clr.train.lock import take_lock

ACCURACIES = (0.9921, 0.9929, 0.9925, 0.9931)


def fill(root: Path, setting: str, accuracies=ACCURACIES, **more) -> None:
    """Runs of a setting of the manifest, whole."""
    length = load().settings[setting].max_iter
    for number, accuracy in enumerate(accuracies, 1):
        record = {"max_iter": length, "iteration": length, "seconds": 60, "batch": 512} | more
        make_run(root, setting, f"run{number}", accuracy=accuracy, **record)


def table(number: int, root: Path, form: str = "csv", readings: bool = False) -> str:
    return render(number, lines_of(number, load(), Store([root])), form, readings)


def rows_of(text: str) -> dict[str, dict[str, str]]:
    return {row["row"]: row for row in csv.DictReader(io.StringIO(text))}


def test_csv_has_the_reports_rows_in_its_order(tmp_path):
    for number, count in ((1, 20), (2, 26)):
        text = table(number, tmp_path)
        assert text.splitlines()[0] == ",".join(CSV_COLUMNS)
        rows = rows_of(text)
        assert list(rows) == [str(n) for n in range(1, count + 1)]
        for row in rows.values():
            assert (row["n"], row["mean"], row["sd"]) == ("0", "", "")
            assert (row["difference_se"], row["p"]) == ("", "")
    first = rows_of(table(1, tmp_path))["11"]
    assert first == dict(zip(CSV_COLUMNS, [
        "11", "resnet-56", "Cifar-10", "0.08-0.8", "0.95-0.8", "1e-4", "512", "95", "92.0", "0.2",
        "", "", "0", "", "",
    ], strict=True))  # fmt: skip
    second = rows_of(table(2, tmp_path))
    assert [second[n]["lr"] for n in ("1", "15", "17")] == ["0.1/Step", "0.01/inv", "0.01-0.1"]
    assert (second["20"]["report_mean"], second["20"]["report_sd"]) == ("99.35", "0.03")
    readings = rows_of(table(1, tmp_path, readings=True))
    assert len(readings) > 25 and [r for r in readings if r[:2] == "11"] == ["11", "11a", "11b"]
    assert [readings[r]["momentum"] for r in ("11a", "11b")] == ["0.95", "0.95-0.85"]


def test_numbers_of_a_row(tmp_path):
    fill(tmp_path, "lenet_1cycle")
    row = rows_of(table(2, tmp_path))["17"]
    percent = [100 * a for a in ACCURACIES]
    assert float(row["mean"]) == pytest.approx(statistics.mean(percent), rel=1e-5)
    assert float(row["sd"]) == pytest.approx(statistics.stdev(percent), rel=1e-5)
    assert row["n"] == "4"
    expected = welch(summarize(percent), Summary(99.25, 0.03, 4))
    assert float(row["difference_se"]) == pytest.approx(expected.t, rel=1e-5)
    assert float(row["p"]) == pytest.approx(expected.p, rel=1e-5)
    line = next(x for x in lines_of(2, load(), Store([tmp_path])) if x.label == "17")
    assert line.ours == "99.265 ± 0.044" and line.whole == "98.265 ± 0.044"
    assert (line.time, line.speed) == ("60 s", f"{1406 * 512 / 60:,.0f}")


def test_fewer_runs_show_as_they_are(tmp_path):
    fill(tmp_path, "lenet_1cycle", ACCURACIES[:1])
    fill(tmp_path, "lenet_inv", ACCURACIES[:2])
    rows = rows_of(table(2, tmp_path))
    assert (rows["17"]["n"], rows["17"]["mean"], rows["17"]["sd"]) == ("1", "99.21", "")
    assert rows["17"]["p"] == rows["17"]["difference_se"] == ""
    assert rows["15"]["n"] == "2" and float(rows["15"]["sd"]) > 0 and rows["15"]["p"] != ""


def test_what_does_not_count_is_said(tmp_path):
    manifest = load()
    setting, third = (manifest.settings[manifest.tables[1][n].setting] for n in (0, 2))
    length = setting.max_iter
    fill(tmp_path, setting.name, (0.81, 0.80))
    make_run(tmp_path, setting.name, "run3", "diverged", max_iter=length, iteration=3120)
    make_run(tmp_path, setting.name, "run4", "running", max_iter=length)
    make_run(tmp_path, setting.name, "run5", "stopped", max_iter=length, iteration=44)
    make_run(tmp_path, setting.name, "run6", max_iter=100)
    make_run(tmp_path, setting.name, "run7")
    (tmp_path / setting.name / "run7" / "run.json").write_text("nothing")
    make_run(tmp_path, setting.name, "file", accuracy=0.5, max_iter=length, iteration=length)
    make_run(tmp_path, third.name, "run1", "stopped", max_iter=length)
    with take_lock(tmp_path / setting.name / "run4"):
        lines = lines_of(1, load(), Store([tmp_path]))
        outcome = lines[0].outcome
        assert outcome.accuracy.values == pytest.approx((81, 80, 10))
        assert (outcome.n, outcome.planned, outcome.accuracy.diverged) == (3, 4, 1)
        assert outcome.diverged == (("run3", 3120),)
        text = " ".join(notes_of(lines))
    for words in (
        "1: run3 diverged at iteration 3,120 and counts at chance, 10 %; run4 running at 2 of "
        "9,765 iterations, not counted; run5 stopped at 44 of 9,765 iterations, not counted; run6 "
        "has 100 of 9,765 iterations, not counted; run7 in",
        "cannot be read.",
        "Missing: 1a, 1b, 2, 2a, 2b, 3a, 4,",
        "3: run1 stopped at 40 of 9,765 iterations",
    ):
        assert words in text
    assert "applied in 1-2, 6-7, 11-12, 16-17; in the report's runs it was most likely" in text
    ours = {line.label: line.ours for line in lines}
    assert ours["3"] == "begun" and ours["2"] == "missing"


def test_a_row_of_which_all_runs_diverged_has_no_deviation(tmp_path):
    setting = load().settings["lenet_1cycle"]
    for run in ("run1", "run2"):
        make_run(tmp_path, setting.name, run, "diverged", max_iter=setting.max_iter, iteration=9)
    (line,) = (line for line in lines_of(2, load(), Store([tmp_path])) if line.label == "17")
    assert (line.ours, line.whole, line.difference, line.p) == ("diverged", "", "", "")
    assert line.outcome.accuracy.mean == 10 and line.outcome.n == 2
    row = rows_of(table(2, tmp_path))["17"]
    assert (row["mean"], row["sd"], row["n"], row["difference_se"]) == ("10", "", "2", "")
    assert "run2 diverged at iteration 9 and counts at chance, 10 %" in " ".join(notes_of([line]))


def test_other_readings_stand_below_their_row(tmp_path):
    fill(tmp_path, "lenet_1cycle_batch128", max_iter=5625, iteration=5625)
    lines = {line.label: line for line in lines_of(2, load(), Store([tmp_path]))}
    assert lines["17a"].reading == "total batch 128" and not lines["17"].reading
    assert lines["17a"].outcome.n == 4 and lines["17a"].p and lines["17"].ours == "missing"
    text = table(2, tmp_path, "terminal")
    assert "17a or total batch 128" in text and "Assumed in 15a, 16a, 17a" in text
    assert "17a: total batch 128" in table(2, tmp_path, "markdown")
    first = {line.label: line.reading for line in lines_of(1, load(), Store([tmp_path]))}
    assert [first[f"6{letter}"] for letter in "abcd"] == [
        "momentum 0.95", "fixed learning rate", "momentum 0.97-0.85", "msra/xavier fillers",
    ]  # fmt: skip
    assert first["11b"] == "momentum 0.95-0.85" and first["15a"] == "the same batch in all runs"


@pytest.mark.parametrize("filled", [False, True])
def test_the_terminal_has_80_columns(tmp_path, filled):
    if filled:
        manifest = load()
        for rows in manifest.tables.values():
            for row in rows:
                for name in (row.setting, *row.alternates):
                    if not (tmp_path / name).exists():
                        fill(tmp_path, name, seconds=9_999_999.0)
    for number in (1, 2):
        text = table(number, tmp_path, "terminal")
        assert max(map(len, text.splitlines())) <= 80
        assert ("Missing:" in text) is not filled and ("none yet" in text) is not filled
        assert ("116 d" in text) is filled


def test_markdown_and_latex_have_a_cell_for_every_column(tmp_path):
    fill(tmp_path, "lenet_1cycle")
    for number, count in ((1, 20), (2, 26)):
        cells = [ln.count("|") for ln in table(number, tmp_path, "markdown").splitlines()
                 if ln.startswith("|")]  # fmt: skip
        assert len(set(cells)) == 1 and len(cells) >= count + 2
        text = table(number, tmp_path, "latex")
        body = text[text.index(r"\hline") : text.rindex(r"\hline")]
        counts = {ln.count(" & ") for ln in body.splitlines() if ln.endswith(r"\\")}
        assert len(counts) == 1
        for part in ("table", "tabular"):
            assert text.count(rf"\begin{{{part}}}") == text.count(rf"\end{{{part}}}") == 1
    assert "| 99.25 ± 0.03 | 99.265 ± 0.044 | 4 |" in table(2, tmp_path, "markdown")
    assert r"99.25 $\pm$ 0.03 & 99.265 $\pm$ 0.044 & 4 &" in table(2, tmp_path, "latex")
    assert tex("a_b 5% {<}") == r"a\_b 5\% \{$<$\}"


def test_time_comes_from_the_record_or_the_log(tmp_path):
    make_run(tmp_path, "a", "run1", seconds=50, batch=8)
    make_run(tmp_path, "a", "run2", batch=0)
    make_run(tmp_path, "a", "run3")
    log = "".join(
        f"I0101 00:00:{second:02}.0 1 solver.cpp:1] Iteration {second}, {what}\n"
        for second in (0, 10, 20)
        for what in ("loss = 1", "lr = 1")
    )
    head = "I0101 00:00:00.0 1 net.cpp:1] Initializing net from parameters:\nbatch_size: 4\n"
    (tmp_path / "a" / "run2" / "train.log").write_text(head + log)
    one, two, three = Store([tmp_path]).runs("a")
    assert time_of(one) == (50, 100 * 8 / 50)
    assert time_of(two) == (20, 100 * 4 / 20)
    assert time_of(three) == pytest.approx((float("nan"), float("nan")), nan_ok=True)


def test_words_for_numbers():
    assert [scientific(x) for x in (0.003, 1e-4, 5e-4, 1.5e-6, 0.0)] == [
        "3e-3", "1e-4", "5e-4", "1.5e-6", "0"
    ]  # fmt: skip
    assert ranges(["1", "2", "3", "5", "5a", "6", "7"]) == "1-3, 5, 5a, 6-7"


def test_the_command(tmp_path, capsys):
    fill(tmp_path, "lenet_1cycle")
    for form in FORMATS:
        assert main(["table", "2", "--format", form, "--root", str(tmp_path)]) == 0
        assert "99.2" in capsys.readouterr().out
    assert main(["table", "2", "--root", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err
    assert main(["table", "2", "--root", str(tmp_path / "lenet_1cycle")]) == 1
    assert "lenet_1cycle: is the folder of one setting; expected" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["table", "3"])
    with pytest.raises(ConfigError, match="tables 1 and 2"):
        lines_of(3, load(), Store([]))


def test_an_outcome_of_nothing(tmp_path):
    outcome = outcome_of(load().settings["lenet_1cycle"], Store([tmp_path]))
    assert outcome.missing and outcome.n == 0 and outcome.planned == 4


def test_no_compiled_code_is_loaded_and_any_terminal_will_do(tmp_path):
    fill(tmp_path, "lenet_1cycle")
    code = (
        "import sys, json; from pycaffe_clr.cli import main; "
        f"main(['table', '2', '--root', {str(tmp_path)!r}]); "
        "print(json.dumps([m for m in sys.modules if '_core' in m or m.endswith('.engine') "
        "or m in ('matplotlib', 'h5py', 'lmdb')]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    lines = found.stdout.splitlines()
    loaded = [m for m in json.loads(lines[-1]) if m.startswith(("pycaffe", "mat", "h5", "lm"))]
    assert loaded == []
    assert any("99.25+-0.03 99.265+-0.044 4" in line for line in lines)
