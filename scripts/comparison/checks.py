"""Whether a later result is the baseline's: sessions dealt out by chance, cell by cell.

Two replays are as far apart as the share of their ids that comes after their first difference, over all scenarios;
where only bits differ, half an id. Two sessions are as far apart as their replays in the mean, over as many replays of
each as all have. Were nothing changed, every way to deal the sessions out to the baseline and to now would be as
likely: the chance is that of the ways in which sessions of unlike sides are at least as much farther apart than those
of one side. It is counted where the ways can be, else drawn. Over the cells the share of false alarms is held at
`LEVEL` (Benjamini and Hochberg, 1995).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from scripts.common.words import count
from scripts.comparison.baseline import unpack
from scripts.comparison.cells import check_workloads
from scripts.records.check import Baseline, BaselineCell, CellCheck, Checked, Distinct, Outcome
from scripts.report.figures import significant
from scripts.verdict.contexts import common_prefix
from scripts.verdict.sessions import LEVEL, share_at_most

Matrix = NDArray[np.float64]
MOST_COUNTED = 20_000  # ways to deal sessions out; beyond, as many are drawn
ALIKE = 1e-9


def distance(one: Distinct, other: Distinct) -> float:
    """How far two replays are apart, from 0 (the same bytes) to 1 (unlike from the first id on)."""
    if one.transcript == other.transcript and one.logprobs == other.logprobs:
        return 0.0
    apart = length = 0
    for scenario in one.streams.keys() | other.streams.keys():
        a, b = (
            unpack(each.streams[scenario]) if scenario in each.streams else _NOTHING for each in (one, other)
        )
        apart += max(len(a), len(b)) - common_prefix(a, b)
        length += max(len(a), len(b))
    return max(apart, 0.5) / max(length, 1)


_NOTHING = np.array([], dtype=np.int32)


def session_distances(baseline: BaselineCell, now: BaselineCell) -> Matrix:
    """How far each two sessions are apart, the baseline's first: [sessions, sessions], symmetric, its diagonal 0."""
    sides = [(cell, session) for cell in (baseline, now) for session in cell.sessions]
    replays = min(len(session) for _, session in sides)
    known: dict[tuple[str, str | None, str, str | None], float] = {}
    found = np.zeros((len(sides), len(sides)))
    for i, j in combinations(range(len(sides)), 2):
        (cell, mine), (other, theirs) = sides[i], sides[j]
        total = 0.0
        for a in mine[:replays]:
            for b in theirs[:replays]:
                one, two = cell.distinct[a], other.distinct[b]
                key = (one.transcript, one.logprobs, two.transcript, two.logprobs)
                if key not in known:
                    known[key] = distance(one, two)
                total += known[key]
        found[i, j] = found[j, i] = total / replays**2
    return found


def chance(distances: Matrix, baseline: int) -> float:
    """The chance that sessions dealt out are at least as far apart as the first `baseline` from the others.

    Of sides of these sizes the pairs of unlike sides are always as many, and all distances add up to the same: how much
    farther those are apart than the others follows from the sum of theirs.
    """
    ways = math.comb(len(distances), baseline)
    sides = _deals(len(distances), baseline)
    sums = ((sides @ distances) * (1 - sides)).sum(axis=1)
    reached = int((sums[1:] >= sums[0] - ALIKE).sum())
    return reached / ways if ways <= MOST_COUNTED else (reached + 1) / len(sides)


@cache
def _deals(sessions: int, baseline: int) -> Matrix:
    """Which sessions are the baseline's, 1 or 0: first as it is, then all ways to deal them out, or so many drawn."""
    draw = random.Random(20_000)
    drawn = (draw.sample(range(sessions), baseline) for _ in range(MOST_COUNTED))
    counted = math.comb(sessions, baseline) <= MOST_COUNTED
    sides = [range(baseline), *(combinations(range(sessions), baseline) if counted else drawn)]
    found = np.zeros((len(sides), sessions))
    for row, each in zip(found, sides, strict=True):
        row[list(each)] = 1.0
    return found


def least_chance(baseline: int, now: int) -> float:
    """The least chance that so many sessions can have: of equally many, both ways round are one."""
    return (2 if baseline == now else 1) / math.comb(baseline + now, baseline)


def sessions_needed(level: float) -> int:
    """How many sessions of each side can have a chance up to `level`."""
    return next(number for number in range(2, 1000) if least_chance(number, number) <= level)


