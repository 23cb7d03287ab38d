"""What is read of a deployment beside the verdict, from what a server says of itself and from how its turns ended.

A difference between two answers is the harness's where the server made other prompts of one conversation, or where
the two came from unlike back ends behind one address; then no tie of the model's is to be looked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.common.words import count as some
from scripts.records.cell import Bits, Difference, Reading, ReplayHashes
from scripts.records.transcript import ServerSaid, Turn, TurnAnswered
from scripts.verdict.replays import Replay, Session

Place = tuple[str, int]
"""A turn: its scenario and its number in it."""

FILTER = "content_filter"
USUAL_ENDS = ("stop", "length", "tool_calls", "function_call", FILTER)
LEAST_REPLAYS = 3
"""So many tell a first answer from the others."""


@dataclass(frozen=True)
class TurnSeen:
    """A turn of a transcript. `context`: a digest of all ids before its answer. `refused`: whether it was."""

    context: bytes
    finish_reason: str | None
    refused: bool


@dataclass(frozen=True)
class Evidence:
    """What was said of each replay, in reading order: its turns, and what the server said beside them."""

    turns: Sequence[Mapping[Place, TurnSeen]]
    said: Sequence[Mapping[Place, ServerSaid]]

    @property
    def answers(self) -> list[ServerSaid]:
        """What was said beside all answers."""
        return [each for replay in self.said for each in replay.values()]

    def back_end(self, said: ServerSaid) -> tuple[str | None, ...]:
        """Who answered, by what tells answers apart."""
        return tuple(value(said) for value in _telling(self.answers).values())

    def of_harness(self, reference: int, other: int, place: Place) -> bool:
        """Whether a difference of two replays at a turn follows from unlike back ends or prompts of the server."""
        mine, theirs = (self.said[index].get(place) for index in (reference, other))
        if mine is None or theirs is None:
            return False
        start = (place[0], 0)
        opened = [self.said[index].get(start, ServerSaid()).server_prompt for index in (reference, other)]
        return (
            self.back_end(mine) != self.back_end(theirs)
            or _unlike(_prompt_tokens(mine), _prompt_tokens(theirs))
            or _unlike(*opened)
        )

    def refused(self, reference: int, other: int, place: Place) -> bool:
        """Whether one of the two answers at a turn was refused."""
        found = [self.turns[index].get(place) for index in (reference, other)]
        return any(each is not None and each.refused for each in found)


def read_evidence(replays: Sequence[Replay]) -> Evidence:
    """The turns of all replays, each distinct transcript read once, and what servers said beside them."""
    turns: dict[str, dict[Place, TurnSeen]] = {}
    for replay in replays:
        if replay.transcript_sha256 not in turns:
            turns[replay.transcript_sha256] = _turns(replay.transcript)
    return Evidence(
        [turns[replay.transcript_sha256] for replay in replays],
        [_said(replay.transcript) for replay in replays],
    )


def _turns(transcript: Path) -> dict[Place, TurnSeen]:
    found: dict[Place, TurnSeen] = {}
    contexts: dict[str, bytes] = {}
    for turn in Turn.read_lines(transcript):
        before = contexts.get(turn.scenario, b"")
        prompt = hashlib.sha256(before + np.array(turn.appended_ids, dtype=np.int64).tobytes()).digest()
        answer = np.array([-1, *turn.output_ids], dtype=np.int64).tobytes()
        contexts[turn.scenario] = hashlib.sha256(prompt + answer).digest()
        refused = turn.refusal is not None or turn.finish_reason == FILTER
        found[turn.scenario, turn.turn] = TurnSeen(prompt, turn.finish_reason, refused)
    return found


def _said(transcript: Path) -> dict[Place, ServerSaid]:
    path = transcript.with_name(transcript.name.replace(".transcript.", ".answers."))
    if not path.exists():
        return {}
    return {(line.scenario, line.turn): line.said for line in TurnAnswered.read_lines(path)}


def _unlike(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other


def _prompt_tokens(said: ServerSaid) -> int | None:
    return said.usage.prompt_tokens if said.usage else None


Value = Callable[[ServerSaid], str | None]


def _telling(answers: Sequence[ServerSaid]) -> dict[str, Value]:
    """What tells back ends apart: names of which there are several, and that come again. One of its own for every
    answer names a request."""

    def header(name: str) -> Value:
        return lambda said: said.headers.get(name)

    values: dict[str, Value] = {
        "system_fingerprint": lambda said: said.fingerprint,
        "provider": lambda said: said.provider,
        "model": lambda said: said.model,
        **{name: header(name) for name in sorted({name for each in answers for name in each.headers})},
    }
    found: dict[str, Value] = {}
    for name, value in values.items():
        counts = Counter(given for each in answers if (given := value(each)) is not None)
        if len(counts) > 1 and 2 * len(counts) <= counts.total():
            found[name] = value
    return found


def readings(
    evidence: Evidence,
    replays: Sequence[Replay],
    sessions: Sequence[Session],
    hashes: Sequence[ReplayHashes],
    differences: Sequence[Difference],
    *,
    reference: int,
    not_greedy: tuple[int, int] | None,
    bits: Bits | None,
) -> list[Reading]:
    """All that is read of a cell. `hashes`: as replays are compared. `not_greedy`: positions, of how many."""
    found = [
        _not_greedy(*not_greedy) if not_greedy else None,
        _some_bits(bits),
        _back_ends(evidence, replays, differences, reference),
        _cut_prompts(evidence),
        _prompts_changed(evidence),
        _hidden(evidence.answers),
        _refused(evidence),
        _other_ends(evidence),
        _first_answer(hashes),
        _busy(sessions),
        _queued(evidence.answers),
        *_grown(evidence),
        _speculated(sessions),
        _characters(evidence, sessions),
    ]
    return [each for each in found if each is not None]


def _not_greedy(count: int, of: int) -> Reading | None:
    if not count:
        return None
    sentence = f"not greedy: at {count:,} of {some(of, 'position')} the chosen id was not the most likely"
    return Reading(kind="not greedy", count=count, of=of, sentence=sentence)


def _some_bits(bits: Bits | None) -> Reading | None:
    if bits is None:
        return None
    return Reading(
        kind="some bits missing",
        count=bits.positions - bits.with_bits,
        of=bits.positions,
        sentence=f"bits are judged over {bits.with_bits:,} of {some(bits.positions, 'token')} and"
        f" {bits.turns_with_bits:,} of {some(bits.turns, 'turn')}: this server does not give the others'",
    )


def _back_ends(
    evidence: Evidence, replays: Sequence[Replay], differences: Sequence[Difference], reference: int
) -> Reading | None:
    answers = evidence.answers
    telling = _telling(answers)
    if not telling:
        return None
    named = []
    for name, value in telling.items():
        counts = Counter(given for each in answers if (given := value(each)) is not None)
        named.append(f"{name} " + ", ".join(f"{each!r} {times}×" for each, times in sorted(counts.items())))
    places = {(each.session, each.number): index for index, each in enumerate(replays)}
    apart = alike = 0
    for each in differences:
        place = each.scenario, each.turn
        mine = evidence.said[reference].get(place)
        theirs = evidence.said[places[each.session, each.replay]].get(place)
        if mine is not None and theirs is not None:
            unlike = evidence.back_end(mine) != evidence.back_end(theirs)
            apart, alike = apart + unlike, alike + (not unlike)
    held = (
        f"; of {some(apart + alike, 'first difference')} {apart} are between answers of unlike back ends"
        if differences
        else "; their answers are equal"
    )
    least = min(Counter(map(evidence.back_end, answers)).values())
    return Reading(
        kind="several back ends",
        count=least,
        of=len(answers),
        sentence=f"several back ends in {some(len(answers), 'answer')}: {'; '.join(named)}{held}",
    )


def _cut_prompts(evidence: Evidence) -> Reading | None:
    seen, first, count = 0, "", 0
    for replay in evidence.said:
        before: dict[str, tuple[int, int]] = {}
        for (scenario, turn), said in replay.items():
            tokens = _prompt_tokens(said)
            if tokens is None or said.usage is None:
                continue
            # Where a server counts what it has cached apart, both together are the prompt.
            whole = tokens + (said.usage.cached_tokens or 0)
            if scenario in before:
                seen += 1
                if tokens <= before[scenario][0] and whole <= before[scenario][1]:
                    count += 1
                    first = first or f"{scenario}, turn {turn}: {tokens:,} after {before[scenario][0]:,}"
            before[scenario] = tokens, whole
    if not count:
        return None
    return Reading(
        kind="cut prompt",
        count=count,
        of=seen,
        sentence=f"cut prompt: in {count:,} of {some(seen, 'turn')} usage.prompt_tokens fell or stood still while the"
        f" conversation grew ({first})",
    )


def _prompts_changed(evidence: Evidence) -> Reading | None:
    found: dict[tuple[Place, bytes], list[ServerSaid]] = {}
    for turns, replay in zip(evidence.turns, evidence.said, strict=True):
        for place, said in replay.items():
            if place in turns:
                found.setdefault((place, turns[place].context), []).append(said)
    seen, first, count = 0, "", 0
    for ((scenario, turn), _), answers in found.items():
        tokens = {each for said in answers if (each := _prompt_tokens(said)) is not None}
        texts = {said.server_prompt for said in answers if said.server_prompt is not None}
        seen += len(answers) > 1 and bool(tokens or texts)
        if len(tokens) > 1 or len(texts) > 1:
            count += 1
            what = (
                "prompt_tokens " + ", ".join(f"{each:,}" for each in sorted(tokens))
                if len(tokens) > 1
                else f"{len(texts)} texts of its template"
            )
            first = first or f"{scenario}, turn {turn}: {what}"
    if not count:
        return None
    return Reading(
        kind="server's prompt changed",
        count=count,
        of=seen,
        sentence=f"server's prompt changed: of one conversation it made unlike prompts, in {count:,} of"
        f" {some(seen, 'context')} that came again ({first})",
    )


def _hidden(answers: Sequence[ServerSaid]) -> Reading | None:
    hidden = sum(each.hidden_tokens or 0 for each in answers)
    if not hidden:
        return None
    made = sum(each.usage.completion_tokens or 0 for each in answers if each.usage)
    return Reading(
        kind="hidden tokens",
        count=hidden,
        of=made,
        sentence=f"hidden tokens: at least {hidden:,} of {some(made, 'token')} that usage counts were generated and"
        f" not given ({hidden / made:.0%}); they are not compared"
        if made
        else f"hidden tokens: {hidden:,} thoughts that usage counts were not given; they are not compared",
    )


def _refused(evidence: Evidence) -> Reading | None:
    seen = [each for turns in evidence.turns for each in turns.values()]
    count = sum(each.refused for each in seen)
    if not count:
        return None
    return Reading(
        kind="refused",
        count=count,
        of=len(seen),
        sentence=f"refused: {count:,} of {some(len(seen), 'answer')} are a refusal or were filtered",
    )


def _other_ends(evidence: Evidence) -> Reading | None:
    ends = Counter(each.finish_reason for turns in evidence.turns for each in turns.values())
    others = {end: times for end, times in ends.items() if end not in USUAL_ENDS}
    if not others:
        return None
    named = ", ".join(f"{end or 'null'} {times}×" for end, times in sorted(others.items(), key=str))
    return Reading(
        kind="other ends",
        count=sum(others.values()),
        of=ends.total(),
        sentence=f"other ends than stop, length or a call, in {some(ends.total(), 'answer')}: {named[:200]}",
    )


def _first_answer(hashes: Sequence[ReplayHashes]) -> Reading | None:
    keys = [(each.transcript, each.logprobs) for each in hashes]
    if len(keys) < LEAST_REPLAYS or len(set(keys[1:])) > 1 or keys[0] == keys[1]:
        return None
    what = "text" if keys[0][0] != keys[1][0] else "bits alone"
    return Reading(
        kind="first answer",
        count=1,
        of=len(keys),
        sentence=f"first answer: only the first of {some(len(keys), 'replay')} differs ({what}), and all later ones are"
        " equal, as where a cache was empty before",
    )


def _busy(sessions: Sequence[Session]) -> Reading | None:
    waits = [each.record.waits for each in sessions if each.record.waits is not None]
    if not waits:
        return None
    answers = sum(each.answers for each in waits)
    return Reading(
        kind="busy",
        count=answers,
        of=answers,
        sentence=f"busy: {some(answers, 'answer')} waited for, {sum(each.seconds for each in waits):.0f} s in all"
        f" ({sum(each.refusals for each in waits)} times 429 or 503, {sum(each.reconnections for each in waits)}"
        " connections closed before an answer began); nothing was asked again once its answer had begun",
    )


def _queued(answers: Sequence[ServerSaid]) -> Reading | None:
    counted = [each.counters for each in answers if {"queued", "at_work"} & set(each.counters)]
    count = sum(bool(each.get("queued") or each.get("at_work")) for each in counted)
    if not count:
        return None
    return Reading(
        kind="queued",
        count=count,
        of=len(counted),
        sentence=f"others ask too: after {count:,} of {some(len(counted), 'answer')} requests were queued or at work",
    )


def _grown(evidence: Evidence) -> Iterator[Reading]:
    """Preempted requests and speculation, by how far the server's counters went on in each replay."""
    grown: Counter[str] = Counter()
    for replay in evidence.said:
        counters = [each.counters for each in replay.values() if each.counters]
        for name in ("preempted", "drafted", "accepted"):
            if counters and name in counters[0] and name in counters[-1]:
                grown[name] += max(0, counters[-1][name] - counters[0][name])
        for each in replay.values():
            if "drafted" not in each.counters:
                grown["drafted"] += each.drafted or 0
                grown["accepted"] += each.accepted or 0
    answers = len(evidence.answers)
    if count := grown["preempted"]:
        sentence = (
            f"preempted: the server took {some(count, 'request')} off its batch and computed them again"
        )
        yield Reading(kind="preempted", count=count, of=answers, sentence=sentence)
    if drafted := grown["drafted"]:
        sentence = f"speculation: {grown['accepted']:,} of {drafted:,} drafted tokens were accepted"
        yield Reading(kind="speculation", count=grown["accepted"], of=drafted, sentence=sentence)


def _speculated(sessions: Sequence[Session]) -> Reading | None:
    """What servers that were started here counted of drafted tokens, over their whole lives."""
    described = [each.record.resolved for each in sessions]
    counted = [each.speculation for each in described if each is not None and each.speculation is not None]
    drafted, accepted = sum(each.drafted for each in counted), sum(each.accepted for each in counted)
    if not drafted:
        return None
    sentence = f"speculation: {accepted:,} of {drafted:,} drafted tokens were accepted"
    return Reading(kind="speculation", count=accepted, of=drafted, sentence=sentence)


def _characters(evidence: Evidence, sessions: Sequence[Session]) -> Reading | None:
    """That a chat endpoint's figures count characters, and how many of them usage counts to a token."""
    described = sessions[0].record.resolved
    if described is None or described.mode != "text":
        return None
    made = sum(each.usage.completion_tokens or 0 for each in evidence.answers if each.usage)
    written = sum(each.record.tokens for each in sessions)
    share = f", {written / made:.1f} of them to a token as usage counts" if made else ""
    return Reading(
        kind="characters",
        count=written,
        of=made or written,
        sentence=f"tokens here are characters, since a chat endpoint names no ids{share}",
    )
