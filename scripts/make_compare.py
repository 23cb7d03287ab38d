"""Make results/compare.md: the pairs of cells that the grid's key `compare` names, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.files import write_whole
from scripts.comparison.page import render_pairs
from scripts.comparison.results import compare_pairs
from scripts.records.grid import Grid


def main(
    *,
    grid: Annotated[Path, "the grid.json that names the cells"],
    results: Annotated[Path, "folder with cells/"],
    output: Annotated[Path, "the page to write, Markdown"],
) -> None:
    """Read, write."""
    asked = Grid.read(grid)
    write_whole(output, render_pairs(asked.heading, compare_pairs(results / "cells", asked.compare)))


if __name__ == "__main__":
    run(main)
