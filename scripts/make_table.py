"""Make the table: results/table.md for people, results/table.csv with every figure in full precision."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.files import write_whole
from scripts.records.grid import Grid
from scripts.report.controls import read_controls
from scripts.report.entries import read_entries
from scripts.report.frames import everything
from scripts.report.page import render_page


def main(
    *,
    grid: Annotated[Path, "the grid.json that names the cells"],
    results: Annotated[Path, "folder with cells/ and quants/"],
    output: Annotated[Path, "the table.md to write"],
    csv: Annotated[Path, "the table.csv to write"],
) -> None:
    """Read, write."""
    made = Grid.read(grid)
    entries = read_entries(made, results)
    page = render_page(made, entries, read_controls(made, entries))
    write_whole(csv, everything(entries).to_csv(index=False, lineterminator="\n"))
    write_whole(output, page)


if __name__ == "__main__":
    run(main)
