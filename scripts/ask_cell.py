"""Ask a cell: whether its sessions so far answer its question, or another one is needed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scripts.common.errors import run_command
from scripts.common.files import write_json
from scripts.verdict.question import wants_more
from scripts.verdict.summary import look


def main() -> None:
    """Parse arguments, look at the sessions, write the answer."""
    parser = argparse.ArgumentParser(prog="python -m scripts.ask_cell", description=__doc__)
    parser.add_argument("cell", type=Path, metavar="CELL_DIR", help="folder with session-00, session-01, …")
    parser.add_argument("--sessions", type=int, required=True, metavar="N", help="how many of them count")
    parser.add_argument(
        "--question", type=json.loads, required=True, metavar="JSON", help="as results/grid.json has it"
    )
    parser.add_argument("--output", type=Path, required=True, help="the question/round-NN.json to write")
    given = parser.parse_args()
    found = look(given.cell, given.question, given.sessions)
    write_json(given.output, {**found, "sessions": given.sessions, "more": wants_more(found)})


if __name__ == "__main__":
    run_command(main)
