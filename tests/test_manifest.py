"""The manifest of the report's experiments against the report, its logs and the shipped files."""

from __future__ import annotations

import json
import re
import shutil
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest
from google.protobuf import text_format

from pycaffe_clr import proto
from pycaffe_clr.catalog import find_solver
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments import manifest_files, protocol
from pycaffe_clr.experiments.manifest import IMAGES, load

ROOT = Path(__file__).resolve().parents[1]

# Tables 1 and 2, typed a second time: accuracy and standard deviation, in the report's order.
ACCURACIES = {
    1: "81.3 0.1 80.2 0.1 79.5 0.1 80.2 0.4 81.2 0.2 80.8 0.3 80.9 0.3 80.2 0.3 81.0 0.2 81.0 0.1 "
    "92.0 0.2 91.4 0.1 90.8 0.3 91.4 0.3 92.1 0.1 89.1 0.3 88.1 0.5 87.8 0.3 88.1 0.1 88.8 0.3",
    2: "86.7 0.6 88.7 0.6 89.8 0.4 90.3 1.0 87.3 0.8 91.3 0.1 91.9 0.2 91.3 0.2 92.1 0.2 92.7 0.2 "
    "91.7 0.3 92.1 0.2 92.2 0.2 92.8 0.1 99.03 0.04 99.00 0.04 99.25 0.03 99.28 0.06 99.27 0.07 "
    "99.35 0.03 60.8 0.4 61.6 0.9 61.0 0.2 65.4 0.2 66.4 0.6 69.0 0.4",
}
# Length and stepsize in the headers of the author's logs; 0: a step policy.
LOGGED = {
    "resnet56_1cycle_m95_same_batch": (9277, 4003),
    "wide32_1cycle_50": (4882, 2246),
    "wide32_1cycle_wd1e-5": (9765, 4394),
    "densenet40_1cycle_50": (4882, 2148),
    "densenet40_step_400": (39062, 0),
    "resnet56_cifar100_1cycle_tbs1024": (7080, 3417),
    "cifar3_cifar100_1cycle": (4882, 2246),
}
CURVES = {1: 4, 2: 0, 3: 4, 4: 5, 5: 6, 6: 8, 7: 13, 8: 7, 9: 8, 10: 8}
CURVES |= {11: 8, 12: 6, 13: 11, 14: 6, 15: 6, 16: 6}


def all_rows():
    return [row for rows in load().tables.values() for row in rows]


def test_the_rows_have_the_reports_numbers_in_its_order():
    for table, rows in load().tables.items():
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        printed = " ".join(row.printed.replace("+- ", "") for row in rows)
        assert printed == ACCURACIES[table]


def test_the_rows_read_as_the_report_prints_them(shared):
    text = (shared / "seeds" / "paper-disciplined-approach.md").read_text()
    lines = [line.split("\t") for line in text.splitlines() if line.count("\t") >= 5]
    printed = {1: [], 2: []}
    for cells in lines:
        if "$" in cells[-1]:
            printed[1 if len(cells) == 6 else 2].append(cells)
    for table, rows in load().tables.items():
        assert len(printed[table]) == len(rows)
        for row, cells in zip(rows, printed[table], strict=True):
            *columns, accuracy = cells
            assert list(row.columns.values()) == [plain(cell) for cell in columns], row
            assert row.printed == plain(accuracy).replace(r"\pm", "+-")


def plain(cell: str) -> str:
    """ "$3 \\times 10^{-3}$" as 3e-3."""
    cell = cell.strip().strip("$").strip()
    cell = re.sub(r"(\d+) \\times 10\^\{(-\d+)\}", r"\1e\2", cell)
    return re.sub(r"^10\^\{(-\d+)\}", r"1e\1", cell)


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.setting)
def test_a_row_is_run_as_it_is_printed(row):
    setting, columns = load().setting(row.setting), row.columns
    assert setting.weight_decay == float(columns["WD"])
    rate, _, half = columns.get("CLR/SS/PL", columns.get("LR/SS", "")).partition("/")
    assert list(setting.lr) == numbers(rate)
    if half and half.isdigit():
        assert (setting.policy, setting.stepsize_epochs) == ("1cycle", float(half))
    else:
        assert setting.policy == ("inv" if half == "inv" else "step")
    momentum, _, half = columns.get("CM/SS", columns.get("momentum/SS", "")).partition("/")
    assert list(setting.momentum) == numbers(momentum)
    assert not half or setting.stepsize_epochs == float(half)
    total, _, epochs = columns.get("TBS/epochs", f"512/{columns.get('epochs')}").partition("/")
    assert (setting.total_batch, setting.epochs) == (int(total), float(epochs))
    iterations = int(setting.epochs * IMAGES[setting.dataset] / setting.total_batch)
    assert setting.max_iter == iterations


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split("-")]


