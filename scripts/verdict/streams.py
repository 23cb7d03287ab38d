"""A transcript as compact arrays: for each scenario one sequence of symbols, prompts and ends included.

A scenario's symbols are, turn by turn, one code for the whole of `appended_ids` (equal prompts have equal
codes), the generated ids, and END; after the last turn comes OVER. Two replays share a context exactly as
long as their symbols agree, and no sequence is the beginning of another.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import DataError
from scripts.records.transcript import Turn

END = -1
OVER = -2
FIRST_PROMPT = -3
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Place:
    """A symbol's place: its turn, its index among the turn's ids (-1: the prompt), the tokens before it."""

    turn: int
    offset: int
    position: int


@dataclass(frozen=True)
class Shape:
    """How one scenario of a transcript is cut into turns. `lengths`: ids generated in each, in order."""

    lengths: Ints

    @property
    def tokens(self) -> int:
        """How many ids were generated."""
        return int(self.lengths.sum())

    def place(self, index: int) -> Place:
        """Where the symbol with that index stands."""
        starts = np.concatenate(([0], np.cumsum(self.lengths.astype(np.int64) + 2)))
        turn = int(np.searchsorted(starts, index, side="right")) - 1
        offset = index - int(starts[turn]) - 1
        before = int(self.lengths[:turn].sum())
        return Place(turn, offset, before + max(offset, 0))


@dataclass(frozen=True)
class Trajectory:
    """What verdicts keep of one transcript beside its symbols.

    `shapes`: by scenario, in the file's order. `turns`: (scenario, turn) of each line. `answered`,
    `correct`: different questions answered, and answered correctly, the last answer counting.
    """

    shapes: dict[str, Shape]
    turns: list[tuple[str, int]]
    answered: int
    correct: int

    @property
    def tokens(self) -> int:
        """Ids generated in the whole replay."""
        return sum(shape.tokens for shape in self.shapes.values())


class PromptCodes:
    """Gives equal `appended_ids` equal codes, over all transcripts of a cell."""

    def __init__(self) -> None:
        self._codes: dict[bytes, int] = {}

    def code(self, ids: Ints) -> int:
        """The code of a prompt, FIRST_PROMPT or below."""
        key = hashlib.sha256(ids.tobytes()).digest()
        return self._codes.setdefault(key, FIRST_PROMPT - len(self._codes))


def id_array(values: list[int]) -> Ints:
    """Token ids as int32; ValueError where they are not from 0 on and below 2^31."""
    if values and not 0 <= min(values) <= max(values) < 2**31:
        raise ValueError("token ids are not whole numbers from 0 on")
    return np.array(values, dtype=np.int32)


def read_trajectory(path: Path, codes: PromptCodes) -> tuple[Trajectory, dict[str, Ints]]:
    """Read a transcript, one turn in memory at a time: its outline, and each scenario's symbols.

    DataError names a missing, torn or empty file and a line that no session writes.
    """
    parts: dict[str, list[Ints]] = {}
    lengths: dict[str, list[int]] = {}
    turns: list[tuple[str, int]] = []
    answers: dict[tuple[str, str], bool] = {}
    for number, turn in enumerate(Turn.read_lines(path), start=1):
        try:
            scenario = sys.intern(turn.scenario)
            if turn.turn != len(lengths.setdefault(scenario, [])):
                raise ValueError(f"turn {turn.turn} where turn {len(lengths[scenario])} should be")
            appended, output = id_array(turn.appended_ids), id_array(turn.output_ids)
            if turn.answer is not None:
                answers[scenario, str(turn.answer.question)] = turn.answer.correct
        except ValueError as error:
            raise DataError(
                f"the turn is not what a session writes ({error})", where=f"{path}:{number}"
            ) from error
        marks = np.array([codes.code(appended)], dtype=np.int32)
        parts.setdefault(scenario, []).extend((marks, output, np.array([END], dtype=np.int32)))
        lengths[scenario].append(len(output))
        turns.append((scenario, turn.turn))
    over = np.array([OVER], dtype=np.int32)
    shapes = {scenario: Shape(np.array(each, dtype=np.int32)) for scenario, each in lengths.items()}
    symbols = {scenario: np.concatenate([*pieces, over]) for scenario, pieces in parts.items()}
    return Trajectory(shapes, turns, len(answers), sum(answers.values())), symbols
