"""The HTML report: complete, self-contained, readable in a real browser at any width."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import figure_cases
import pytest

from pycaffe_clr import cli
from pycaffe_clr.experiments.manifest import load

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# What closes itself in HTML, or in SVG is written so.
VOID = {"meta", "br", "link", "img", "input", "hr"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of some rows and curves: with four runs, with two, diverged, with none."""
    folder = tmp_path_factory.mktemp("report")
    settings = load().settings
    machine = {
        "processor": {"model": "A processor", "features": "avx2 fma"},
        "versions": {"pycaffe_clr": "0.1.0", "numpy": "2.0"},
    }
    for name, runs in (("cifar3_1cycle", 4), ("resnet56_1cycle", 2), ("cifar3_range_m90", 3)):
        figure_cases.write_setting(folder / "runs", settings[name], runs)
    figure_cases.write_run(
        folder / "runs" / "cifar3_step" / "run1",
        max_iter=9765,
        state="diverged",
        stop=4000,
        reason="<script>alert('the loss is nan')</script>",
        seconds=120.0,
        **machine,
    )
    damaged = folder / "runs" / "lenet_1cycle" / "run1"
    figure_cases.write_run(damaged)
    (damaged / "run.json").write_text("{")
    out = folder / "report.html"
    assert cli.main(["report", "--root", str(folder / "runs"), "--out", str(out)]) == 0
    return out


class Reader(HTMLParser):
    """Checks that tags are closed in order; keeps ids, links, rows and words by section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.rows = 0
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        for key in ("href", "src", "xlink:href"):
            if key in found:
                self.targets.append(str(found[key]))
        self.rows += tag == "tr"
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def read(page: Path) -> Reader:
    return Reader(page.read_text())


def test_the_page_is_well_formed_and_its_names_are_unique(read: Reader) -> None:
    assert len(read.ids) == len(set(read.ids))
    assert all(target[1:] in read.ids for target in read.targets)


def test_it_needs_nothing_but_itself(page: Path, read: Reader) -> None:
    assert all(target.startswith("#") for target in read.targets)
    text = page.read_text()
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert len(text) < 3_000_000


def test_all_tables_and_figures_are_there(read: Reader) -> None:
    manifest = load()
    assert all(f"figure-{number}" in read.ids for number in range(1, 17))
    assert {"table-1", "table-2"} <= set(read.ids)
    words = " ".join(read.words)
    for figure in manifest.figures.values():
        assert f"Figure {figure.number}. " in words
        for letter in figure.panels if len(figure.panels) > 1 else ():
            assert f"f{figure.number}{letter}-axes_1" in read.ids
    lines = [1 + len(row.alternates) for rows in manifest.tables.values() for row in rows]
    assert read.rows > sum(lines) + 4


def test_what_is_missing_diverged_or_assumed_is_said(read: Reader) -> None:
    words = " ".join(read.words)
    assert "missing" in words and "not run yet" in words
    assert "diverged" in words and "4,000 of 9,765" in words
    assert "What was assumed" in words
    assert "unreadable" in words
    assert "A processor" in words and "avx2 fma" in words
    assert load().settings["cifar3_fixed_lr1e-3"].assumed["momentum"] in words


def test_text_from_runs_is_no_markup(page: Path) -> None:
    assert "alert(" not in re.sub(r"&lt;script.*?&lt;/script&gt;", "", page.read_text())


def test_a_file_that_cannot_be_written_is_one_clear_error(tmp_path: Path, capsys) -> None:
    assert cli.main(["report", "--root", str(tmp_path), "--out", str(tmp_path / "no" / "x")]) == 1
    assert "cannot be written" in capsys.readouterr().err


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser to open the page in: none of {', '.join(BROWSERS)} is installed")
    return found


# Run in the page: what lies beyond its right edge, and what a tap on a panel does.
_PROBE = """
<script>
addEventListener("load", () => {
  const root = document.documentElement;
  const told = { page: root.scrollWidth - root.clientWidth, width: root.clientWidth };
  told.svg = document.querySelectorAll("figure svg").length;
  told.small = [...document.querySelectorAll("figure svg")]
    .filter((svg) => svg.getBoundingClientRect().width < 250).length;
  told.tables = document.querySelectorAll("section#tables table").length;
  document.querySelector(".panel").click();
  told.zoomed = document.querySelector("dialog[open] svg").getBoundingClientRect().width;
  document.querySelector("dialog").close();
  told.closed = document.querySelectorAll("dialog[open]").length;
  parent.postMessage(JSON.stringify(told), "*");
});
</script></body>
"""
# A window is never as narrow as a phone, a frame may be.
_FRAME = """<!doctype html>
<body><iframe src="{file}" width="{width}" height="800"></iframe><script>
addEventListener("message", (said) => document.body.replaceChildren("told" + said.data));
</script></body>
"""


def open_in(browser: str, page: Path, width: int, *flags: str) -> subprocess.CompletedProcess:
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    words += [f"--user-data-dir={page.parent / 'browser'}", f"--window-size={width},900", *flags]
    return subprocess.run([*words, page.as_uri()], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_its_window(browser: str, page: Path, width: int) -> None:
    probed, frame = (page.with_name(f"{name}{width}.html") for name in ("probed", "frame"))
    probed.write_text(page.read_text().replace("</body>", _PROBE))
    frame.write_text(_FRAME.format(file=probed.name, width=width))
    made = open_in(browser, frame, 1400, "--dump-dom", "--virtual-time-budget=9000")
    told = re.search(r"told(\{.*\})", made.stdout)
    assert told is not None, made.stderr[-500:]
    found = json.loads(told[1])
    figures = load().figures
    panels = sum(max(1, len(figure.panels)) for figure in figures.values())
    # Below a figure its other readings, where they have runs.
    again = re.findall(r"<summary>Figure (\d+), read otherwise", page.read_text())
    panels += sum(len(figures[int(number)].panels) for number in again)
    assert found["page"] <= 0 and width - 20 <= found["width"] <= width
    assert (found["svg"], found["tables"], found["small"]) == (panels, 2, 0)
    assert found["zoomed"] > 400 and found["closed"] == 0


def test_it_prints(browser: str, page: Path, tmp_path: Path) -> None:
    printed = tmp_path / "report.pdf"
    open_in(browser, page, 1280, f"--print-to-pdf={printed}", "--no-pdf-header-footer")
    assert printed.read_bytes().startswith(b"%PDF")
