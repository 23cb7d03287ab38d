"""A logprobs file as compact arrays, checked against its transcript, and the candidates at chosen places."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import DataError
from scripts.records.cell import KnownCandidates
from scripts.records.transcript import Turn, TurnLogprobs
from scripts.verdict.streams import Trajectory
from scripts.workload.text_form import END, FIRST_TOKEN, read_ids, token_id

Floats = NDArray[np.float64]
SAME_LOGPROB = 1e-4
"""Nat by which a logprob may lie under the best one and be of the most likely id all the same, as it was rounded."""
Spot = tuple[str, int, int]
"""A generated id: scenario, turn, index in the turn's generated ids."""


@dataclass(frozen=True)
class StreamLogprobs:
    """One scenario of one replay, an entry a generated id.

    `chosen`: its logprob, NaN where there is none. `margin`: the best minus the second best; NaN where fewer than two
    are known. `not_greedy`: at how many another one was more likely than the chosen one.
    """

    chosen: Floats
    margin: Floats
    not_greedy: int = 0


@dataclass(frozen=True)
class Counted:
    """How much of a replay's logprobs there is.

    `positions`: generated ids; `with_bits`: those that have a logprob; `not_greedy`: those where another one was more
    likely. `turns`: which have a bit at all, in their order.
    """

    positions: int
    with_bits: int
    not_greedy: int
    turns: list[bool]

    @property
    def whole(self) -> bool:
        """Whether every id has its logprob."""
        return self.with_bits == self.positions


@dataclass(frozen=True)
class Known:
    """What a replay knew at a spot. `token`: the number of its own among the candidates; `start`: where it begins."""

    candidates: KnownCandidates
    token: int
    start: int

    @property
    def greedy(self) -> bool:
        """Whether the most likely id was chosen."""
        return self.candidates.chosen >= self.candidates.top[0][1] - SAME_LOGPROB


def read_arrays(
    path: Path, transcript: Path, trajectory: Trajectory, spots: Collection[Spot], *, text: bool = False
) -> tuple[dict[str, StreamLogprobs], dict[Spot, Known]]:
    """Read a replay's logprobs, one turn in memory at a time, and what it knew at `spots`.

    `text`: it is a chat endpoint's, whose ids are characters; what is known of one stands at its token's first.
    DataError: a missing, torn or empty file, and turns or lengths that are not those of its transcript.
    """
    chosen: dict[str, list[Floats]] = {}
    margin: dict[str, list[Floats]] = {}
    wanted: dict[tuple[str, int], list[int]] = {}
    for scenario, number, offset in spots:
        wanted.setdefault((scenario, number), []).append(offset)
    known: dict[Spot, Known] = {}
    not_greedy: dict[str, int] = {}
    outputs = _outputs(transcript, wanted)
    seen = 0
    for seen, turn in enumerate(TurnLogprobs.read_lines(path), start=1):
        where = f"{path}:{seen}"
        _check_turn(turn, seen, where, transcript, trajectory)
        length = int(trajectory.shapes[turn.scenario].lengths[turn.turn])
        logprobs, margins, sampled = _turn_arrays(turn, length, where)
        not_greedy[turn.scenario] = not_greedy.get(turn.scenario, 0) + sampled
        chosen.setdefault(turn.scenario, []).append(logprobs)
        margin.setdefault(turn.scenario, []).append(margins)
        for offset in wanted.get((turn.scenario, turn.turn), ()):
            found = _known(turn, offset, outputs[turn.scenario, turn.turn], text=text)
            if found is not None:
                known[turn.scenario, turn.turn, offset] = found
    if seen != len(trajectory.turns):
        raise DataError(
            f"the file has {seen} turns, {transcript.name} has {len(trajectory.turns)}", where=str(path)
        )
    return {
        scenario: StreamLogprobs(
            np.concatenate(chosen[scenario]), np.concatenate(margin[scenario]), not_greedy[scenario]
        )
        for scenario in chosen
    }, known


