"""Ask a cell: whether its sessions so far answer its question, or another one is needed."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from scripts.common.errors import run_command
from scripts.records.question import QuestionRound
from scripts.verdict.question import parse_question
from scripts.verdict.summary import look


def main() -> None:
    """Parse arguments, look at the sessions, write the answer."""
    parser = argparse.ArgumentParser(prog="python -m scripts.ask_cell", description=__doc__)
    parser.add_argument("cell", type=Path, metavar="CELL_DIR", help="folder with session-00, session-01, …")
    parser.add_argument("--sessions", type=int, required=True, metavar="N", help="how many of them count")
    parser.add_argument(
        "--question", type=parse_question, required=True, metavar="JSON", help="as results/grid.json has it"
    )
    parser.add_argument("--output", type=Path, required=True, help="the question/round-NN.json to write")
    given = parser.parse_args()
    found = look(given.cell, given.question, given.sessions)
    looked = QuestionRound(**msgspec.structs.asdict(found), sessions=given.sessions, more=found.wants_more)
    looked.write(given.output)


if __name__ == "__main__":
    run_command(main)
