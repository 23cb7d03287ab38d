"""Inference whose unit is the session: is a split between two deployments chance, and what may sessions do unseen.

What a start of an engine decides all replays of its session share, so that replays of one session are no independent
witnesses, whatever their number.

The test of a change permutes sessions between baseline and change. Were both alike, every way to deal the sessions
out would be as likely as the one seen. A side is *whole* where all its sessions have one state: the bits that all
replays of a session share. The chance is that of the ways in which the side that is whole is so and the other is not,
with those in which it is the other way round where they are no more (two-sided, as in Fisher's exact test). It is
counted, not drawn: the number of ways to take m sessions of one state is the sum of C(n, m) over the states.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from scripts.records.cell import ReplayHashes, ReplayName
from scripts.verdict.parts import by_session

LEVEL = 0.05
"""The chance of a split, if a change did nothing, up to which it is said to have caused it."""

State = Hashable
"""What all replays of a session share; None where they differ."""


def states(hashes: Sequence[ReplayHashes], replays: int) -> list[State]:
    """The state of each session by its first so many replays: the one transcript and logprobs file, or None."""
    first = [each[:replays] for each in by_session(hashes)]
    return [each[0] if len(set(each)) == 1 else None for each in first]


def least_replays(*cells: Sequence[ReplayHashes]) -> int:
    """The replays that every session of these cells has: as many of each are compared, so that none is looked at
    longer."""
    return min(len(each) for hashes in cells for each in by_session(hashes))


def is_whole(side: Sequence[State]) -> bool:
    """Whether all sessions have one state."""
    return side[0] is not None and len(set(side)) == 1


def chance_of_split(one: Sequence[State], other: Sequence[State]) -> float | None:
    """The chance that one side is whole and the other is not, were sessions dealt out by chance.

    None where it was not seen: both are whole, or neither is.
    """
    if is_whole(one) == is_whole(other):
        return None
    whole, rest = (one, other) if is_whole(one) else (other, one)
    both = _ways_both(whole, rest)
    seen = _ways([*one, *other], len(whole)) - both
    reverse = _ways([*one, *other], len(rest)) - both
    return (seen + (reverse if reverse <= seen else 0)) / math.comb(len(one) + len(other), len(one))


def chance_of_other_state(one: Sequence[State], other: Sequence[State]) -> float:
    """The chance that two sides that are each whole have unlike states, were sessions dealt out by chance."""
    return _ways_both(one, other) / math.comb(len(one) + len(other), len(one))


def best_chance(unequal: int, equal: int) -> float:
    """The least chance that so many sessions on the side that differs and on the one that is whole can give."""
    return chance_of_split([None] * unequal, [""] * equal) or 0.0


def can_prove(baseline: int, change: int) -> bool:
    """Whether so many sessions of each can show that a change removes a difference, and that it brings one."""
    return max(best_chance(baseline, change), best_chance(change, baseline)) <= LEVEL


def sessions_to_prove() -> int:
    """The least number of sessions of baseline and change alike that can show an effect."""
    return next(count for count in range(1, 100) if can_prove(count, count))


def _ways(sessions: Sequence[State], size: int) -> int:
    """In how many ways so many sessions of one state can be taken."""
    counts = Counter(each for each in sessions if each is not None)
    return sum(math.comb(count, size) for count in counts.values())


def _ways_both(one: Sequence[State], other: Sequence[State]) -> int:
    """In how many ways, dealt out to sides of these sizes, both are whole."""
    counts = Counter([*one, *other])
    if None in counts or len(counts) > 2:
        return 0
    if len(counts) == 1:
        return math.comb(len(one) + len(other), len(one))
    sizes = [*counts.values()]
    return (sizes == [len(one), len(other)]) + (sizes == [len(other), len(one)])


def share_at_most(seen: int, sessions: int, level: float = 0.95) -> float:
    """The largest share of sessions that may do what `seen` of so many did (Clopper and Pearson, one-sided).

    Of five of which none did it is 45 %. What they are said to do is fixed beforehand: for "unlike the state that all
    had" it holds where that is the usual one. Of several states as likely as each other the chance that all sessions
    have the same is that of all but one, and the bound is that of one session fewer.
    """
    return 1.0 if seen == sessions else _beta_quantile(seen + 1, sessions - seen, level)


@dataclass(frozen=True)
class ReplaysDiffer:
    """Replays whose text is not the reference's: how many of all others, their share, its 95 % interval."""

    differ: int
    others: int
    share: float
    low: float
    high: float


def replays_differ(
    hashes: Sequence[ReplayHashes], reference: ReplayName | None, level: float = 0.95
) -> ReplaysDiffer | None:
    """How many replays differ from the reference in text; None without a reference or another replay.

    The interval is Clopper and Pearson's with sessions as trials, however many replays each has: a share of sessions
    in part counts as a part of a success. It is wide, since replays of one session may all be one look.
    """
    place = None if reference is None else (reference.session, reference.replay)
    text = next((each.transcript for each in hashes if (each.session, each.replay) == place), None)
    others = [each for each in hashes if (each.session, each.replay) != place]
    if text is None or not others:
        return None
    differ = sum(each.transcript != text for each in others)
    sessions = len({each.session for each in others})
    share, side = differ / len(others), (1 - level) / 2
    seen = share * sessions
    low = _beta_quantile(seen, sessions - seen + 1, side) if differ else 0.0
    high = _beta_quantile(seen + 1, sessions - seen, 1 - side) if differ < len(others) else 1.0
    return ReplaysDiffer(differ, len(others), share, low, high)


def _beta_quantile(a: float, b: float, level: float) -> float:
    # Not at the top: Snakemake's start imports this module, and scipy would take a fifth of it.
    from scipy.special import betaincinv

    return float(betaincinv(a, b, level))


def sessions_differ(hashes: Sequence[ReplayHashes]) -> int:
    """How many sessions have a replay whose text is not that of most."""
    usual = Counter(each.transcript for each in hashes).most_common(1)[0][0]
    return len({each.session for each in hashes if each.transcript != usual})
