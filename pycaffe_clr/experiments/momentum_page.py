"""What the page of results says of cyclical momentum: whether the author's runs applied it.

His patch changes the update of Caffe's SGD solver, and his solvers are of type Nesterov, which has
an update of its own. So his rows with cyclical momentum are held here against his own rows with a
constant one, and our runs of both kinds against his logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pycaffe_clr.experiments.compare import Apart, apart
from pycaffe_clr.experiments.compare_text import quarters_of
from pycaffe_clr.experiments.groups import AUTHOR, groups_of
from pycaffe_clr.experiments.manifest import Manifest, Row, Setting
from pycaffe_clr.experiments.statistics import Comparison, Summary, welch
from pycaffe_clr.experiments.store import Store
from pycaffe_clr.experiments.tables import Line, lines_of, span

_HEAD = """\
**Cyclical momentum: applied here, most likely not in the author's runs**

Appendix A.2 patches `ComputeUpdateValue` of Caffe's SGD solver. But every public solver file and
log header of the author's that cycles momentum is of type Nesterov, and Caffe's Nesterov solver
has a `ComputeUpdateValue` of its own, which reads the constant `momentum`. The cycled value in
his logs shows nothing: that line comes once an iteration, from line 212 of the file whose update
is patched "near line 314". His source is not public, so all this is an inference; what follows
bears it out.

Our engine applies cyclical momentum to SGD and Nesterov alike. **So our results with cyclical
momentum are not comparable with the report's cyclical rows; ours with the constant momentum that
the cycle starts from are**: the readings "momentum 0.95" and "momentum 0.9" in the tables above.
"""
_ROWS = """\
The report's own rows with cyclical momentum, less those that differ only in a constant momentum,
in standard errors of the difference (by Welch, from means and deviations of four runs as
printed). Each equals the row with the momentum that its cycle starts from (bold), whatever the
cycle's other end.
"""
_LOGS = """\
Our runs less the author's logs of them, at the tests that both have: root mean square difference
(rms), the noise of a difference from test to test, and the mean difference in each quarter of the
tests, in standard errors by that noise. The log of the 3-layer net on Cifar-100 prints a momentum
that goes from 0.95 to 0.8; one run of each kind was made, with one seed. Resnet-56 is a control,
its momentum constant in both: it lies below the log in the first thousand iterations, where the
luck of the start lasts, and with it afterwards.
"""
_OURS = """\
Our runs of the report's cyclical rows: with the momentum applied, and constant where its cycle
starts; each with its number of runs and, in brackets, what it is above the report, in points and,
where it has a deviation, in standard errors. MNIST's rows in batches of 128 mostly diverge with a
constant 0.95 (17c and 18c of table 2), while those of 512, which the report names, come near it.
"""
_TAIL = """\
It is also in line with this that section 5 finds the performance "almost independent of the
minimum momentum value", that the loss of Figure 7b goes on falling up to a momentum of 1, and
that Figure 7c's curve with 0.8 to 1 is stable: momentum that really rises to 1 makes our 3-layer
net fall apart (row 2 of table 1). Against it: section 4.3 finds momentum that falls from 0.97 or
0.95 stable over a larger range of rates than 0.9 (Figure 7c), which a constant 0.97 or 0.95
should not be, and Figure 14a shows the same for MNIST. Those of Figure 7 are among the oldest
jobs, of which no solver file is left, and of MNIST there is neither file nor log: with Caffe's
SGD, which its own LeNet uses, the patch would apply, though our runs of its rows fit the constant
better. That falling momentum does better than a constant 0.9 in Figures 7d and 8a decides
nothing: a constant 0.95 does, too, in Table 1. The runs that would decide, those of Figures 7, 8
and 14a with the momentum constant at its start, are settings (`figures 7 --readings`) that are
not run yet.

Remark 5, that momentum should fall while the learning rate rises, then rests on runs in which it
did not fall; what the report shows is that a constant 0.95 is better than 0.9 and 0.85. Our runs
with all else equal say two things of momentum that really falls: where the constant 0.95 trains,
it ends lower (the 3-layer net on Cifar-100; MNIST in batches of 512), though ahead in mid-run; and
it trains where the constant one diverges (MNIST in batches of 128, rates to 0.1), so that it can
allow larger rates. It need not: at rates to 0.2 in batches of 512 (row 20 of table 2) both our
runs with it diverged, at rates of 0.133 and 0.178 and momenta of 0.856 and 0.818, where the one
with the constant 0.95 ended near the report's number. The report's rates and weight decays were
chosen with a constant momentum; with others falling momentum may be the better.
"""


def section(manifest: Manifest, store: Store) -> Iterator[str]:
    """The lines of the section; none where no run of a cycling setting lies in the store."""
    names = [name for name in store.settings() if name in manifest.settings]
    if not any(manifest.settings[name].cycling for name in names):
        return
    yield from (_HEAD, _ROWS)
    yield from _rows(manifest)
    ours = list(_ours(manifest, store))
    if ours:
        yield from ("", _OURS, *ours)
    found = [beside for name in names if (beside := beside_log(name, manifest, store))]
    if found:
        yield from ("", _LOGS)
        yield from _logs(found)
    yield from ("", _TAIL)


# --- the report's rows ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A row whose momentum cycles, one that differs only in a constant momentum, and their
    difference. starts: whether that is the momentum at which the cycle starts."""

    cycling: Row
    constant: Row
    momentum: float
    starts: bool
    comparison: Comparison


