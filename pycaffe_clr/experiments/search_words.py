"""The table of a search at 80 columns, and what it shows, in words."""

from __future__ import annotations

import math

from pycaffe_clr.experiments.clue_kinds import number
from pycaffe_clr.experiments.curves import LR
from pycaffe_clr.experiments.search_plan import BATCH, WEIGHT_DECAY
from pycaffe_clr.experiments.search_result import Search, Tried

# A loss so much larger is worth a word.
WORSE = 1.05
_NAMES = {"weight_decay": "weight decay", "momentum": "momentum", "batch": "batch", "lr": "rate"}


def table(found: Search) -> str:
    """A line per value, the best first, with a clue in words. At most 80 columns wide."""
    x = "at rate" if found.tried and found.tried[0].clues.x_name == LR else "at iter"
    heads = [_NAMES[found.vary], "test loss", "lowest", x, "accuracy"]
    if found.vary == BATCH:
        heads[3] = "iters"
    lines = [f"{heads[0]:<13}{heads[1]:>9}{heads[2]:>9}{heads[3]:>9}{heads[4]:>9}  clue"]
    lines.append("-" * 80)
    best = found.best
    for tried in found.tried:
        bottom = tried.clues.bottom
        lowest, at = (number(bottom.loss), number(bottom.x)) if bottom else ("-", "-")
        if found.vary == BATCH:
            at = f"{tried.run.max_iter:,}"
        name = tried.label + (" *" if tried is best else "")
        accuracy = "-" if math.isnan(tried.accuracy) else f"{100 * tried.accuracy:.2f} %"
        score = "-" if math.isnan(tried.score) else f"{tried.score:.4g}"
        line = f"{name:<13}{score:>9}{lowest:>9}{at:>9}{accuracy:>9}  {tried.clues.label}"
        lines.append(line)
    return "\n".join(lines)


def conclusion(found: Search) -> list[str]:
    """Which value is best, how sure that is, and the clue of each, a sentence each."""
    best = found.best
    if best is None:
        return ["No value trained: all diverged. Try a lower --max-lr."]
    by = "accuracy" if found.by_accuracy else "test loss"
    texts = [f"Best {_NAMES[found.vary]} by {by} (marked *): {best.label}."]
    tied = found.tied
    if tied:
        labels = ", ".join(t.label for t in tied)
        texts.append(
            f"Not worse by more than the noise between tests: {labels}. One significant figure is "
            "enough, so each of these is good; another seed may rank them otherwise."
        )
    if found.vary == WEIGHT_DECAY:
        texts += _balance(found, best)
    if found.vary == BATCH:
        texts.append(
            "Each ran for the same time, with a rate that grows with the root of the batch. Small "
            "batches may end with the lower test loss and large ones with the higher accuracy "
            "(section 4.2)."
        )
    return texts + [f"{t.label}: {_clue(t)}" for t in found.tried]


def _balance(found: Search, best: Tried) -> list[str]:
    """Values beside the best whose clue says on which side of the balance they are."""
    texts = []
    tied = found.tied
    for tried in found.tried:
        if tried is best or tried in tied or isinstance(tried.value, tuple):
            continue
        if isinstance(best.value, tuple):
            continue
        if tried.value < best.value and tried.clues.overfitting:
            texts.append(f"{tried.label} is too small: it overfits.")
        elif tried.value > best.value and tried.score > WORSE * best.score:
            texts.append(f"{tried.label} is too large: it regularizes too much.")
    return texts


def _clue(tried: Tried) -> str:
    """The sentences that judge a run: not where it begins, unless there is nothing else."""
    clues = tried.clues
    texts = clues.sentences()
    if clues.convergence is not None and len(texts) > 1:
        texts = [t for t in texts if t != clues.convergence.sentence(clues.x_name)]
    return " ".join(texts)
