"""How a replay agrees with its cell's reference, position by position: what a strip picture shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scripts.records.cell import Difference, DifferenceKind

States = NDArray[np.uint8]
Bools = NDArray[np.bool_]


class State(IntEnum):
    """A position of a replay beside the reference's, the graver the larger; OVER where the replay had ended."""

    OVER = 0
    EQUAL = 1
    OTHER_BITS = 2
    AFTER_FLIP = 3
    AFTER_PROMPT = 4


AFTER: dict[DifferenceKind, State] = {"model": State.AFTER_FLIP, "harness": State.AFTER_PROMPT}


@dataclass(frozen=True)
class Lane:
    """The columns of one scenario in the strips of a cell: from `start`, as many as its longest replay has tokens."""

    scenario: str
    start: int
    width: int


def lay_lanes(tokens: Sequence[Mapping[str, int]]) -> list[Lane]:
    """Scenarios side by side in their order; `tokens`: of each replay the ids generated in each scenario."""
    lanes: list[Lane] = []
    for name in dict.fromkeys(name for each in tokens for name in each):
        start = lanes[-1].start + lanes[-1].width if lanes else 0
        lanes.append(Lane(name, start, max(each.get(name, 0) for each in tokens)))
    return lanes


def positions_states(tokens: int, unequal: Bools | None, first: Difference | None) -> States:
    """The states of one scenario's positions in one replay.

    `unequal`: where its bits are not the reference's, as far as both were compared; None where they are all equal or
    none were recorded. `first`: its first difference, if any.
    """
    states = np.full(tokens, State.EQUAL, dtype=np.uint8)
    if unequal is not None:
        compared = min(tokens, len(unequal))
        states[:compared][unequal[:compared]] = State.OTHER_BITS
    if first is not None:
        states[first.position :] = AFTER[first.kind]
    return states


def lay_row(lanes: Sequence[Lane], states: Mapping[str, States]) -> States:
    """One replay's row: each scenario's states in its lane, OVER behind its end."""
    row = np.zeros(sum(lane.width for lane in lanes), dtype=np.uint8)
    for lane in lanes:
        found = states.get(lane.scenario)
        if found is not None:
            row[lane.start : lane.start + len(found)] = found
    return row


def condense(row: States, step: int) -> States:
    """Every `step` positions as one, the gravest of them."""
    condensed: States = np.pad(row, (0, -len(row) % step)).reshape(-1, step).max(axis=1)
    return condensed


def stretches(row: States) -> Iterator[tuple[State, int, int]]:
    """Neighbouring positions of one state: the state, the first and the one after the last; OVER left out."""
    if not len(row):
        return
    cuts = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
    for start, stop in pairwise(cuts):
        if row[start] != State.OVER:
            yield State(int(row[start])), start, stop


def count_other_bits(rows: Sequence[States]) -> tuple[int, int]:
    """Positions whose bits are not the reference's, and positions compared: those before a first difference."""
    other = sum(int((row == State.OTHER_BITS).sum()) for row in rows)
    return other, other + sum(int((row == State.EQUAL).sum()) for row in rows)
