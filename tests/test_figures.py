"""The report's figures: curves from runs on disk, panels, captions, the command."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import figure_cases
import numpy as np
import pytest

from pycaffe_clr import cli
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.experiments import author
from pycaffe_clr.experiments.claims import Verdict
from pycaffe_clr.experiments.figures import (
    captions,
    command,
    fig02,
    panel,
    readings,
    sheet,
    style,
    text,
)
from pycaffe_clr.experiments.figures.album import NUMBERS, Album, module_of, numbers_of
from pycaffe_clr.experiments.figures.curves import LOSS_CAP, MAX_POINTS, Curves, thinned
from pycaffe_clr.experiments.manifest import Curve, Figure, Manifest, Panel, load
from pycaffe_clr.experiments.store import Store
from pycaffe_clr.train.result import RunResult

SETTING = "cifar3_range_m90"  # a range test on Cifar-10, 10,000 iterations


def no_author(name: str) -> RunResult:
    raise AssertionError(f"no curve names {name}")


def curve_for(setting: str = SETTING, y: str = "test_loss", **fields: object) -> Curve:
    return Curve(id=setting, label=setting, setting=setting, y=y, **fields)  # type: ignore[arg-type]


def panel_of(*curves: Curve, x: str = "iteration", y: str = "test_loss", xlim=None) -> Panel:
    return Panel("a", "A panel", x, y, "Iterations", "Test loss", xlim, None, curves)


def curves_in(root: Path, scale: float = 1.0) -> Curves:
    return Curves(load().settings, Store([root]), no_author, scale)


def drawn(root: Path, x: str = "iteration", y: str = "test_loss", setting: str = SETTING):
    return curves_in(root).panel(panel_of(curve_for(setting, y), x=x, y=y))[0]


def test_a_curve_is_the_mean_of_its_runs_and_their_deviation(tmp_path: Path) -> None:
    figure_cases.write_setting(tmp_path, load().settings[SETTING])
    found = drawn(tmp_path, y="accuracy")
    tables = [run.result().test() for run in Store([tmp_path]).counted(SETTING)]
    values = 100 * np.array([table["accuracy"] for table in tables])
    np.testing.assert_allclose(found.x, tables[0]["iteration"])
    np.testing.assert_allclose(found.mean, values.mean(axis=0))
    np.testing.assert_allclose(found.deviation, values.std(axis=0, ddof=1))
    assert (found.n, found.planned, found.missing) == (4, 4, False)


def test_a_curve_without_runs_has_no_points_and_says_so(tmp_path: Path) -> None:
    found = drawn(tmp_path)
    assert found.missing and not len(found.x)
    assert text.legend_label(found) == f"{SETTING} (not run yet)"


def test_the_x_axis_of_a_range_test_comes_from_its_schedule(tmp_path: Path) -> None:
    setting = load().settings[SETTING]
    figure_cases.write_setting(tmp_path, setting, runs=2)
    found = drawn(tmp_path, x="lr")
    assert found.x[0] == pytest.approx(setting.lr[0], rel=0.02)
    assert found.x[-1] == pytest.approx(setting.lr[1], rel=0.02)
    assert (np.diff(found.x) > 0).all()
    assert text.legend_label(found) == f"{SETTING} (n = 2)"


def test_generalization_is_test_loss_less_the_training_loss_since_the_last_test(tmp_path) -> None:
    figure_cases.write_setting(tmp_path, load().settings[SETTING], runs=1)
    parts = [drawn(tmp_path, y=y) for y in ("generalization", "test_loss", "train_loss")]
    np.testing.assert_allclose(parts[0].mean, parts[1].mean - parts[2].mean)
    assert np.isnan(parts[0].deviation).all()


def test_a_diverged_run_counts_at_chance_and_leaves_a_panel_of_losses(tmp_path: Path) -> None:
    setting = load().settings[SETTING]
    figure_cases.write_setting(tmp_path, setting, runs=3)
    folder = tmp_path / SETTING / "run4"
    figure_cases.write_run(folder, max_iter=10000, lr=setting.lr, state="diverged", stop=6000)
    accuracy, loss = drawn(tmp_path, y="accuracy"), drawn(tmp_path)
    others = [run.result().final_accuracy for run in Store([tmp_path]).counted(SETTING)[:3]]
    assert accuracy.mean[-1] == pytest.approx((100 * sum(others) + 10) / 4)
    assert loss.diverged == (5999.0,)
    assert loss.mean[-1] > LOSS_CAP / 5 and np.isnan(loss.deviation[-1])
    low, high = panel.y_range([loss], None)
    assert high < 3  # the losses of Cifar-10 begin at 2.3
    assert "(one diverged)" in text.legend_label(loss)
    assert "1 of 4" in captions.paragraphs(_figure(panel_of()), [loss])[1]


def test_runs_on_their_way_are_shown_only_where_none_is_through(tmp_path: Path) -> None:
    setting = load().settings[SETTING]
    folder = tmp_path / SETTING
    figure_cases.write_run(folder / "run1", max_iter=10000, state="stopped", stop=4000)
    found = drawn(tmp_path)
    assert found.unfinished == (4000, 10000) and found.x[-1] <= 4000
    assert "at 4,000 of 10,000" in text.legend_label(found)
    figure_cases.write_setting(tmp_path, dataclasses.replace(setting, runs=setting.runs[1:]), 1)
    found = drawn(tmp_path)
    assert found.n == 1 and found.unfinished is None and found.x[-1] == 10000


def test_shortened_runs_are_left_out_of_whole_curves_and_the_other_way_round(tmp_path) -> None:
    folder = tmp_path / SETTING
    figure_cases.write_run(folder / "run1", max_iter=200)
    found = drawn(tmp_path)
    assert found.missing and found.left_out == 1
    assert "One run is left out" in captions.paragraphs(_figure(panel_of()), [found])[1]
    figure_cases.write_run(folder / "run2", max_iter=200, labels={"scaled": "0.02"})
    scaled = curves_in(tmp_path, 0.02).panel(panel_of(curve_for()))[0]
    assert scaled.n == 1 and scaled.left_out == 1


def test_a_damaged_run_is_left_out_and_said(tmp_path: Path) -> None:
    figure_cases.write_setting(tmp_path, load().settings[SETTING], runs=2)
    (tmp_path / SETTING / "run1" / "tests.csv").write_text("iteration,net,accuracy\n1,0,x\n")
    (tmp_path / SETTING / "run2" / "run.json").write_text("{")
    found = drawn(tmp_path)
    assert found.missing and found.left_out == 2


def test_the_run_with_the_files_own_fillers_is_not_in_the_mean(tmp_path: Path) -> None:
    figure_cases.write_run(tmp_path / SETTING / "file", max_iter=10000)
    assert drawn(tmp_path).missing


def test_branches_show_the_snapshot_that_they_go_on_from(tmp_path: Path) -> None:
    settings = load().settings
    branch = settings["cifar3_branch_wd3e-3"]
    parent, iteration = branch.start
    for name in (branch.name, parent):
        figure_cases.write_setting(tmp_path, settings[name], runs=2)
    curves = curves_in(tmp_path)
    alone = curves.panel(panel_of(curve_for(branch.name)))[0]
    assert alone.start == iteration and alone.trunk[0][-1] <= iteration <= alone.x[0]
    both = curves.panel(panel_of(curve_for(parent), curve_for(branch.name)))
    assert both[0].start is None and both[1].start == iteration
    assert both[1].trunk is None  # the parent's own curve shows it


def test_no_curve_has_more_than_400_points() -> None:
    assert len(thinned(10)) == 10
    kept = thinned(100_000)
    assert len(kept) == MAX_POINTS and (kept[0], kept[-1]) == (0, 99_999)


# --- drawing ------------------------------------------------------------------------------------


def _figure(*panels: Panel) -> Figure:
    letters = {p.letter: p for p in panels}
    return Figure(number=7, title="Tests", caption="A caption.", panels=letters)


@pytest.fixture
def album(tmp_path: Path) -> Album:
    """A figure with two panels; of its curves one has four runs, one has two, one has none."""
    settings = load().settings
    names = [SETTING, "cifar3_range_m99", "cifar3_range_m70"]
    for name, runs in zip(names, (4, 2, 0), strict=True):
        figure_cases.write_setting(tmp_path, settings[name], runs)
    first = panel_of(*map(curve_for, names), x="lr")
    accuracy = curve_for(SETTING, "accuracy", colour="yellow")
    second = dataclasses.replace(panel_of(curve_for(SETTING), accuracy), letter="b")
    manifest = Manifest(settings, load().tables, {7: _figure(first, second)})
    return Album(manifest, curves_in(tmp_path))


def _texts(figure: object) -> str:
    """All words of a matplotlib Figure."""
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text))  # type: ignore[attr-defined]


def test_a_sheet_has_titles_legends_and_the_caption(album: Album) -> None:
    figure = album.sheet(7)
    words = _texts(figure)
    assert "(a) A panel" in words and "(b) A panel" in words
    assert f"{SETTING}\n" in words  # four runs: nothing to add
    assert "cifar3_range_m99 (n = 2)" in words
    assert "cifar3_range_m70 (not run yet)" in words
    assert f"{SETTING} (right axis)" in words
    assert "Figure 7. A caption." in words and "One of the five curves" in words
    assert figure.get_size_inches()[0] == 7


def test_nothing_on_a_sheet_leaves_it_or_overlaps(album: Album) -> None:
    figure = album.sheet(7)
    renderer = figure.canvas.get_renderer()
    wide, tall = figure.bbox.width, figure.bbox.height
    boxes = [t.get_window_extent(renderer) for t in figure.texts]
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    boxes += [legend.get_window_extent(renderer) for legend in legends]
    boxes += [axes.get_tightbbox(renderer, bbox_extra_artists=[]) for axes in figure.axes[:2]]
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= wide and box.y1 <= tall
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def test_a_scaled_sheet_says_so(album: Album) -> None:
    album.curves.scale = 0.02
    assert "scaled to 2 %" in _texts(album.sheet(7))


@pytest.mark.parametrize("kind", sheet.FORMATS)
def test_equal_runs_give_equal_files(album: Album, tmp_path: Path, kind: str) -> None:
    paths = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for path in paths:
        sheet.save(album.sheet(7), path, dpi=40)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_svg_for_a_page_takes_the_pages_colours_and_keeps_names_apart(album: Album) -> None:
    cell = album.cells(7)[0]
    found = sheet.svg(sheet.render([cell]), "f7a")
    assert found.startswith("<svg") and "width=" not in found[: found.index(">")]
    shades = [*style.DARK_TONES, *style.COLOURS.values()]
    bare = found
    for shade in shades:
        bare = bare.replace(f", {shade})", "")
    assert not [shade for shade in shades if shade in bare]
    assert 'id="f7a-axes_1"' in found and 'id="axes_1"' not in found
    assert ">0.005<" in found or ">0.010<" in found  # numbers in words stay whole
    assert len(found) < 60_000


def test_lines_with_more_than_one_word_are_broken_to_the_width() -> None:
    lines = text.wrap("some words that are longer than one line " * 4, 8, 2.0)
    assert len(lines) > 2 and all(text.width(line, 8) <= 2 for line in lines)


def test_colours_are_the_reports_where_it_names_them() -> None:
    assert style.colour_name("red (inferred)", 0) == "red"
    assert [style.colour_name(None, i) for i in range(4)] == ["blue", "red", "yellow", "purple"]


# --- all of them --------------------------------------------------------------------------------


def test_figure_numbers() -> None:
    assert numbers_of(["all"]) == list(NUMBERS)
    assert numbers_of(["7", "1", "3-5"]) == [1, 3, 4, 5, 7]
    for wrong in ("17", "0", "x", "3-", "2-40"):
        with pytest.raises(ConfigError, match="figure"):
            numbers_of([wrong])


def test_every_figure_has_a_short_module_of_its_own() -> None:
    for number in NUMBERS:
        module = module_of(number)
        assert module.__doc__.startswith(f"Figure {number}:")
        assert len(Path(module.__file__).read_text().splitlines()) <= 50
        assert set(module.LOOKS) <= set("abcd")
    assert fig02.LOOKS["a"].draw is not None


@pytest.fixture(scope="module")
def many_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of every second setting that a figure draws."""
    root = tmp_path_factory.mktemp("runs")
    manifest = load()
    names = dict.fromkeys(c.setting for f in manifest.figures.values() for c in f.curves)
    for name in list(names)[::2]:
        figure_cases.write_setting(root, manifest.settings[name], 2)
    return root


