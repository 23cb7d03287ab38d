"""Where a cell's replays part: inside a session, from session to session, or at each session's first replay.

A session is one start of an engine, and what the start decided all its replays share. Two replays are equal where
transcript and logprobs are; only the sha256 of their files are looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from scripts.records.cell import Agreement, FirstReplay, Pairs, Parts, ReplayHashes

LEAST_REPLAYS = 3
"""Replays a session must have for its first one to be told from the others."""

Hashes = tuple[str, str | None]
"""The sha256 of a replay's transcript and of its logprobs."""


def by_session(hashes: Sequence[ReplayHashes]) -> list[list[Hashes]]:
    """The replays of each session, sessions and replays in their order."""
    found: dict[int, list[tuple[int, Hashes]]] = {}
    for each in hashes:
        found.setdefault(each.session, []).append((each.replay, (each.transcript, each.logprobs)))
    return [[pair for _, pair in sorted(found[session], key=_number)] for session in sorted(found)]


def agreement(hashes: Sequence[ReplayHashes]) -> Agreement:
    """How replays agree with the first of their session, and first replays with session 00's.

    `hashes`: of every replay of the cell, at least one.
    """
    sessions = by_session(hashes)
    firsts = [each[0] for each in sessions]
    long = [each for each in sessions if len(each) >= LEAST_REPLAYS]
    return Agreement(
        within=_pairs([(each[0], other) for each in sessions for other in each[1:]], hashes),
        between=_pairs([(firsts[0], other) for other in firsts[1:]], hashes),
        first_replay=FirstReplay(sessions=len(long), odd=sum(map(_first_is_odd, long))),
    )


def parts(hashes: Sequence[ReplayHashes]) -> Parts:
    """Where they part; of several places the first that holds of first-replay, within, between, none.

    `first-replay`: at least two sessions have three replays or more, the first of each of these stands alone in its
    session, and all other replays of the cell are equal.
    """
    sessions = by_session(hashes)
    long = [each for each in sessions if len(each) >= LEAST_REPLAYS]
    others = {pair for each in sessions for pair in (each[1:] if len(each) >= LEAST_REPLAYS else each)}
    if len(long) >= 2 and len(others) == 1 and all(map(_first_is_odd, long)):
        return "first-replay"
    if any(len(set(each)) > 1 for each in sessions):
        return "within"
    return "between" if len({each[0] for each in sessions}) > 1 else "none"


def sessions_within(hashes: Sequence[ReplayHashes]) -> int:
    """How many sessions have replays that differ."""
    return sum(len(set(each)) > 1 for each in by_session(hashes))


def sessions_apart(hashes: Sequence[ReplayHashes]) -> int:
    """How many sessions are not of the largest group whose first replays are equal."""
    firsts = Counter(each[0] for each in by_session(hashes))
    return firsts.total() - max(firsts.values())


def _first_is_odd(session: Sequence[Hashes]) -> bool:
    """Whether the first replay stands alone, all others being equal."""
    return len(set(session[1:])) == 1 and session[0] != session[1]


def _pairs(pairs: Sequence[tuple[Hashes, Hashes]], hashes: Sequence[ReplayHashes]) -> Pairs:
    recorded = all(each.logprobs is not None for each in hashes)
    return Pairs(
        pairs=len(pairs),
        equal_text=sum(one[0] == other[0] for one, other in pairs),
        equal_bits=sum(one[1] == other[1] for one, other in pairs) if recorded else None,
    )


def _number(replay: tuple[int, Hashes]) -> int:
    return replay[0]
