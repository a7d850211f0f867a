"""The report's experiments as data: settings, rows of Tables 1 and 2, curves of the figures.

The data lie in report/*.toml, where each value names its source; here is what they become. A
setting is one training configuration, and solvers/<name>.prototxt is written from it. Reads text
only: no compiled code, no solver files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.protocol import RunPlan

KINDS = ("text", "log", "job", "file", "assumed")
# Training images and classes; the report counts 1.24 million of ImageNet (section 5.5).
IMAGES = {
    "mnist": 60_000,
    "mnist_sample": 10_000,
    "cifar10": 50_000,
    "cifar100": 50_000,
    "imagenet": 1_240_000,
}
CLASSES = {"mnist": 10, "mnist_sample": 10, "cifar10": 10, "cifar100": 100, "imagenet": 1000}
GAMMA = 0.316  # half a decade: the author's step


@dataclass(frozen=True)
class Source:
    """Where a value comes from.

    kind: "text" of the report, "log" of the author's, "job" of the author's public job list, "file"
    of the author's or Caffe's, or "assumed". where: the place; of what is assumed, why.
    """

    kind: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}"


@dataclass(frozen=True)
class Setting:
    """One training configuration; its solver is solvers/<name>.prototxt.

    policy: "1cycle", "step" (the rate falls by gamma at stepvalues), "fixed", "range" (a linear
    rise from lr[0] to lr[1] over the whole run), "triangular" (up and down again), "inv" or
    "exponential" (gamma every stepsize). lr, momentum: one value, or the two ends of a cycle, the
    first in front. stepsize: half a cycle of rate and momentum, in iterations. batch: of one
    replica, in the run with the smallest. runs: what the protocol makes of it. sources: by field.
    start: the setting and the iteration whose snapshot it goes on from. author: public logs of the
    author that it is to be laid over, where no curve of a figure says so.
    """

    name: str
    title: str
    architecture: str
    dataset: str
    net: str
    policy: str
    type: str
    lr: tuple[float, ...]
    momentum: tuple[float, ...]
    weight_decay: float
    batch: int
    replicas: int
    epochs: float
    max_iter: int
    test_iter: int
    test_interval: int
    runs: tuple[RunPlan, ...]
    sources: Mapping[str, Source] = field(repr=False)
    notes: tuple[str, ...] = field(repr=False, default=())
    stepsize: int = 0
    stepsize_epochs: float = 0
    momentum_stepsize: int = 0
    test_batch: int = 100
    stepvalues: tuple[int, ...] = ()
    gamma: float = 0
    power: float = 0
    snapshot: int = 0
    display: int = 0
    average_loss: int = 1
    random_seed: int = -1
    protocol: str = "four"
    start: tuple[str, int] | None = None
    author: tuple[str, ...] = ()

    @property
    def cycling(self) -> bool:
        """Whether its momentum cycles."""
        return len(self.momentum) == 2

    @property
    def total_batch(self) -> int:
        """Images of one iteration, of the run with the smallest batch."""
        return self.batch * self.replicas

    @property
    def counted(self) -> tuple[RunPlan, ...]:
        """The runs whose mean counts."""
        return tuple(plan for plan in self.runs if plan.counted)

    @property
    def mean_total_batch(self) -> float:
        """What the report calls the total batch size: the mean over the runs."""
        return self.replicas * sum(plan.batch for plan in self.counted) / len(self.counted)

    @property
    def iterations(self) -> int:
        """Iterations that one run makes itself, without those in front of its snapshot."""
        return self.max_iter - (self.start[1] if self.start else 0)

    @property
    def images(self) -> int:
        """Training images of one run, on average: its cost."""
        return round(self.iterations * self.mean_total_batch)

    @property
    def work(self) -> float:
        """Training images that take as long as one run with its tests: a pass forward alone is a
        third of a training step."""
        tests = self.iterations // self.test_interval
        return self.images + tests * self.test_iter * self.test_batch / 3

    @property
    def classes(self) -> int:
        """Classes of the data set; chance is one in them."""
        return CLASSES[self.dataset]

    @property
    def words(self) -> str:
        """Learning rate and momentum in words: "1cycle 0.08-0.8, stepsize 41 epochs, ..."."""
        low, high = self.lr[0], self.lr[-1]
        half = f"{self.stepsize:,} iterations"
        if self.stepsize_epochs:
            half = f"{self.stepsize_epochs:g} epochs"
        rate = {
            "1cycle": f"1cycle {low:g}-{high:g}, stepsize {half}",
            "triangular": f"cyclical learning rate {low:g}-{high:g}, stepsize {half}",
            "range": f"range test, learning rate {low:g} to {high:g}",
            "step": f"step policy from {low:g}",
            "fixed": f"constant learning rate {low:g}",
            "inv": f"inv policy from {low:g}",
            "exponential": f"learning rate {low:g}, times {self.gamma:g} every {half}",
        }[self.policy]
        text = f"{rate}, momentum {' to '.join(f'{m:g}' for m in self.momentum)}"
        if self.cycling and self.policy in ("step", "fixed"):
            text += f" (stepsize {half})"
        return text

    @property
    def assumed(self) -> dict[str, str]:
        """Fields that neither text nor files give, each with why it is as it is."""
        return {name: s.where for name, s in self.sources.items() if s.kind == "assumed"}


@dataclass(frozen=True)
class Row:
    """One row of a table, as printed; mean and sd in percent.

    alternates: other settings that may be what the author ran.
    """

    table: int
    number: int
    setting: str
    columns: Mapping[str, str]
    report_mean: float
    report_sd: float
    alternates: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def digits(self) -> int:
        """Digits after the point that the report prints: 2 for MNIST, else 1."""
        return 2 if self.report_sd < 0.1 else 1

    @property
    def printed(self) -> str:
        """Mean and deviation as the report has them: "92.0 +- 0.2"."""
        return f"{self.report_mean:.{self.digits}f} +- {self.report_sd:.{self.digits}f}"


@dataclass(frozen=True)
class Claim:
    """One statement of the report that data can support or not.

    says: its meaning in our words. check: the test, by its name in claims.CHECKS; of: the curves
    or settings that it is about, the one that is said to win in front; values: its numbers.
    """

    says: str
    check: str
    of: tuple[str, ...]
    y: str
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """One curve of a panel. author: names of packaged curves of the author, see author.py."""

    id: str
    label: str
    setting: str
    y: str
    colour: str | None = None
    author: tuple[str, ...] = ()
    alternates: tuple[str, ...] = ()
    source: Source = Source("text", "")


@dataclass(frozen=True)
class Panel:
    """One panel. x: "iteration", "lr" or "momentum"; y: "test_loss", "train_loss", "accuracy" or
    "generalization" (test loss minus training loss), where a curve has no other."""

    letter: str
    title: str
    x: str
    y: str
    xlabel: str
    ylabel: str
    xlim: tuple[float, float] | None
    ylim: tuple[float, float] | None
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Figure:
    """One figure: its caption in our words, panels by letter, and the report's claims about it."""

    number: int
    title: str
    caption: str
    panels: Mapping[str, Panel]
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def curves(self) -> tuple[Curve, ...]:
        """All curves, in the order of the panels."""
        return tuple(curve for panel in self.panels.values() for curve in panel.curves)

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings that the figure draws, each once."""
        return tuple(dict.fromkeys(curve.setting for curve in self.curves))


@dataclass(frozen=True)
class Disagreement:
    """Where the report, its tables and the author's files disagree, and what is done about it.

    settings: name patterns of those that it concerns. cycling: only those of them whose momentum
    cycles. comment: whether their solver files say so.
    """

    id: str
    about: str
    used: str
    other: str
    why: str
    settings: tuple[str, ...] = ()
    cycling: bool = False
    comment: bool = False

    def concerns(self, setting: Setting) -> bool:
        """Whether it is about this setting."""
        named = any(fnmatchcase(setting.name, pattern) for pattern in self.settings)
        return named and (setting.cycling or not self.cycling)


@dataclass(frozen=True)
class Manifest:
    """All of it: settings by name, rows by table, figures by number."""

    settings: Mapping[str, Setting]
    tables: Mapping[int, tuple[Row, ...]]
    figures: Mapping[int, Figure]
    table_claims: Mapping[int, tuple[Claim, ...]] = field(default_factory=dict)
    disagreements: tuple[Disagreement, ...] = ()

    def setting(self, name: str) -> Setting:
        """A setting by its name. Raises ConfigError that lists near names."""
        if name in self.settings:
            return self.settings[name]
        hint = self.near(name) or "`pycaffe_clr experiment list` has them."
        raise ConfigError(f"{name!r} is no setting of the report's experiments. {hint}")

    def near(self, name: str) -> str:
        """ "Did you mean ...?" with settings of names like this one; empty where there is none."""
        import difflib

        near = difflib.get_close_matches(name, self.settings, n=3, cutoff=0.5)
        near += [known for known in self.settings if known.startswith(name)][:5]
        return f"Did you mean {', '.join(dict.fromkeys(near))}?" if near else ""

    def uses(self, name: str) -> list[str]:
        """Where a setting appears: "row 11 of table 1", "figure 7a", in the report's order."""
        found = []
        for table, rows in self.tables.items():
            for row in rows:
                if name == row.setting:
                    found.append(f"row {row.number} of table {table}")
                elif name in row.alternates:
                    found.append(f"row {row.number} of table {table}, another reading")
        for number, figure in self.figures.items():
            for letter, panel in figure.panels.items():
                if any(curve.setting == name for curve in panel.curves):
                    found.append(f"figure {number}{letter}")
                elif any(name in curve.alternates for curve in panel.curves):
                    found.append(f"figure {number}{letter}, another reading")
        return found

    def disagreements_of(self, name: str) -> list[Disagreement]:
        """What the report's sources disagree in about a setting; the general ones at the end."""
        setting = self.settings[name]
        found = [d for d in self.disagreements if d.concerns(setting)]
        return sorted(found, key=lambda d: "*" in d.settings)

    def logs_of(self, name: str) -> list[str]:
        """The author's public logs of a setting: its own, and those of curves that show it."""
        curves = [curve for figure in self.figures.values() for curve in figure.curves]
        found = [log for curve in curves if curve.setting == name for log in curve.author]
        own = self.settings[name].author if name in self.settings else ()
        return list(dict.fromkeys([*own, *found]))

    def row_of(self, name: str) -> Row | None:
        """The row whose setting has this name, or else one that has it as another reading."""
        rows = [row for table in self.tables.values() for row in table]
        own = next((row for row in rows if row.setting == name), None)
        return own or next((row for row in rows if name in row.alternates), None)