def test_all_figures_are_drawn(many_runs: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "figures"
    words = ["figures", "all", "--root", str(many_runs), "--out", str(out), "--format", "svg"]
    assert cli.main(words) == 0
    assert sorted(p.name for p in out.iterdir()) == [f"fig{n:02d}.svg" for n in NUMBERS]
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 16 and "curves have runs" in said[0]
    for path in out.iterdir():
        content = path.read_text()
        assert f"Figure {int(path.stem[3:])}. " in content  # words stay words
        assert "nan" not in re.sub(r"<text.*?</text>", "", content)


def test_every_curve_of_the_manifest_is_in_its_figure(many_runs: Path) -> None:
    manifest = load()
    album = Album(manifest, Curves(manifest.settings, Store([many_runs]), author.load))
    for number, figure in manifest.figures.items():
        shown = [d.curve.id for d in album.drawn(number)]
        assert shown == [curve.id for curve in figure.curves]
        for drawn_curve in album.drawn(number):
            assert bool(drawn_curve.author) == bool(drawn_curve.curve.author), drawn_curve.curve.id
            assert len(drawn_curve.x) <= MAX_POINTS


def test_a_figure_is_a_script_and_needs_no_compiled_code(many_runs: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pycaffe_clr.experiments.figures import command\n"
        f"code = command.script(7, ['--root', {str(many_runs)!r}, '--out', {str(tmp_path)!r}])\n"
        "loaded = [m for m in ('pycaffe_clr._core', 'pycaffe_clr.engine') if m in sys.modules]\n"
        "sys.exit(code or (f'loaded {loaded}' if loaded else 0))\n"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "fig07.png").stat().st_size > 10_000
    module = "pycaffe_clr.experiments.figures.fig07"
    asked = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True)
    assert asked.returncode == 0 and "--launch" in asked.stdout


