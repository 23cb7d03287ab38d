"""What a flip costs: how far two trajectories are apart after the first token in which they differ.

Each replay is compared with the reference, scenario by scenario, where the model, not the harness, parted them: the
tokens that either still generated, the turns, and the answers that were recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.records.transcript import Turn
from scripts.verdict.replays import find_replays, find_sessions
from scripts.verdict.summary import read_said

Answers = Mapping[str, tuple[str, bool]]
"""By question: the last answer recorded, and whether it is the true one."""


@dataclass(frozen=True)
class Parting:
    """One replay's scenario that a flip parted from the reference's.

    `position`: generated tokens before the flip. `tokens`, `other_tokens`: what the reference and the replay still
    generated, the differing token included. `answers`: those of either; `changed`: questions with another answer, or
    one in one of the two alone; `lost`, `won`: those that only the reference, only the replay answered truly.
    """

    session: int
    replay: int
    scenario: str
    position: int
    tokens: int
    other_tokens: int
    questions: int
    changed: int
    lost: int
    won: int

    @property
    def further(self) -> int:
        """How many tokens more the replay took than the reference; negative where less."""
        return self.other_tokens - self.tokens


@dataclass(frozen=True)
class Partings:
    """A cell's partings. `episodes`: scenarios over all replays but the reference's, of which these are a part."""

    episodes: int
    found: list[Parting]


def read_partings(cell: Path) -> Partings:
    """The partings of the cell in that folder; DataError where files are missing or torn."""
    replays = find_replays(find_sessions(cell))
    said = read_said(replays)
    reference = said.walked[0]
    answers: dict[int, dict[str, Answers]] = {0: _answers(replays[reference.replays[0]].transcript)}
    found = []
    for number, walked in enumerate(said.walked[1:], start=1):
        parted = [each for each in walked.differences if each.kind == "model"]
        if parted:
            answers[number] = _answers(replays[walked.replays[0]].transcript)
        for each in parted:
            name = each.scenario
            mine, theirs = answers[0].get(name, {}), answers[number].get(name, {})
            asked = mine.keys() | theirs.keys()
            true = [{question for question in side if side[question][1]} for side in (mine, theirs)]
            for index in walked.replays:
                found.append(
                    Parting(
                        session=replays[index].session,
                        replay=replays[index].number,
                        scenario=name,
                        position=each.place.position,
                        tokens=reference.trajectory.shapes[name].tokens - each.place.position,
                        other_tokens=walked.trajectory.shapes[name].tokens - each.place.position,
                        questions=len(asked),
                        changed=sum(
                            mine.get(question, ("", False))[0] != theirs.get(question, ("", False))[0]
                            for question in asked
                        ),
                        lost=len(true[0] - true[1]),
                        won=len(true[1] - true[0]),
                    )
                )
    return Partings((len(replays) - 1) * len(said.trees), found)


def _answers(transcript: Path) -> dict[str, Answers]:
    """The answers of a transcript by scenario, then by question."""
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    for turn in Turn.read_lines(transcript):
        if turn.answer is not None:
            given = turn.answer.value, turn.answer.correct
            found.setdefault(turn.scenario, {})[str(turn.answer.question)] = given
    return dict(found)