def test_lengths_are_those_of_the_authors_logs():
    for name, (max_iter, stepsize) in LOGGED.items():
        setting = load().setting(name)
        assert (setting.max_iter, setting.stepsize) == (max_iter, stepsize), name
    steps = load().setting("densenet40_step_400").stepvalues
    assert steps == (19531, 29296, 34178, 36619, 35398)  # out of order, as in the log


def test_every_curve_of_the_report_is_there(shared):
    known = json.loads((shared / "reviews" / "report-figures.json").read_text())["figures"]
    theirs = {c["id"] for f in known.values() for p in f["panels"].values() for c in p["curves"]}
    ours = {curve.id for figure in load().figures.values() for curve in figure.curves}
    assert theirs <= ours
    assert len(theirs) == 99


def test_figures_have_their_curves_and_every_curve_a_label():
    figures = load().figures
    assert {number: len(figure.curves) for number, figure in figures.items()} == CURVES
    for figure in figures.values():
        ids = [curve.id for curve in figure.curves]
        assert len(ids) == len(set(ids))
        for letter, panel in figure.panels.items():
            assert panel.x in ("iteration", "lr", "momentum") and panel.letter == letter
            for curve in panel.curves:
                assert curve.y in ("test_loss", "train_loss", "accuracy", "generalization")
                assert curve.label


@cache
def batches_of(net: str) -> tuple[int, int]:
    """Of the data layers of a net's file: in TRAIN and in TEST."""
    layers = text_format.Parse((ROOT / net).read_text(), proto.NetParameter()).layer
    train, test = (layer.data_param.batch_size for layer in layers if layer.type == "Data")
    return train, test


@pytest.mark.parametrize("setting", load().settings.values(), ids=lambda setting: setting.name)
def test_a_setting_is_whole_and_its_solver_and_net_fit(setting):
    text = (ROOT / "solvers" / f"{setting.name}.prototxt").read_text()
    solver = text_format.Parse(text, proto.SolverParameter())
    batch, test_batch = batches_of(solver.net)
    assert batch * solver.replicas == setting.total_batch  # replicas: 1 by default
    assert test_batch == setting.test_batch
    assert solver.max_iter == setting.max_iter
    assert 0 < setting.test_interval <= setting.max_iter
    assert setting.stepsize <= setting.max_iter
    assert all(0 < step < setting.max_iter for step in setting.stepvalues)
    if setting.policy == "range":
        assert (solver.lr_policy, solver.stepsize) == ("triangular", solver.max_iter)
        assert len(setting.momentum) == 1 or solver.cyclical_momentum[1] == solver.max_iter
    for name in ("net", "total_batch", "type", "policy", "lr", "momentum", "weight_decay", "tests"):
        assert name in setting.sources
    assert {"epochs", "max_iter"} & set(setting.sources)
    if setting.start:
        before = load().setting(setting.start[0])
        assert setting.start[1] % (before.snapshot or before.max_iter) == 0
        assert [plan.name for plan in before.runs] == [plan.name for plan in setting.runs]
        assert before.batch == setting.batch


def batches(name: str) -> list[tuple[str, str | None, int]]:
    return [(plan.name, plan.filler, plan.batch) for plan in load().setting(name).runs]


def test_runs_follow_the_protocol():
    assert batches("resnet56_1cycle") == [
        ("run1", "xavier", 131),
        ("run2", "msra", 130),
        ("run3", "xavier", 129),
        ("run4", "msra", 128),
    ]
    assert batches("lenet_1cycle")[0] == ("run1", "xavier", 524)  # one replica: 12 more in all
    assert batches("cifar3_1cycle")[2:] == [("run3", None, 132), ("run4", None, 128)]
    assert {batch for *_, batch in batches("resnet56_1cycle_m95_same_batch")} == {128}
    assert [batch for *_, batch in batches("resnet50_1cycle")] == [33, 32]
    settings = load().settings
    assert settings["resnet56_fixed_wd1e-4"].mean_total_batch == 1030  # Figure 11
    assert settings["cifar3_step_lr7e-3_m90"].mean_total_batch == 536  # Figure 7d
    assert [plan.seed for plan in settings["cifar3_1cycle"].runs] == [1, 2, 3, 4]


