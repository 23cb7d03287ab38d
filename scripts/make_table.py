"""Make the table: results/table.md for people, results/table.csv with every figure in full precision."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import run_command
from scripts.common.files import write_whole
from scripts.records.grid import Grid
from scripts.report.controls import read_controls
from scripts.report.entries import read_entries
from scripts.report.frames import everything
from scripts.report.page import render_page


def main() -> None:
    """Parse arguments, read, write."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_table", description=__doc__)
    parser.add_argument("--grid", type=Path, required=True, help="the grid.json that names the cells")
    parser.add_argument("--results", type=Path, required=True, help="folder with cells/ and quants/")
    parser.add_argument("--output", type=Path, required=True, help="the table.md to write")
    parser.add_argument("--csv", type=Path, required=True, help="the table.csv to write")
    given = parser.parse_args()
    grid = Grid.read(given.grid)
    entries = read_entries(grid, given.results)
    page = render_page(grid, entries, read_controls(grid, entries))
    write_whole(given.csv, everything(entries).to_csv(index=False, lineterminator="\n"))
    write_whole(given.output, page)


if __name__ == "__main__":
    run_command(main)
