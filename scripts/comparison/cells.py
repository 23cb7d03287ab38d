"""Two cells side by side, from their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts.common.errors import DataError
from scripts.common.files import sha256_file
from scripts.comparison.along import Position, along, along_passes
from scripts.comparison.provenance import differences
from scripts.records.cell import KnownCandidates
from scripts.records.comparison import Along, Comparison, EqualPairs, Parting, Sameness, SideRecord
from scripts.records.forced import MODES, Forced, PassTurn
from scripts.records.session import WorkloadSum
from scripts.records.transcript import Turn, TurnLogprobs
from scripts.verdict.differences import FirstDifference, in_ids
from scripts.verdict.forced import pass_file
from scripts.verdict.replays import Replay, Session, find_replays, find_sessions
from scripts.verdict.streams import Ints, PromptCodes, Trajectory, read_trajectory


class IncomparableError(DataError):
    """Two cells that were not asked the same."""


@dataclass(frozen=True)
class Side:
    """One of the two cells: its name, its folder, its sessions and their replays."""

    name: str
    folder: Path
    sessions: list[Session]
    replays: list[Replay]

    @cached_property
    def texts(self) -> Counter[str]:
        """How many replays have each transcript."""
        return Counter(each.transcript_sha256 for each in self.replays)

    @cached_property
    def bits(self) -> Counter[tuple[str, str]]:
        """How many replays have each transcript and logprobs file; empty without logprobs."""
        return Counter(
            (each.transcript_sha256, each.logprobs_sha256) for each in self.replays if each.logprobs_sha256
        )

    @property
    def reference(self) -> Replay:
        """The earliest replay of the largest group of equal transcripts."""
        text = self.texts.most_common(1)[0][0]
        return next(each for each in self.replays if each.transcript_sha256 == text)

    @property
    def record(self) -> SideRecord:
        """What a comparison says of it."""
        return SideRecord(
            name=self.name,
            sessions=len(self.sessions),
            replays=len(self.replays),
            text_identical=_largest(self.texts),
            logprobs_identical=_largest(self.bits) if self.bits else None,
        )


def _largest(groups: Counter[Any]) -> int:
    most = max(groups.values())
    return 0 if most == 1 and len(groups) > 1 else most


def read_side(name: str, folder: Path) -> Side:
    """A cell's sessions and replays, hashed; DataError names what is missing or is not what was recorded.

    IncomparableError where its engine refused to start.
    """
    sessions = find_sessions(folder)
    if refused := refusal(sessions):
        raise IncomparableError(f"its engine refused to start: {refused}", where=name)
    return Side(name, folder, sessions, find_replays(sessions))


def refusal(sessions: Iterable[Session]) -> str | None:
    """The last error of the first session whose engine refused to start, if any."""
    return next((each.record.refused.sentence for each in sessions if each.record.refused), None)


def compare_cells(a: Side, b: Side) -> Comparison:
    """Compare two cells. IncomparableError where they were asked another workload or got other prompts."""
    one, other = ([each.record.workload for each in side.sessions] for side in (a, b))
    check_workloads(one, other, where=f"{a.name} and {b.name}")
    first, second = a.reference, b.reference
    codes = PromptCodes()
    of_a, of_b = (read_trajectory(each.transcript, codes) for each in (first, second))
    found = _partings(a, b, of_a, of_b)
    free: Along | None = None
    known: Known = {}
    if first.logprobs and second.logprobs:
        free = along(_shared((first, second), found, known))
    forced, why_not = along_one_trajectory(a.folder, b.folder)
    return Comparison(
        a=a.record,
        b=b.record,
        sameness=_sameness(a, b),
        pairs=_pairs(a, b),
        partings=[_parting(each, *known.get(each.scenario, (None, None))) for each in found],
        free=free,
        forced=forced,
        forced_not=why_not,
        provenance=differences(*((each.record for each in side.sessions) for side in (a, b))),
    )


def check_workloads(a: Iterable[WorkloadSum | None], b: Iterable[WorkloadSum | None], where: str) -> None:
    """IncomparableError where two sides (`where` names them) were not asked the same, as far as their records say."""
    asked = [{(each.name, each.sha256) for each in side if each is not None} for side in (a, b)]
    if all(asked) and asked[0] != asked[1]:
        names = [", ".join(f"{name} ({sha256[:12]})" for name, sha256 in sorted(side)) for side in asked]
        raise IncomparableError(f"they were asked other workloads: {names[0]} and {names[1]}", where=where)


Read = tuple[Trajectory, dict[str, Ints]]
Known = dict[str, tuple[KnownCandidates | None, KnownCandidates | None]]
"""Of each scenario that parts, what both sides recorded of the position."""


def _partings(a: Side, b: Side, of_a: Read, of_b: Read) -> list[FirstDifference]:
    (outline, symbols), (_, other) = of_a, of_b
    where = f"{a.name} and {b.name}"
    if set(symbols) != set(other):
        unlike = sorted(set(symbols) ^ set(other))
        raise IncomparableError(f"only one of them has the scenario {unlike[0]!r}", where=where)
    found = [
        each
        for scenario in symbols
        if (each := in_ids(scenario, outline.shapes[scenario], symbols[scenario], other[scenario]))
        is not None
    ]
    if len(found) == len(symbols) and all(each.kind == "harness" and each.place.turn == 0 for each in found):
        raise IncomparableError(
            "their first prompts differ in every scenario: another system prompt, chat template or tokenizer",
            where=where,
        )
    return found


def _shared(
    replays: tuple[Replay, Replay],
    partings: list[FirstDifference],
    known: Known,
) -> Iterator[tuple[Position, Position]]:
    """What both recorded at the contexts that they share; into `known` what they did where a scenario parts."""
    parted = {each.scenario: each for each in partings}
    other = _recorded(replays[1])
    for turn, logprobs in _recorded(replays[0]):
        parting = parted.get(turn.scenario)
        if parting is not None and _is_past(turn, parting):
            continue
        match = next(
            (
                (said, computed)
                for said, computed in other
                if (said.scenario, said.turn) == (turn.scenario, turn.turn)
            ),
            None,
        )
        if match is None:
            return
        said, computed = match
        count = min(len(turn.output_ids), len(said.output_ids))
        if parting is not None and parting.place.turn == turn.turn and parting.kind == "model":
            at = parting.place.offset
            known[turn.scenario] = _known(logprobs, at), _known(computed, at)
            count = min(count, at + 1)
        for index in range(min(count, len(logprobs.chosen), len(computed.chosen))):
            mine, theirs = logprobs.chosen[index], computed.chosen[index]
            if mine is not None and theirs is not None:
                yield (
                    (turn.output_ids[index], mine, logprobs.top[index]),
                    (said.output_ids[index], theirs, computed.top[index]),
                )


def _is_past(turn: Turn, parting: FirstDifference) -> bool:
    """Whether no context of a turn is shared: it comes after the difference, or is the one whose prompt differs."""
    at = parting.place
    return turn.turn > at.turn or (turn.turn == at.turn and parting.kind == "harness" and at.offset < 0)


def _recorded(replay: Replay) -> Iterator[tuple[Turn, TurnLogprobs]]:
    assert replay.logprobs is not None
    return zip(Turn.read_lines(replay.transcript), TurnLogprobs.read_lines(replay.logprobs), strict=True)


def _known(logprobs: TurnLogprobs, at: int) -> KnownCandidates | None:
    chosen = logprobs.chosen[at] if at < len(logprobs.chosen) else None
    return None if chosen is None else KnownCandidates(chosen=chosen, top=logprobs.top[at])


def _parting(
    found: FirstDifference, known_a: KnownCandidates | None, known_b: KnownCandidates | None
) -> Parting:
    return Parting(
        scenario=found.scenario,
        turn=found.place.turn,
        position=found.place.position,
        kind=found.kind,
        a=found.token,
        b=found.other,
        known_a=known_a,
        known_b=known_b,
    )


def _sameness(a: Side, b: Side) -> Sameness:
    texts, bits = a.texts + b.texts, a.bits + b.bits
    if len(texts) == 1:
        if len(bits) == 1:
            return "same bits"
        return "bits vary" if len(a.bits) > 1 or len(b.bits) > 1 else "same text"
    return "other text" if len(a.texts) == len(b.texts) == 1 else "text varies"


def _pairs(a: Side, b: Side) -> EqualPairs:
    return EqualPairs(
        pairs=len(a.replays) * len(b.replays),
        equal_text=sum(count * b.texts[text] for text, count in a.texts.items()),
        equal_bits=sum(count * b.bits[each] for each, count in a.bits.items()) if a.bits and b.bits else None,
    )


def forced_files(cell: Path) -> dict[str, Path]:
    """The forced passes of a cell, its own and those of trajectories of other cells: by the trajectory's sha256.

    An older forced.json does not say it: the transcript that it names is looked at.
    """
    found: dict[str, Path] = {}
    for file in [cell / "forced.json", *sorted(cell.glob("fed/*/forced.json"))]:
        if not file.is_file():
            continue
        record = Forced.read(file)
        of = record.trajectory
        fed_back = cell / f"session-{of.session:02d}" / f"replay-{of.replay:02d}.transcript.jsonl"
        sha256 = record.transcript_sha256
        if sha256 is None and file.parent == cell and fed_back.is_file():
            sha256 = sha256_file(fed_back)
        if sha256 is not None:
            found.setdefault(sha256, file)
    return found


def along_one_trajectory(a: Path, b: Path) -> tuple[dict[str, Along], str | None]:
    """Along one trajectory that the cells of two folders were both fed, by mode: that of A, where it is there; or why
    there is none."""
    mine, theirs = forced_files(a), forced_files(b)
    common = [sha256 for sha256 in mine if sha256 in theirs]
    if not common:
        why = "they were not fed one trajectory" if mine and theirs else "one of them has no forced passes"
        return {}, why
    one, other = mine[common[0]].parent / "forced", theirs[common[0]].parent / "forced"
    found: dict[str, Along] = {
        mode: along_passes(zip(*(PassTurn.read_lines(folder / name) for folder in (one, other)), strict=True))
        for mode in MODES
        if (one / (name := pass_file(0, mode))).is_file() and (other / name).is_file()
    }
    return found, None if found else "no mode was forced in both"
