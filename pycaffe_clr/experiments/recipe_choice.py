"""What a recipe makes of its findings: the values of the solver, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments import search_plan as plan
from pycaffe_clr.experiments.clue_kinds import number
from pycaffe_clr.experiments.range_test import RangeTest
from pycaffe_clr.experiments.rates import suggest
from pycaffe_clr.experiments.recipe_solver import Chosen
from pycaffe_clr.experiments.search_result import Search, Tried
from pycaffe_clr.experiments.search_setup import STEP_SHARE
from pycaffe_clr.experiments.trials import Base, plain

# Lower end of every cyclical momentum: 0.8 or 0.85, of which little depends (section 5).
LOWEST_MOMENTUM = 0.85


@dataclass(frozen=True)
class Findings:
    """What the steps of a recipe found.

    held: the largest rate, at the net's own batch, of which a whole 1cycle run held. batched: of
    the search `sizes`, the batch to train with. maximum: the rate at that batch, of the runs of the
    weight decay search. cycle: momentum, from and to.
    """

    base: Base
    ranged: RangeTest
    held: float
    batched: Tried
    sizes: Search
    maximum: float
    momenta: Search
    cycle: tuple[float, float]
    decays: Search
    max_iter: int | None

    @property
    def batch(self) -> int:
        """Of each replica."""
        return batch_of(self.batched)

    @property
    def rate(self) -> float:
        """The maximum, or the rate at which the best run of the weight decay search turns."""
        seen = suggest(decay_of(self.decays).clues)
        if seen.turned and seen.maximum < self.maximum:
            return two_digits(seen.maximum)
        return two_digits(self.maximum)

    @property
    def length(self) -> int:
        """Iterations of the solver: as many images as the given one, unless it was said."""
        own = self.base.pass_batch
        return self.max_iter or max(1, round(self.base.max_iter * own / self.batch))


def batch_of(tried: Tried) -> int:
    """The batch of a batch search's value."""
    return int(tried.value[0] if isinstance(tried.value, tuple) else tried.value)


def best_of(found: Search) -> Tried:
    """The best value of a search. Raises ConfigError where every one diverged."""
    if found.best is None:
        raise ConfigError(
            f"{found.path}: every {found.vary} diverges at these rates; start again in another "
            "folder with a lower --max-lr"
        )
    return found.best


def decay_of(found: Search) -> Tried:
    """The largest weight decay that is not worse than the best beyond the noise.

    Overfitting comes late: the shorter the runs, the better look the small values.
    """
    return max([best_of(found), *found.tied], key=lambda t: plan.place(t.value))


def two_digits(value: float) -> float:
    """A rate as it is written down."""
    return float(f"{value:.2g}")


def choose(found: Findings) -> dict[str, Chosen]:
    """The values of the solver, by field, in the order of the checklist."""
    stepsize = max(1, int(STEP_SHARE * found.length))
    chosen = [
        Chosen("net", "", _batch_reason(found)),
        Chosen(
            "lr_policy",
            "1cycle",
            "One cycle, shorter than the run; for the rest a thousandth of base_lr.",
        ),
        Chosen("base_lr", f"{plain(found.rate / 10):g}", "A tenth of the maximum (rule 2)."),
        Chosen("max_lr", f"{found.rate:g}", _rate_reason(found)),
        Chosen(
            "stepsize",
            str(stepsize),
            f"{STEP_SHARE:.0%} of max_iter up and as much down, as in the report's tables.",
        ),
        Chosen("max_iter", str(found.length), _length_reason(found)),
        Chosen("momentum", f"{found.cycle[0]:g}", _ranking("short cycles", found.momenta)),
    ]
    if found.cycle[1] < found.cycle[0]:
        chosen.append(
            Chosen(
                "cyclical_momentum",
                f"{found.cycle[1]:g},{stepsize}",
                "Falls while the rate rises, which allows larger rates; its lower end hardly "
                "matters (section 5).",
            )
        )
    chosen.append(Chosen("weight_decay", decay_of(found.decays).label, _decay_reason(found.decays)))
    return {c.field: c for c in chosen}


def settings_of(base: Base) -> dict[str, str]:
    """What the given solver has, by the fields of a recipe; "net": its batch."""
    param = base.param
    cyclical = list(param.cyclical_momentum)
    found = {
        "net": str(base.pass_batch),
        "lr_policy": param.lr_policy,
        "base_lr": f"{base.lr[0]:g}",
        "max_lr": f"{base.lr[1]:g}",
        "stepsize": str(param.stepsize) if param.HasField("stepsize") else "",
        "max_iter": str(param.max_iter),
        "momentum": f"{base.momentum[0]:g}",
        "weight_decay": f"{plain(param.weight_decay):g}",
    }
    if cyclical:
        found["cyclical_momentum"] = f"{plain(cyclical[0]):g},{int(cyclical[1])}"
    return found


def _batch_reason(found: Findings) -> str:
    own = found.base.pass_batch
    how = "as the net has it" if found.batch == own else f"instead of {own}"
    tried = [f"{t.label} {100 * t.accuracy:.1f} %" for t in found.sizes.tried]
    reason = (
        f"Batch {found.batch} per replica, {how}. Accuracy in the same time: {', '.join(tried)}."
    )
    first = batch_of(found.sizes.tried[0])
    if first < found.batch:
        reason += (
            " Small batches lead in short runs, in which they make more updates; one below the "
            "net's is taken only where --batches names it."
        )
    return reason


def _rate_reason(found: Findings) -> str:
    x = found.ranged.curve.x
    first, last = (x[0], x[-1]) if len(x) else (math.nan, math.nan)
    own = found.base.pass_batch
    reason = (
        f"Range test {number(first)}-{number(last)}, batch {own}: {found.ranged.rates.sentence}"
    )
    if found.held < two_digits(found.ranged.rates.maximum):
        reason += f" A whole cycle held up to {number(found.held)} only."
    if found.batch != own:
        reason += f" Times the root of {found.batch}/{own} for the batch."
    if found.maximum < plan.scaled_rate(found.held, found.batch, own):
        reason += f" Lowered to {number(found.maximum)}: above, every momentum or decay diverged."
    if found.rate < two_digits(found.maximum):
        reason += " Lowered to where the best run of the weight decay search turns."
    return reason


def _length_reason(found: Findings) -> str:
    images = found.length * found.batch * found.base.batch // found.base.pass_batch
    given = "" if found.max_iter else ", as many as the given solver's"
    return f"{images:,} images{given}."


def _decay_reason(found: Search) -> str:
    reason = _ranking("rising rate", found)
    best, smallest = best_of(found), min(plan.place(t.value) for t in found.tried)
    if found.tied:
        reason += " The largest of these."
    if best.clues.underfitting is not None or plan.place(best.value) == smallest:
        reason += (
            " The runs end before they overfit, and short ones favour small values: a larger "
            "--budget may find a larger one."
        )
    return reason


def _ranking(how: str, found: Search) -> str:
    """`Test loss, rising rate: 0.001 0.912, 0.01 1.02, 0.1 diverges at 0.003`."""
    parts = []
    for tried in found.tried:
        broken = tried.key(False)[0]
        parts.append(f"{tried.label} {tried.clues.label if broken else number(tried.score)}")
    text = f"Test loss, {how}: {', '.join(parts)}."
    tied = found.tied
    return text + (f" Not worse beyond noise: {', '.join(t.label for t in tied)}." if tied else "")
