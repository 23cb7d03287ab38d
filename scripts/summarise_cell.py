"""Summarise a cell: read its sessions' transcripts and logprobs, write cell.json."""

from __future__ import annotations

import argparse
import gc
from pathlib import Path

from scripts.common.errors import run_command
from scripts.verdict.classes import FIRST_BLOCK, TIE_MARGIN
from scripts.verdict.question import parse_question
from scripts.verdict.summary import summarise


def main() -> None:
    """Parse arguments, summarise, write."""
    parser = argparse.ArgumentParser(prog="python -m scripts.summarise_cell", description=__doc__)
    parser.add_argument("cell", type=Path, metavar="CELL_DIR", help="folder with session-00, session-01, …")
    parser.add_argument("--output", type=Path, required=True, help="the cell.json to write")
    parser.add_argument(
        "--first-block", type=int, default=FIRST_BLOCK, help="tokens of a first block (default: %(default)s)"
    )
    parser.add_argument(
        "--tie-margin",
        type=float,
        default=TIE_MARGIN,
        help="margin of a near-tie, nat (default: %(default)s)",
    )
    parser.add_argument(
        "--question",
        type=parse_question,
        metavar="JSON",
        help="what the cell is asked, as results/grid.json has it",
    )
    parser.add_argument(
        "--sessions",
        type=int,
        metavar="N",
        help="only the first N sessions count (default: all that are there)",
    )
    given = parser.parse_args()
    gc.disable()  # what is parsed holds no cycles; looking for some takes an eighth of the time
    found = summarise(
        given.cell,
        first_block=given.first_block,
        tie_margin=given.tie_margin,
        asked=given.question,
        count=given.sessions,
    )
    found.write(given.output)


if __name__ == "__main__":
    run_command(main)