def pairs(manifest: Manifest) -> list[Pair]:
    """All pairs of rows of one table, in its order; constant momenta rising."""
    found = []
    for rows in manifest.tables.values():
        for row in rows:
            setting = manifest.setting(row.setting)
            if not setting.cycling:
                continue
            others = [
                (other.momentum[0], constant)
                for constant in rows
                if _constant_beside(other := manifest.setting(constant.setting), setting)
            ]
            for momentum, constant in sorted(others, key=lambda other: other[0]):
                starts = momentum == setting.momentum[0]
                comparison = welch(_printed(row, setting), _printed(constant, setting))
                found.append(Pair(row, constant, momentum, starts, comparison))
    return found


def _constant_beside(other: Setting, cycling: Setting) -> bool:
    """Whether a setting has a constant momentum and else what a cycling setting has."""
    alike = ("policy", "lr", "weight_decay", "runs", "replicas", "epochs", "net", "dataset")
    return not other.cycling and all(
        getattr(other, name) == getattr(cycling, name) for name in alike
    )


def _printed(row: Row, setting: Setting) -> Summary:
    return Summary(row.report_mean, row.report_sd, len(setting.counted))


def _rows(manifest: Manifest) -> Iterator[str]:
    found = pairs(manifest)
    momenta = sorted({pair.momentum for pair in found})
    titles = [f"less constant {momentum:g}" for momentum in momenta]
    yield f"| row of table 1 | architecture | momentum | report | {' | '.join(titles)} |"
    yield f"|---:|---|---|---:|{'---:|' * len(momenta)}"
    for row in {pair.cycling.setting: pair.cycling for pair in found}.values():
        cells = {pair.momentum: _cell(pair) for pair in found if pair.cycling is row}
        setting = manifest.setting(row.setting)
        start = [
            str(row.number),
            setting.architecture,
            span(setting.momentum),
            row.printed.replace("+-", "±"),
        ]
        yield f"| {' | '.join([*start, *(cells.get(m, '') for m in momenta)])} |"


def _cell(pair: Pair) -> str:
    value = f"{pair.comparison.t:+.1f}"
    return f"**{value}** (row {pair.constant.number})" if pair.starts else value


# --- our runs of these rows -----------------------------------------------------------------------


def _ours(manifest: Manifest, store: Store) -> Iterator[str]:
    lines = [line for number in manifest.tables for line in lines_of(number, manifest, store)]
    found = []
    for line in lines:
        if line.reading or not line.setting.cycling:
            continue
        starts = [
            other
            for other in lines
            if other.row is line.row
            and other.setting.momentum == line.setting.momentum[:1]
            and _constant_beside(other.setting, line.setting)
        ]
        cells = [_outcome(line), *map(_outcome, starts[:1])]
        if any(cells):
            row = f"{line.row.number} of table {line.row.table}"
            start = [row, line.architecture, line.dataset, line.momentum, line.report]
            found.append(f"| {' | '.join([*start, *cells, *[''] * (2 - len(cells))])} |")
    if found:
        yield "| row | architecture | data set | momentum | report | applied | constant at start |"
        yield "|---|---|---|---|---:|---|---|"
        yield from found


def _outcome(line: Line) -> str:
    if line.outcome.missing:
        return ""
    if line.outcome.accuracy.all_diverged:
        return f"{line.ours}, n {line.outcome.n}"
    above = f"{line.comparison.difference:+.2f}"
    if line.difference:
        above += f", {line.difference} SE"
    return f"{line.ours}, n {line.outcome.n} ({above})"


# --- our runs beside the author's logs ------------------------------------------------------------


@dataclass(frozen=True)
class Beside:
    """The runs of a setting less the author's log of it."""

    setting: Setting
    runs: int
    log: str
    loss: Apart
    accuracy: Apart


def beside_log(name: str, manifest: Manifest, store: Store) -> Beside | None:
    """A setting's runs held against the author's log of it; None where there are not both.

    Raises DataError where a run cannot be read.
    """
    if not manifest.logs_of(name) or not any(store.counted(name)):
        return None
    ours, log = groups_of([name, AUTHOR], store)[:2]
    loss, accuracy = apart(ours, log, "test_loss"), apart(ours, log, "accuracy")
    if loss is None or accuracy is None or loss.points < 12:
        return None
    return Beside(manifest.setting(name), len(ours.runs), log.runs[0].name, loss, accuracy)


def _logs(found: list[Beside]) -> Iterator[str]:
    yield "| setting | n | momentum | tests, up to | | rms | noise | by quarter | at the end |"
    yield "|---|---:|---|---|---|---:|---:|---|---|"
    for beside in found:
        setting = beside.setting
        name = f"[{setting.name}]({setting.name})"
        start = [name, str(beside.runs), " to ".join(f"{m:g}" for m in setting.momentum)]
        start.append(f"{beside.loss.points}, {beside.loss.end:,.0f}")
        for what, part, digits in (("loss", beside.loss, 3), ("accuracy, %", beside.accuracy, 2)):
            ours, his = (f"{value:.{digits}f}" for value in part.ends)
            cells = [what, f"{part.rms:.{digits}f}", f"{part.noise:.{digits}f}", quarters_of(part)]
            cells.append(f"{ours}, his {his}")
            yield f"| {' | '.join([*start, *cells])} |"
            start = [""] * len(start)