def count_bits(arrays: dict[str, StreamLogprobs], trajectory: Trajectory) -> Counted:
    """How much there is of a replay's logprobs. A turn without an id lacks none."""
    known = {scenario: ~np.isnan(stream.chosen) for scenario, stream in arrays.items()}
    cut = {
        scenario: iter(np.split(each, np.cumsum(trajectory.shapes[scenario].lengths)[:-1]))
        for scenario, each in known.items()
    }
    parts = [next(cut[scenario]) for scenario, _ in trajectory.turns]
    return Counted(
        sum(map(len, known.values())),
        sum(int(np.count_nonzero(each)) for each in known.values()),
        sum(stream.not_greedy for stream in arrays.values()),
        [not len(part) or bool(part.any()) for part in parts],
    )


def _check_turn(turn: TurnLogprobs, seen: int, where: str, transcript: Path, trajectory: Trajectory) -> None:
    if seen > len(trajectory.turns) or (turn.scenario, turn.turn) != trajectory.turns[seen - 1]:
        raise DataError(
            f"turn {turn.turn} of {turn.scenario!r} is not line {seen} of {transcript.name}", where=where
        )
    tokens = int(trajectory.shapes[turn.scenario].lengths[turn.turn])
    lengths = len(turn.chosen), len(turn.top)
    if lengths not in ((tokens, tokens), (0, 0)):
        raise DataError(
            f"the line has {lengths[0]} chosen, {lengths[1]} top entries; {transcript.name} has {tokens} ids",
            where=where,
        )


def _turn_arrays(turn: TurnLogprobs, length: int, where: str) -> tuple[Floats, Floats, int]:
    """Its logprobs and margins, NaN where there are none, and at how many positions the choice was not greedy."""
    if not turn.chosen:
        return np.full(length, np.nan), np.full(length, np.nan), 0
    if any(not top and chosen is not None for chosen, top in zip(turn.chosen, turn.top, strict=True)):
        raise DataError("a position has no candidates", where=where)
    if any(top and chosen is None for chosen, top in zip(turn.chosen, turn.top, strict=True)):
        raise DataError("a position has candidates and no logprob", where=where)
    chosen = np.array(turn.chosen, dtype=np.float64)
    margins = np.array(
        [top[0][1] - top[1][1] if len(top) > 1 else np.nan for top in turn.top], dtype=np.float64
    )
    if np.isinf(margins).any():
        raise DataError("a margin is not finite", where=where)
    if (margins < 0).any():
        raise DataError("the candidates in top are not in order, best first", where=where)
    best = np.array([top[0][1] if top else np.nan for top in turn.top], dtype=np.float64)
    return chosen, margins, int(np.count_nonzero(chosen < best - SAME_LOGPROB))


def _outputs(transcript: Path, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], list[int]]:
    """The generated ids of the turns of which something is wanted."""
    if not wanted:
        return {}
    return {
        (turn.scenario, turn.turn): turn.output_ids
        for turn in Turn.read_lines(transcript)
        if (turn.scenario, turn.turn) in wanted
    }


def _known(turn: TurnLogprobs, offset: int, output: list[int], *, text: bool) -> Known | None:
    """What is known at an index of a turn's ids; None where there are no bits."""
    if not turn.chosen:
        return None
    start, token = offset, output[offset]
    if text and token < FIRST_TOKEN:
        start = next((each for each in range(offset, -1, -1) if turn.chosen[each] is not None), offset)
        end = next(
            (
                each
                for each in range(start + 1, len(output))
                if turn.chosen[each] is not None or output[each] >= END
            ),
            len(output),
        )
        if output[start] != END:
            token = token_id(read_ids(output[start:end]).encode())
            if token not in dict(turn.top[start]):  # a token without bits stands between
                return None
    chosen = turn.chosen[start]
    if chosen is None:
        return None
    return Known(KnownCandidates(chosen=chosen, top=turn.top[start]), token, start)