def test_wrong_folders_are_one_clear_error(tmp_path: Path, capsys) -> None:
    assert cli.main(["figures", "2", "--root", str(tmp_path / "no"), "--out", str(tmp_path)]) == 1
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert cli.main(["figures", "2", "--out", str(tmp_path / "file")]) == 1
    assert "cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize("scale", [None, 0.02])
def test_launch_makes_the_runs_that_a_figure_draws(tmp_path: Path, monkeypatch, scale) -> None:
    from pycaffe_clr.experiments import queue

    asked = {}

    def run_settings(names: list[str], root: Path, **fields: object) -> list[object]:
        asked.update(names=list(names), root=root, **fields)
        for name in names:
            setting = load().settings[name]
            short = dataclasses.replace(setting, max_iter=int(setting.max_iter * (scale or 1)))
            figure_cases.write_setting(
                root, short, 2, labels={"scaled": f"{scale}"} if scale else {}
            )
        return []

    monkeypatch.setattr(queue, "run_settings", run_settings)
    words = [
        "--root",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path),
        "--launch",
        "--format",
        "svg",
    ]
    words += ["--scale", str(scale)] if scale else []
    assert command.script(14, words) == 0
    assert asked["names"] == list(load().figures[14].settings) and asked["scale"] == scale
    picture = (tmp_path / "fig14.svg").read_text()
    assert "not run yet" not in picture
    assert ("scaled to 2 %" in picture) == bool(scale)


