"""Make results/near-ties.md and its figure: the chance of a flip against the margin, and what a flip costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.records.grid import Grid
from scripts.report.near_ties import write_near_ties


def main(
    *,
    grid: Annotated[Path, "the grid.json that names the cells"],
    results: Annotated[Path, "folder with cells/"],
    output: Annotated[Path, "the page to write, Markdown; the figure is NAME.svg beside it"],
) -> None:
    """Read, draw, write."""
    write_near_ties(Grid.read(grid), results, output)


if __name__ == "__main__":
    run(main)
