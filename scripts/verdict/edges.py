"""Where along an axis passes stop being equal: bisection to the unit, confirmed by passes of its own, and its chance.

That no pass differed at a value is weak evidence, and a difference that comes at random may be missed there. So the
two values beside a threshold, and the next one on either side, are looked at again, with more passes; where one of them
then reads otherwise, the search goes on from what is now known. These further passes alone, taken after the threshold
was chosen, say how likely such a split would be if the passes at both values were alike.

Without scipy, which engines' environments do not have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from scripts.records.sweep import Purpose, SweepPoint

LEVEL = 0.05
"""The chance of a split, were passes at both values alike, up to which a threshold is said to be sharp."""


@dataclass(frozen=True)
class Change:
    """Two neighbouring values that were looked at, all passes equal at one and not at the other.

    `confirmed`, `differing`: the further passes at each value, and how many of those at the unequal one differed.
    `chance`: that all that differ are at the unequal one, were passes alike; None without further passes at both.
    """

    equal: int
    unequal: int
    confirmed: int = 0
    differing: int = 0
    chance: float | None = None

    @property
    def span(self) -> tuple[int, int]:
        """Both values, the smaller first."""
        return min(self.equal, self.unequal), max(self.equal, self.unequal)

    @property
    def is_sharp(self) -> bool:
        """Whether the values are neighbours and the split is no chance."""
        low, high = self.span
        return high - low == 1 and self.chance is not None and self.chance <= LEVEL


def chance_of_split(passes: int, differing: int, others: int) -> float:
    """The chance that all `differing` passes are among these `passes` and none among `others`, dealt out at random."""
    return math.comb(passes, differing) / math.comb(passes + others, differing)


def share_at_most(passes: int, level: float = 0.95) -> float:
    """The largest share of passes that may have other bits where none of so many had (one-sided)."""
    return 1.0 - math.pow(1 - level, 1 / passes)


def is_unequal(points: Iterable[SweepPoint]) -> dict[int, bool]:
    """By value, ascending: whether any pass was ever seen to differ there."""
    seen: dict[int, bool] = {}
    for each in points:
        seen[each.value] = seen.get(each.value, False) or each.differing > 0
    return dict(sorted(seen.items()))


def changes(points: Sequence[SweepPoint]) -> list[Change]:
    """Where one prompt's passes change between equal and unequal, along the axis."""
    further: dict[int, list[SweepPoint]] = {}
    for each in points:
        if each.purpose == "confirmed":
            further.setdefault(each.value, []).append(each)
    found = []
    for (low, below), (high, above) in pairwise(is_unequal(points).items()):
        if below == above:
            continue
        equal, unequal = (low, high) if above else (high, low)
        if equal in further and unequal in further:
            passes, others = (sum(each.passes for each in further[value]) for value in (unequal, equal))
            differing = sum(each.differing for each in further[unequal])
            found.append(
                Change(equal, unequal, passes, differing, chance_of_split(passes, differing, others))
            )
        else:
            found.append(Change(equal, unequal))
    return found


def next_look(points: Sequence[SweepPoint]) -> tuple[int, Purpose] | None:
    """Where to look next for one prompt, and why; None where every threshold is known to the unit and confirmed.

    The lowest threshold comes first. Values beyond those that were looked at are left alone.
    """
    seen = is_unequal(points)
    least, most = min(seen), max(seen)
    confirmed = {each.value for each in points if each.purpose == "confirmed"}
    for each in changes(points):
        low, high = each.span
        if high - low > 1:
            return (low + high) // 2, "bisected"
        for value in (low, high, low - 1, high + 1):
            if least <= value <= most and value not in confirmed:
                return value, "confirmed"
    return None
