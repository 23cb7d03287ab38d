"""Make a page of results/compare/: a cell beside those that the grid's key `compare` pairs it with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import ConfigError, nearest
from scripts.common.files import write_whole
from scripts.comparison.pairs import make_page
from scripts.records.grid import Grid


def main(
    *,
    grid: Annotated[Path, "the grid.json that names the cells"],
    results: Annotated[Path, "folder with cells/"],
    output: Annotated[Path, "the page to write, Markdown: results/compare/MODEL-PRECISION-ENGINE-VARIANT.md"],
) -> None:
    """Read, write."""
    asked = Grid.read(grid)
    page = next((each for each in asked.compared if Path(each).name == output.name), None)
    if page is None:
        raise ConfigError(
            "the grid names no such pairs", where=str(output), remedy=nearest(output.name, asked.compared)
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, make_page(asked, results, page))


if __name__ == "__main__":
    run(main)
