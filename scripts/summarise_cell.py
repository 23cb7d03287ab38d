"""Summarise a cell: read its sessions' transcripts and logprobs, write cell.json."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.records.question import QuestionAsked
from scripts.verdict.classes import FIRST_BLOCK, TIE_MARGIN
from scripts.verdict.summary import judge


def main(
    cell: Annotated[Path, "folder with session-00, session-01, …"],
    /,
    *,
    output: Annotated[Path, "the cell.json to write"],
    first_block: Annotated[int, f"tokens of a first block (default: {FIRST_BLOCK})"] = FIRST_BLOCK,
    tie_margin: Annotated[float, f"margin of a near-tie, nat (default: {TIE_MARGIN})"] = TIE_MARGIN,
    question: Annotated[QuestionAsked | None, "what the cell is asked, as results/grid.json has it"] = None,
    sessions: Annotated[int | None, "only the first so many count (default: all that are there)"] = None,
) -> None:
    """Summarise, write."""
    gc.disable()  # what is parsed holds no cycles; looking for some takes an eighth of the time
    found = judge(cell, first_block=first_block, tie_margin=tie_margin, asked=question, count=sessions)
    found.write(output)


if __name__ == "__main__":
    run(main)