def test_a_launch_that_cannot_be_made_is_told_and_the_figure_drawn(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    from pycaffe_clr.experiments import queue

    def run_settings(*_: object, **__: object) -> list[object]:
        raise DataError("needs an ImageNet LMDB")

    monkeypatch.setattr(queue, "run_settings", run_settings)
    words = ["--root", str(tmp_path), "--out", str(tmp_path), "--launch", "--format", "svg"]
    assert command.script(16, words) == 1
    assert "needs an ImageNet LMDB" in capsys.readouterr().err
    assert (tmp_path / "fig16.svg").is_file()


def test_captions_say_which_claims_hold_and_which_do_not() -> None:
    figure = load().figures[7]
    claims = [
        Verdict(figure.claims[0], True, "F7a-blue 0.41, F7a-yellow 0.52"),
        Verdict(figure.claims[1], False, "F7a-yellow falls to 0.011"),
        Verdict(figure.claims[2], None, "no finished run of cifar3_range_m99"),
    ]
    said = captions.paragraphs(figure, [], claims)[1]
    assert said.startswith("Ours: of the report's two claims that these runs can judge one holds")
    assert f"“{figure.claims[1].says[:-1]}” (‘momentum = 0.99’ falls to 0.011)." in said
    assert figure.claims[0].says not in said and figure.claims[2].says not in said
    assert "it holds" in captions.paragraphs(figure, [], claims[:1])[1]
    assert "none holds" in captions.paragraphs(figure, [], claims[1:])[1]


def test_numbers_are_typeset() -> None:
    assert text.typeset("WD = 1e-4, 3.2e-03, LR 0.1-1") == "WD = 10⁻⁴, 3.2×10⁻³, LR 0.1–1"
    assert text.typeset("resnet-56 of 1e-10") == "resnet-56 of 10⁻¹⁰"


def test_other_readings_make_figures_of_their_own(tmp_path: Path, capsys) -> None:
    settings = load().settings
    for curve in load().figures[14].panels["a"].curves:
        figure_cases.write_setting(tmp_path, settings[curve.alternates[0]], 2)
    words = ["14", "--readings", "--root", str(tmp_path), "--out", str(tmp_path)]
    assert cli.main(["figures", *words, "--format", "svg"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "0 of 6 curves have runs" in said[0]
    assert "fig14-2.svg: total batch 128: 3 of 6 curves have runs" in said[1]
    picture = (tmp_path / "fig14-2.svg").read_text()
    assert "Read otherwise: total batch 128." in picture


def test_every_reading_has_its_panels_and_claims() -> None:
    manifest = load()
    found = {n: readings.readings_of(manifest, n) for n in manifest.figures}
    assert "momentum 0.98-0.8" in found[10] and "total batch 128" in found[14]
    start = "momentum constant at its start"
    assert [number for number, figures in found.items() if start in figures] == [7, 8, 14]
    assert found[7][start].settings[1:4] == tuple(f"cifar3_range_m{m}" for m in (80, 97, 95))
    for number, figures in found.items():
        for figure in figures.values():
            ids = {curve.id for curve in figure.curves}
            assert all(set(claim.of) <= ids for claim in figure.claims)
            assert figure.settings != manifest.figures[number].settings
