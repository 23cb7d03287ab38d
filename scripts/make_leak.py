"""Make results/leak.md: what a leaky harness does to the same cells, and which bytes of which tool leaked first."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import run_command
from scripts.common.files import write_whole
from scripts.records.grid import Grid
from scripts.report.leak import make_leak


def main() -> None:
    """Parse arguments, read, write."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_leak", description=__doc__)
    parser.add_argument("--grid", type=Path, required=True, help="the grid.json that names the cells")
    parser.add_argument("--results", type=Path, required=True, help="folder with cells/")
    parser.add_argument("--output", type=Path, required=True, help="the page to write, Markdown")
    given = parser.parse_args()
    write_whole(given.output, make_leak(Grid.read(given.grid), given.results))


if __name__ == "__main__":
    run_command(main)
