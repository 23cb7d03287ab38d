"""Say in a few lines what the cells of a grid read, and where the report is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.records.grid import Grid
from scripts.report.entries import read_entries
from scripts.report.verdict import verdict_lines


def main(
    *,
    grid: Annotated[Path, "the grid.json that names the cells"],
    results: Annotated[Path, "folder with cells/ and quants/"],
) -> None:
    """Read, print."""
    print("\n".join(verdict_lines(read_entries(Grid.read(grid), results), results.as_posix())))


if __name__ == "__main__":
    run(main)