def rejected(chances: Sequence[float], level: float) -> list[bool]:
    """Which of these are called changed, the share of false ones among them held at `level` (Benjamini, Hochberg)."""
    order = sorted(range(len(chances)), key=lambda each: chances[each])
    last = max(
        (rank for rank, each in enumerate(order) if chances[each] <= level * (rank + 1) / len(chances)),
        default=-1,
    )
    found = [False] * len(chances)
    for each in order[: last + 1]:
        found[each] = True
    return found


@dataclass(frozen=True)
class _Compared:
    baseline: BaselineCell
    now: BaselineCell
    distances: Matrix
    chance: float


def check(baseline: Baseline, now: Baseline, level: float = LEVEL) -> Checked:
    """What became of the baseline's cells; two single ones are compared whatever their names.

    IncomparableError where one was asked another workload now.
    """
    single = len(baseline.cells) == len(now.cells) == 1
    here = {(baseline.cells[0] if single else cell).name: cell for cell in now.cells}
    pairs = [(cell, here[cell.name]) for cell in baseline.cells if cell.name in here]
    compared = [_compared(*pair) for pair in pairs if not any(cell.refused for cell in pair)]
    changed = rejected([each.chance for each in compared], level)
    found = {pair[0].name: _refused(*pair) for pair in pairs if any(cell.refused for cell in pair)} | {
        each.baseline.name: _said(each, changed=is_changed, level=level / len(compared))
        for each, is_changed in zip(compared, changed, strict=True)
    }
    cells = [found.get(cell.name) or _not_run(cell.name) for cell in baseline.cells]
    outcomes: set[Outcome] = {cell.outcome for cell in cells}
    return Checked(
        outcome=next((each for each in _GRAVEST if each in outcomes), "could not tell"),
        level=level,
        cells=cells,
        new=[name for name in here if name not in {cell.name for cell in baseline.cells}],
    )


_GRAVEST: tuple[Outcome, ...] = ("changed", "could not tell", "same")


def _compared(baseline: BaselineCell, now: BaselineCell) -> _Compared:
    check_workloads([baseline.workload], [now.workload], where=baseline.name)
    distances = session_distances(baseline, now)
    return _Compared(baseline, now, distances, chance(distances, len(baseline.sessions)))


def _not_run(name: str) -> CellCheck:
    return CellCheck(
        name=name, outcome="could not tell", reason="it was not run now", chance=None, engine=None
    )


def _refused(baseline: BaselineCell, now: BaselineCell) -> CellCheck:
    """What is said of a cell whose engine refused to start on one side, or on both: no chance has a part in that."""
    if baseline.refused and now.refused:
        reason = f"its engine refuses to start, as it did: {now.refused}"
    elif now.refused:
        reason = f"its engine refuses to start now: {now.refused}"
    else:
        reason = f"its engine starts now, and refused to: {baseline.refused}"
    return CellCheck(
        name=baseline.name,
        outcome="same" if baseline.refused and now.refused else "changed",
        reason=reason,
        chance=None,
        engine=_engines(baseline, now),
    )


def _engines(baseline: BaselineCell, now: BaselineCell) -> tuple[str, str] | None:
    return None if baseline.engine == now.engine else (baseline.engine, now.engine)


def _said(found: _Compared, *, changed: bool, level: float) -> CellCheck:
    before, after = len(found.baseline.sessions), len(found.now.sessions)
    sessions = f"{count(before, 'session')} of the baseline and {after} now"
    outcome: Outcome = "same"
    if not found.distances.any():
        most = share_at_most(0, after)
        reason = f"all replays of {sessions} are the same bytes; at most {most:.0%} of sessions now are unlike (95 %)"
    elif changed:
        outcome = "changed"
        reason = f"{sessions} part so in {significant(100 * found.chance)} % of cases if nothing changed"
    elif least_chance(before, after) > level:
        outcome = "could not tell"
        needed = sessions_needed(level)
        reason = (
            f"{sessions} are not all alike, and so few cannot tell a change from chance: {needed} of each can"
        )
    else:
        reason = (
            f"{sessions} differ among themselves, and not more from one side to the other than by chance"
            f" ({significant(100 * found.chance)} % of cases)"
        )
    return CellCheck(
        name=found.baseline.name,
        outcome=outcome,
        reason=reason,
        chance=found.chance,
        engine=_engines(found.baseline, found.now),
    )