SETTING_FIELDS = frozenset(f.name for f in fields(Setting))


@lru_cache(maxsize=1)
def load() -> Manifest:
    """The report's experiments. Raises ConfigError where the data contradict themselves."""
    from pycaffe_clr.experiments import manifest_files

    return manifest_files.read()


def step_values(max_iter: int) -> tuple[int, ...]:
    """Step values of the author's multistep runs: after 1/2, 3/4, 7/8 ... of the iterations.

    As in the log of the densenet run, where the last value lies before the one in front of it.
    Source: Cifar/solver.prototxt; genDensenet40_DenOrigLR0.10.1M0.9WD1e-4Epoch400BS128c_1.
    """
    half = max_iter // 2
    three_quarters = half + max_iter // 4
    seven_eighths = three_quarters + max_iter // 8
    late = (seven_eighths + max_iter // 16, seven_eighths + max_iter // 32)
    return (half, three_quarters, seven_eighths, *late)


def iterations_of(epochs: float, dataset: str, total_batch: int) -> int:
    """Iterations of so many epochs, rounded down as the author's logs have them (95 epochs of
    50,000 images in batches of 512 are 9,277)."""
    return int(epochs * IMAGES[dataset] / total_batch)


def short(value: Any) -> str:
    """A number as people write it: 1e-5 for 1e-05."""
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)
