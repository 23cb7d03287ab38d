"""When to stop: a sequential probability ratio test whose unit is the replay (Wald, Sequential Analysis, 1947).

The question is "is the rate at most r0 or at least r1?", r0 < r1 in flips per 1,000 tokens. What counts of a
replay is whether it flipped at all, a binomial trial with probability 1 - exp(-rate × exposure), and not how
often: what follows a replay's first flip is no independent evidence, since it may flip in clumps or, being
alone on its branch, not be seen to flip again. A Poisson ratio over the counts would take a clump for so many
witnesses, and its error rates do not hold. The trial also needs no constant rate along the replay: the
probability depends on the mean over its exposure alone.

So the rate that is tested is that of first flips: the one at which as many replays flip at all. Where some
replays flip far more than others it is below the mean of all flips, and with the mean at r1 the test accepts
r0 more often than beta (16 % instead of 5 % with rates spread like a gamma of shape one half); alpha holds.

The bounds are log(1/alpha) and log(beta), a little outside of Wald's own: by Ville's inequality the chance
ever to cross the wrong one is then at most alpha (below r0) and beta (above r1), whenever one looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Decision = Literal["accept-r0", "accept-r1", "continue"]


@dataclass(frozen=True)
class Question:
    """Is the rate at most `r0` or at least `r1`? Flips per 1,000 tokens.

    `alpha`: the chance to accept r1 where the rate is r0 or less; `beta`: to accept r0 where it is r1 or more.
    """

    r0: float
    r1: float
    alpha: float = 0.05
    beta: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.r0 < self.r1 < math.inf:
            raise ValueError(f"r0 {self.r0!r} and r1 {self.r1!r} are not 0 < r0 < r1")
        if not (0 < self.alpha < 0.5 and 0 < self.beta < 0.5):
            raise ValueError(f"alpha {self.alpha!r} and beta {self.beta!r} are not between 0 and 0.5")


def evidence(flipped: bool, exposure: float, question: Question) -> float:
    """The log likelihood ratio, r1 over r0, of one replay with that many tokens compared."""
    if not 0 <= exposure < math.inf:
        raise ValueError(f"an exposure of {exposure!r} tokens")
    mean0, mean1 = question.r0 * exposure / 1000, question.r1 * exposure / 1000
    if not flipped:
        return mean0 - mean1
    return math.log(math.expm1(-mean1) / math.expm1(-mean0)) if exposure else 0.0


def replays_needed(exposure: float, question: Question) -> int:
    """How many replays of that exposure accept r0 where none flips: the least that can."""
    return math.ceil(math.log(question.beta) / evidence(False, exposure, question))


def decide(
    events_per_replay: Sequence[float], exposure_per_replay: Sequence[float], question: Question
) -> tuple[Decision, int]:
    """The decision, and after how many replays it was reached (all of them where it is to continue).

    `events_per_replay`: 0 for a replay of the largest group, else how often it flipped; only whether it did
    counts. `exposure_per_replay`: tokens compared that it had or, having flipped, would have had. Replays
    in the order in which they were made; what comes after the decision does not change it.
    """
    if len(events_per_replay) != len(exposure_per_replay):
        raise ValueError("events and exposure are not of the same replays")
    upper, lower = -math.log(question.alpha), math.log(question.beta)
    total = 0.0
    for count, (events, exposure) in enumerate(
        zip(events_per_replay, exposure_per_replay, strict=True), start=1
    ):
        total += evidence(events > 0, exposure, question)
        if total >= upper:
            return "accept-r1", count
        if total <= lower:
            return "accept-r0", count
    return "continue", len(events_per_replay)
