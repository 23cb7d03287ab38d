"""Cold against warm: what a prefix cache that is kept from replay to replay does to the answers, context by context.

A context is all that a request holds: a scenario's ids up to a generation. The first replay of a session gives its
first answer (cold), later replays repeat it. A repeat is warm where the engine, by its own count, took more of the
prompt from its cache than for the first answer; without that count nothing is said. Answers are compared inside
their session, since what a start decided is one for both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import repeat, zip_longest
from pathlib import Path

from scripts.common.errors import DataError
from scripts.common.files import canonical_json
from scripts.records.cell import Cell
from scripts.records.engine import PrefixCacheCount
from scripts.records.transcript import Turn, TurnLogprobs, TurnTiming
from scripts.verdict.replays import AGAIN, Replay, find_replays, find_sessions

Context = tuple[str, int, str]
"""Scenario, turn, and the sha256 of all ids before the generation."""


@dataclass(frozen=True)
class Answer:
    """One generation. `ids`: as generated; `bits`: for each a digest of it with its logprobs, None without any.

    `prompt_tokens`: ids of the prompt; `cached_tokens`: those that the engine took from its cache, None where it does
    not say.
    """

    ids: tuple[int, ...]
    bits: tuple[str, ...] | None
    prompt_tokens: int
    cached_tokens: int | None


@dataclass(frozen=True)
class Asked:
    """One context in one session of the cell that keeps its cache: the first answer, and the repeats."""

    cold: Answer
    repeats: list[Answer]

    @property
    def warm(self) -> list[Answer]:
        """The repeats for which more was cached."""
        before = self.cold.cached_tokens
        return [
            each
            for each in self.repeats
            if before is not None and each.cached_tokens is not None and each.cached_tokens > before
        ]


class Reading(Enum):
    """How answers compare: all are one, each side is one and they are two, or a side is not even one."""

    EQUAL = "equal"
    OTHER = "other"
    UNSTABLE = "unstable"


@dataclass(frozen=True)
class ColdWarm:
    """One context over all sessions that have warm answers to it. `uncached`: the answers of the cell without a cache.

    Every reading is of bits, or of text (`ids`) where `bits` is False.
    """

    scenario: str
    turn: int
    asked: list[Asked]
    uncached: list[Answer]

    @property
    def cold(self) -> list[Answer]:
        """The first answer of each session."""
        return [each.cold for each in self.asked]

    @property
    def warm(self) -> list[Answer]:
        """The warm answers of all sessions."""
        return [answer for each in self.asked for answer in each.warm]

    def warm_against_cold(self, *, bits: bool) -> Reading:
        """The warm answers against the first one, session by session: as it is in all, else unstable."""
        found = {_compare([each.cold], each.warm, bits=bits) for each in self.asked}
        return found.pop() if len(found) == 1 else Reading.UNSTABLE

    def cold_against_uncached(self, *, bits: bool) -> Reading | None:
        """The first answers against those of the cell without a cache; None where it has none to this context."""
        return _compare(self.uncached, self.cold, bits=bits) if self.uncached else None

    def first_difference(self, *, bits: bool) -> int | None:
        """The index of the first generated token in which a warm answer differs from its first; None: in none."""
        found = (
            first_unequal(_content(each.cold, bits=bits), _content(answer, bits=bits))
            for each in self.asked
            for answer in each.warm
        )
        return min((index for index in found if index is not None), default=None)


@dataclass(frozen=True)
class WarmCell:
    """A cell that keeps its cache, context by context.

    `contexts`: those with a warm answer, in the order of the first session. `not_warmer`: contexts that were asked
    again, of which no repeat found more in the cache. `counted`: whether the engine says what it took from its cache.
    `server`: what the server itself counted over all sessions, of one that does; `turns`: the same by the turns.
    """

    sessions: int
    contexts: list[ColdWarm]
    not_warmer: int
    counted: bool
    server: PrefixCacheCount | None
    turns: PrefixCacheCount

    @property
    def bits(self) -> bool:
        """Whether logprobs were recorded, so that bits are compared and not text alone."""
        return all(each.bits is not None for found in self.contexts for each in found.cold)


def alike(answers: Sequence[Answer], *, bits: bool) -> bool:
    """Whether the answers are all one."""
    return len({_content(each, bits=bits) for each in answers}) == 1


def first_unequal(one: Sequence[object], other: Sequence[object]) -> int | None:
    """The index at which two sequences first differ, an end included; None where they are equal."""
    pairs = enumerate(zip_longest(one, other))
    return next((index for index, (a, b) in pairs if a != b), None)


def compare_cold_and_warm(folder: Path, cell: Cell, uncached: tuple[Path, Cell] | None) -> WarmCell:
    """Read the replays of the cell in `folder`, and of the one without a cache; DataError where a file is not whole."""
    sessions = find_sessions(folder)[: cell.sessions]
    count = [said.prefix_cache for each in sessions if (said := each.record.resolved) and said.prefix_cache]
    known: dict[Context, dict[int, Asked]] = {}
    queries = hits = 0
    counted = True
    for replay in find_replays(sessions):
        for context, answer in read_answers(replay):
            queries, hits = queries + answer.prompt_tokens, hits + (answer.cached_tokens or 0)
            counted &= answer.cached_tokens is not None
            of = known.setdefault(context, {})
            if replay.number == 0:
                of[replay.session] = Asked(answer, [])
            elif replay.session in of:
                of[replay.session].repeats.append(answer)
    plain: dict[Context, list[Answer]] = {}
    if uncached is not None:
        for replay in find_replays(find_sessions(uncached[0])[: uncached[1].sessions]):
            for context, answer in read_answers(replay):
                plain.setdefault(context, []).append(answer)
    again = [
        ColdWarm(context[0], context[1], list(of.values()), plain.get(context, []))
        for context, of in known.items()
        if any(each.repeats for each in of.values())
    ]
    contexts = [
        ColdWarm(each.scenario, each.turn, warm, each.uncached)
        for each in again
        if (warm := [asked for asked in each.asked if asked.warm])
    ]
    return WarmCell(
        sessions=len(sessions),
        contexts=contexts,
        not_warmer=len(again) - len(contexts),
        counted=counted,
        server=PrefixCacheCount(
            queries=sum(each.queries for each in count), hits=sum(each.hits for each in count)
        )
        if count and len(count) == len(sessions)
        else None,
        turns=PrefixCacheCount(queries=queries, hits=hits),
    )


def read_answers(replay: Replay) -> Iterator[tuple[Context, Answer]]:
    """A replay's answers with their contexts, in their order; DataError where its files are not of one replay."""
    timing = Path(str(replay.transcript).replace(".transcript.", ".timing."))
    computed: Iterable[TurnLogprobs | None] = (
        repeat(None) if replay.logprobs is None else TurnLogprobs.read_lines(replay.logprobs)
    )
    scenario, ids = None, hashlib.sha256()
    prompt = 0
    turns = zip(Turn.read_lines(replay.transcript), computed, TurnTiming.read_lines(timing), strict=False)
    for turn, logprobs, timed in turns:
        if (turn.scenario, turn.turn, len(turn.output_ids)) != (timed.scenario, timed.turn, timed.tokens):
            raise DataError(
                "the timing is of another replay than its transcript", where=str(timing), remedy=AGAIN
            )
        if turn.scenario != scenario:
            scenario, ids, prompt = turn.scenario, hashlib.sha256(), 0
        ids.update(canonical_json(turn.appended_ids).encode())
        prompt += len(turn.appended_ids)
        context = (turn.scenario, turn.turn, ids.hexdigest())
        yield context, Answer(tuple(turn.output_ids), _bits(turn, logprobs), prompt, timed.cached_tokens)
        ids.update(canonical_json(turn.output_ids).encode())
        prompt += len(turn.output_ids)


def _bits(turn: Turn, logprobs: TurnLogprobs | None) -> tuple[str, ...] | None:
    if logprobs is None:
        return None
    positions = zip(turn.output_ids, logprobs.chosen, logprobs.top, strict=True)
    return tuple(hashlib.sha256(repr(each).encode()).hexdigest()[:16] for each in positions)


def _content(answer: Answer, *, bits: bool) -> tuple[object, ...]:
    found = answer.bits if bits else answer.ids
    assert found is not None
    return found


def _compare(one: Sequence[Answer], other: Sequence[Answer], *, bits: bool) -> Reading:
    if not alike(one, bits=bits) or not alike(other, bits=bits):
        return Reading.UNSTABLE
    return Reading.EQUAL if alike([one[0], other[0]], bits=bits) else Reading.OTHER
