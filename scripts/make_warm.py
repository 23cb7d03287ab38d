"""Make results/warm.md: cold first answers against their warm repeats, and against cells without a prefix cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.files import write_whole
from scripts.records.grid import Grid
from scripts.report.warm import make_warm


def main(
    *,
    grid: Annotated[Path, "the grid.json that names the cells"],
    results: Annotated[Path, "folder with cells/"],
    output: Annotated[Path, "the page to write, Markdown"],
) -> None:
    """Read, write."""
    write_whole(output, make_warm(Grid.read(grid), results))


if __name__ == "__main__":
    run(main)
