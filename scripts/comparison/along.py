"""How far two distributions are from each other where they have one context.

Of each position the k most likely ids are known with their logprobs. Lumping ids together can only lessen a
Kullback-Leibler divergence (the data-processing inequality), so what is computed from lumps is a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scripts.records.comparison import Along, OverPositions
from scripts.records.forced import PassTurn
from scripts.records.transcript import Candidate

LEAST = 1e-12  # what is left for the rest, at least: probabilities that were rounded may add to more than one


def divergence(a: Sequence[Candidate], b: Sequence[Candidate]) -> float:
    """A lower bound of the divergence of B from A, KL(A‖B) in nat, from the candidates that each lists, best first.

    Ids are lumped into those that both list, those that A alone does, and the rest. An id that B does not list has at
    most the probability of the last one that it does: of what B may give the second lot, the least harmful is taken.
    """
    other = dict(b)
    total, alone, left_a, left_b = 0.0, 0, 1.0, 1.0
    mine = 0.0
    for token, logprob in a:
        p = math.exp(logprob)
        left_a -= p
        if token in other:
            total += p * (logprob - other[token])
            left_b -= math.exp(other[token])
        else:
            mine += p
            alone += 1
    rest, left = max(left_a, LEAST), max(left_b, 2 * LEAST)
    if not alone:
        return max(total + rest * math.log(rest / left), 0.0)
    most = min(alone * math.exp(b[-1][1]), left - LEAST)
    given = max(min(left * mine / (mine + rest), most), LEAST)
    return max(total + mine * math.log(mine / given) + rest * math.log(rest / (left - given)), 0.0)


Position = tuple[int, float, Sequence[Candidate]]
"""What one side recorded of a position: the id that was chosen, its logprob, the candidates, best first."""


@dataclass
class Tally:
    """Positions with one context, one after the other."""

    positions: int = 0
    top1_equal: int = 0
    equal_bits: int = 0
    unequal_from: int | None = None
    changes: list[float] = field(default_factory=list)
    divergences: list[float] = field(default_factory=list)

    def add(self, *, top1_equal: bool, equal: bool, change: float | None, bound: float) -> None:
        """Another position. `change`: |Δ logprob| of A's id, None where B did not record it."""
        self.top1_equal += top1_equal
        self.equal_bits += equal
        if not equal and self.unequal_from is None:
            self.unequal_from = self.positions
        if change is not None:
            self.changes.append(change)
        self.divergences.append(bound)
        self.positions += 1

    def found(self) -> Along:
        """What they come to."""
        return Along(
            positions=self.positions,
            top1_equal=self.top1_equal,
            equal_bits=self.equal_bits,
            unequal_from=self.unequal_from,
            logprob_change=spread(self.changes),
            divergence=spread(self.divergences),
        )


def along(positions: Iterable[tuple[Position, Position]]) -> Along:
    """Both sides' recordings of positions with one context, in their order."""
    tally = Tally()
    for (chosen, logprob, top), (chosen_b, logprob_b, top_b) in positions:
        equal = chosen == chosen_b and logprob == logprob_b and top == top_b
        there = logprob_b if chosen == chosen_b else dict(top_b).get(chosen)
        tally.add(
            top1_equal=top[0][0] == top_b[0][0],
            equal=equal,
            change=None if there is None else abs(logprob - there),
            bound=0.0 if equal else divergence(top, top_b),
        )
    return tally.found()


def along_passes(passes: Iterable[tuple[PassTurn, PassTurn]]) -> Along:
    """Two forced passes over one trajectory, turn by turn. Of a position they keep the best id, the forced id's logprob
    and a digest of all that was returned; so the divergence is bounded by that of "the forced id, or another"."""
    tally = Tally()
    for one, other in passes:
        for index, digest in enumerate(one.digests):
            chosen, chosen_b = one.chosen[index], other.chosen[index]
            equal = digest == other.digests[index]
            tally.add(
                top1_equal=one.argmax[index] == other.argmax[index],
                equal=equal,
                change=abs(chosen - chosen_b),
                bound=0.0 if equal else divergence([(0, chosen)], [(0, chosen_b)]),
            )
    return tally.found()


def as_deployed(forced: Mapping[str, Along]) -> tuple[str, Along] | None:
    """The mode that is nearest to what a deployment does, decode before prefill, and what was found in it."""
    return next(((mode, forced[mode]) for mode in ("decode", "prefill") if mode in forced), None)


def spread(values: Sequence[float]) -> OverPositions | None:
    """Their mean and quantiles; None without any."""
    if not values:
        return None
    found = np.array(values)
    p50, p99 = np.quantile(found, (0.5, 0.99))
    return OverPositions(mean=float(found.mean()), p50=float(p50), p99=float(p99), max=float(found.max()))
