"""Where a replay first differs from the reference in each scenario, and what did: harness or model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.records.cell import DifferenceKind
from scripts.verdict.contexts import common_prefix
from scripts.verdict.streams import END, Ints, Place, Shape, Trajectory


@dataclass(frozen=True)
class FirstDifference:
    """The first difference of one scenario.

    `place`: its turn, the index in that turn's generated ids (-1 for the prompt) and the tokens before.
    `token`, `other`: for a model's difference the reference's id and the other's; None where one ended.
    """

    scenario: str
    kind: DifferenceKind
    place: Place
    token: int | None = None
    other: int | None = None


def in_ids(scenario: str, shape: Shape, reference: Ints, other: Ints) -> FirstDifference | None:
    """The first difference in ids between the reference's symbols (cut into turns by `shape`) and others.

    Prompts that differ, or a turn that only one of the two has, are the harness's; ids that differ within
    a turn's generation, a missing one included, are the model's.
    """
    shared = common_prefix(reference, other)
    if shared == len(reference):
        return None
    mine, theirs = int(reference[shared]), int(other[shared])
    place = shape.place(shared)
    if mine >= END and theirs >= END:
        token, against = (None if symbol == END else symbol for symbol in (mine, theirs))
        return FirstDifference(scenario, "model", place, token, against)
    return FirstDifference(scenario, "harness", place)


def _raw_turns(path: Path, trajectory: Trajectory) -> dict[str, list[bytes]]:
    lines: dict[str, list[bytes]] = {}
    with open(path, "rb") as stream:
        for (scenario, _), line in zip(trajectory.turns, stream, strict=True):
            lines.setdefault(scenario, []).append(line)
    return lines


def in_words(
    reference: tuple[Path, Trajectory], other: tuple[Path, Trajectory], scenarios: list[str], *, alone: bool
) -> list[FirstDifference]:
    """Differences of unequal transcripts in scenarios whose ids are all equal: the harness's.

    A tool result after the last generation is the usual one. The position is after the turn's tokens.
    `alone`: these are all the scenarios there are, so that something must differ: where no turn does, the
    order of the turns is what differs, and the first one out of order is named.
    """
    mine, theirs = _raw_turns(*reference), _raw_turns(*other)
    found = []
    for scenario in scenarios:
        pairs = zip(mine[scenario], theirs[scenario], strict=True)
        turn = next((turn for turn, (left, right) in enumerate(pairs) if left != right), None)
        if turn is not None:
            found.append(_after_turn(reference[1], scenario, turn))
    if alone and not found:
        unequal = zip(reference[1].turns, other[1].turns, strict=True)
        found.append(_after_turn(reference[1], *next(left for left, right in unequal if left != right)))
    return found


def _after_turn(trajectory: Trajectory, scenario: str, turn: int) -> FirstDifference:
    lengths = trajectory.shapes[scenario].lengths
    return FirstDifference(scenario, "harness", Place(turn, -1, int(lengths[: turn + 1].sum())))