def test_any_solver_has_a_plan(tmp_path, monkeypatch):
    assert protocol.plans("lenet_1cycle") == load().setting("lenet_1cycle").runs
    shutil.copy(ROOT / "solvers" / "cifar3_1cycle.prototxt", tmp_path / "mine.prototxt")
    shutil.copytree(ROOT / "prototxt", tmp_path / "prototxt", ignore=lambda *_: {"generators"})
    monkeypatch.chdir(tmp_path)
    plans = protocol.plans("mine.prototxt")
    # Of a net that is nobody's but the user's: the protocol, and a run with the file's own fillers.
    assert plans[:4] == load().setting("cifar3_1cycle_xavier_msra").runs
    assert [(plan.name, plan.filler) for plan in plans[4:]] == [("file", None)]
    assert [plan.batch for plan in protocol.plans("mine.prototxt", runs=2)] == [132, 128, 128]
    with pytest.raises(ConfigError, match="runs: expected at least 1"):
        protocol.plans("mine.prototxt", runs=0)


def test_specs_name_solver_folder_batch_filler_and_seed():
    first, *_, last = protocol.specs(load().setting("cifar3_branch_wd3e-3"), "runs", threads=1)
    assert Path(first["solver"]) == find_solver("cifar3_branch_wd3e-3")
    assert first["out"] == "runs/cifar3_branch_wd3e-3/run1"
    assert (first["batch"], first["filler"], first["seed"], first["threads"]) == (
        140,
        None,
        1,
        1,
    )
    before = "runs/cifar3_fixed_wd1e-3/run1/cifar3_fixed_wd1e-3_iter_5000.solverstate"
    assert first["snapshot"] == before
    assert (last["out"], last["batch"]) == ("runs/cifar3_branch_wd3e-3/run4", 128)


def test_every_disagreement_is_settled():
    found = load().disagreements
    assert [d.id for d in found] == [f"I-{number:02}" for number in range(1, 42)]
    for d in found:
        assert d.about and d.used and d.other and d.why
        for pattern in d.settings:
            assert any(
                fnmatchcase(setting.name, pattern) and d.concerns(setting)
                for setting in load().settings.values()
            ), pattern


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ('source = "text: Table 1"', "", "setting cifar3_1cycle: no source of"),
        ("stepsize_epochs = 11\n", "step_size = 11\n", "unknown values: step_size"),
        ('like = "cifar3_step_m85"', 'like = "nothing"', "is like nothing"),
        ("[tasks.cifar3]", "[tasks.cifar3", "cifar3.toml: cannot be read"),
        ('"text: Table 1"', '"rumour: Table 1"', "expected one of text, log"),
    ],
)
def test_a_manifest_with_a_fault_says_where(old, new, expected, tmp_path):
    folder = tmp_path / "report"
    shutil.copytree(manifest_files.FOLDER, folder)
    path = folder / "cifar3.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=re.escape(expected)):
        manifest_files.read(folder)


def test_an_unknown_setting_is_a_clear_error():
    with pytest.raises(ConfigError, match="Did you mean lenet_1cycle"):
        load().setting("lenet_1cylce")


def test_the_3_layer_net_keeps_its_fillers_and_has_another_reading():
    manifest = load()
    plain = manifest.setting("cifar3_1cycle").runs
    other = manifest.setting("cifar3_1cycle_xavier_msra").runs
    assert {plan.filler for plan in plain} == {None}
    assert [plan.filler for plan in other] == ["xavier", "msra"] * 2
    assert [(p.name, p.batch, p.seed) for p in other] == [(p.name, p.batch, p.seed) for p in plain]
    row = manifest.tables[1][0]
    assert row.setting == "cifar3_1cycle"
    assert row.alternates == ("cifar3_1cycle_m95", "cifar3_1cycle_xavier_msra")
    assert "cifar3_step_cm97_85_xavier_msra" not in manifest.settings


def test_a_row_whose_momentum_cycles_has_its_start_as_another_reading():
    manifest = load()
    rows = {row.setting: row for table in manifest.tables.values() for row in table}
    started = {}
    for row in rows.values():
        setting = manifest.setting(row.setting)
        for name in row.alternates if setting.cycling else ():
            other = manifest.setting(name)
            if other.momentum == setting.momentum[:1] and other.policy == setting.policy:
                started.setdefault((row.table, row.number), name)
    first = {number: name for (table, number), name in started.items() if table == 1}
    assert sorted(first) == [1, 2, 6, 7, 11, 12, 16, 17]
    assert first[17] == "resnet56_step"  # whose momentum is 0.9
    # A row's own setting belongs to it, though another row has it as a reading.
    for name, row in rows.items():
        assert manifest.row_of(name) == row
    says = {d.id for d in manifest.disagreements_of("resnet56_1cycle")}
    assert "I-41" in says
    assert "I-41" not in {d.id for d in manifest.disagreements_of("resnet56_1cycle_m95")}
    noted = {n for n, figure in manifest.figures.items() if "most likely" in str(figure.notes)}
    assert noted == {4, 7, 8, 10, 13, 14, 15, 16}
    assert "7b/7c/7d: cyclical" in manifest.figures[7].notes[-1]
