"""Single clues in a test loss, with their numbers and a sentence each. clues.py finds them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

# A flat bottom of so large a fraction of the tests is a plateau.
PLATEAU = 0.25
# The training loss rises with the test loss where it does so by this fraction of its rise.
ALONG = 0.25


def number(value: float) -> str:
    """Three digits, and whole numbers from 100 on, as sentences show rates, losses, iterations."""
    return f"{value:,.0f}" if abs(value) >= 100 and math.isfinite(value) else f"{value:.3g}"


class Clue(Protocol):
    """What a curve shows."""

    def sentence(self, x_name: str) -> str:
        """It in words. x_name: what the curve is over."""


@dataclass(frozen=True)
class Convergence:
    """Where training begins to converge: by then the loss has lost a twentieth of `start`."""

    x: float
    loss: float
    start: float

    def sentence(self, x_name: str) -> str:
        return (
            f"Training begins to converge at {x_name} {number(self.x)}: the test loss is "
            f"{number(self.loss)}, down from {number(self.start)}."
        )


@dataclass(frozen=True)
class Bottom:
    """The lowest part of the test loss: minimum, and how far it stays flat around it.

    x, loss: of the minimum. first, last: x between which it stays within 5 % of the minimum.
    share: of all tests. rises: whether it rises after `last` and does not come back.
    """

    x: float
    loss: float
    first: float
    last: float
    share: float
    rises: bool

    @property
    def plateau(self) -> bool:
        """Whether it is long enough to be called horizontal."""
        return self.share >= PLATEAU

    def sentence(self, x_name: str) -> str:
        text = f"The test loss is lowest, {number(self.loss)}, at {x_name} {number(self.x)}"
        if self.plateau:
            text += f" and flat from {number(self.first)} to {number(self.last)}"
        if self.rises:
            text += (
                f"{', and it' if self.plateau else ' and'} rises for good after {number(self.last)}"
            )
        return text + "."


@dataclass(frozen=True)
class Peak:
    """Where the smoothed test accuracy, a fraction, is highest."""

    x: float
    accuracy: float

    def sentence(self, x_name: str) -> str:
        return (
            f"The accuracy is highest, {100 * self.accuracy:.2f} %, at {x_name} {number(self.x)}."
        )


@dataclass(frozen=True)
class Divergence:
    """Where training breaks down. sudden: within two tests of a loss that was still good."""

    x: float
    limit: float
    sudden: bool
    nan: bool

    def sentence(self, x_name: str) -> str:
        how = "suddenly " if self.sudden else ""
        if self.nan:
            return f"It diverges {how}at {x_name} {number(self.x)}: the loss is no number any more."
        return (
            f"It diverges {how}at {x_name} {number(self.x)}: from there on the test loss stays "
            f"above {number(self.limit)}: what training had won is lost, or half of it."
        )


@dataclass(frozen=True)
class Rise:
    """A rise of the test loss after a minimum: overfitting, or an unstable training.

    first, last: x of the minimum and of the top. loss, top: test loss there. train, train_top:
    training loss there. temporary: the test loss falls below `loss` again, later.
    """

    first: float
    last: float
    loss: float
    top: float
    train: float
    train_top: float
    temporary: bool

    @property
    def overfitting(self) -> bool:
        """The training loss falls or stays (rises by less than ALONG of the test loss's rise).

        A rise of both is no overfitting but too large a rate (section 3.3, on Figure 4a). Where
        the training loss is not known the rise counts as overfitting.
        """
        return not self.train_top - self.train > ALONG * (self.top - self.loss)

    def sentence(self, x_name: str) -> str:
        where = f"{x_name} {number(self.first)}-{number(self.last)}"
        test = f"the test loss rises from {number(self.loss)} to {number(self.top)}"
        end = ", and falls below that again later" if self.temporary else ""
        if math.isnan(self.train) or math.isnan(self.train_top):
            return f"Signs of overfitting at {where}: {test}{end}."
        train = f"the training loss goes from {number(self.train)} to {number(self.train_top)}"
        if self.overfitting:
            return f"Overfitting at {where}: {test} while {train}{end}."
        return f"Unstable at {where}, not overfitting: {test} and {train}{end}."


@dataclass(frozen=True)
class Underfitting:
    """The test loss falls to the end, without a plateau. fall: over the last third, a fraction."""

    first: float
    fall: float

    def sentence(self, x_name: str) -> str:
        return (
            f"Underfitting: the test loss falls to the end, by {100 * self.fall:.0f} % from "
            f"{x_name} {number(self.first)} on, and has no plateau."
        )
