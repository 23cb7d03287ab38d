"""Ask a cell: whether its sessions so far answer its question, or another one is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from scripts.common.command import run
from scripts.records.question import QuestionAsked, QuestionRound
from scripts.verdict.summary import look


def main(
    cell: Annotated[Path, "folder with session-00, session-01, …"],
    /,
    *,
    sessions: Annotated[int, "how many of them count"],
    question: Annotated[QuestionAsked, "as results/grid.json has it"],
    output: Annotated[Path, "the question/round-NN.json to write"],
) -> None:
    """Look at the sessions, write the answer."""
    found = look(cell, question, sessions)
    QuestionRound(**msgspec.structs.asdict(found), sessions=sessions, more=found.wants_more).write(output)


if __name__ == "__main__":
    run(main)
