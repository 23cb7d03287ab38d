"""A logprobs file as compact arrays, checked against its transcript, and the candidates at chosen places."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import DataError
from scripts.records.cell import KnownCandidates
from scripts.records.transcript import TurnLogprobs
from scripts.verdict.streams import Trajectory

Floats = NDArray[np.float64]
Spot = tuple[str, int, int]
"""A generated id: scenario, turn, index in the turn's generated ids."""


@dataclass(frozen=True)
class StreamLogprobs:
    """One scenario of one replay, an entry a generated id.

    `chosen`: its logprob. `margin`: the best minus the second best; NaN where fewer than two are known.
    """

    chosen: Floats
    margin: Floats


def read_arrays(
    path: Path, transcript: Path, trajectory: Trajectory, spots: Collection[Spot]
) -> tuple[dict[str, StreamLogprobs], dict[Spot, KnownCandidates]]:
    """Read a replay's logprobs, one turn in memory at a time, and what it knew at `spots`.

    DataError: a missing, torn or empty file, and turns or lengths that are not those of its transcript.
    """
    chosen: dict[str, list[Floats]] = {}
    margin: dict[str, list[Floats]] = {}
    wanted: dict[tuple[str, int], list[int]] = {}
    for scenario, number, offset in spots:
        wanted.setdefault((scenario, number), []).append(offset)
    known: dict[Spot, KnownCandidates] = {}
    seen = 0
    for seen, turn in enumerate(TurnLogprobs.read_lines(path), start=1):
        where = f"{path}:{seen}"
        _check_turn(turn, seen, where, transcript, trajectory)
        logprobs, margins = _turn_arrays(turn, where)
        chosen.setdefault(turn.scenario, []).append(logprobs)
        margin.setdefault(turn.scenario, []).append(margins)
        for offset in wanted.get((turn.scenario, turn.turn), ()):
            known[turn.scenario, turn.turn, offset] = KnownCandidates(
                chosen=turn.chosen[offset], top=turn.top[offset]
            )
    if seen != len(trajectory.turns):
        raise DataError(
            f"the file has {seen} turns, {transcript.name} has {len(trajectory.turns)}", where=str(path)
        )
    return {
        scenario: StreamLogprobs(np.concatenate(chosen[scenario]), np.concatenate(margin[scenario]))
        for scenario in chosen
    }, known


def _check_turn(turn: TurnLogprobs, seen: int, where: str, transcript: Path, trajectory: Trajectory) -> None:
    if seen > len(trajectory.turns) or (turn.scenario, turn.turn) != trajectory.turns[seen - 1]:
        raise DataError(
            f"turn {turn.turn} of {turn.scenario!r} is not line {seen} of {transcript.name}", where=where
        )
    tokens = int(trajectory.shapes[turn.scenario].lengths[turn.turn])
    lengths = len(turn.chosen), len(turn.top)
    if lengths != (tokens, tokens):
        raise DataError(
            f"the line has {lengths[0]} chosen, {lengths[1]} top entries; {transcript.name} has {tokens} ids",
            where=where,
        )


def _turn_arrays(turn: TurnLogprobs, where: str) -> tuple[Floats, Floats]:
    if not all(turn.top):
        raise DataError("a position has no candidates", where=where)
    chosen = np.array(turn.chosen, dtype=np.float64)
    margins = np.array(
        [top[0][1] - top[1][1] if len(top) > 1 else np.nan for top in turn.top], dtype=np.float64
    )
    if np.isinf(margins).any():
        raise DataError("a margin is not finite", where=where)
    if (margins < 0).any():
        raise DataError("the candidates in top are not in order, best first", where=where)
    return chosen, margins
