"""The pairs of cells that a grid names, side by side: a page for each first cell, and how far the second is from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.comparison.along import as_deployed
from scripts.comparison.cells import IncomparableError, along_one_trajectory, compare_cells, read_side
from scripts.comparison.page import render_pairs
from scripts.records.comparison import Along, Comparison
from scripts.records.grid import Grid


@dataclass(frozen=True)
class Distance:
    """How far a cell is from another one, whose trajectory it was fed: `source`, the other one's path."""

    source: str
    mode: str
    along: Along


def make_page(grid: Grid, results: Path, page: str) -> str:
    """A page of results/compare/, by its path from the root. DataError where a file is missing or torn."""
    found: list[Comparison] = []
    refused: dict[str, str] = {}
    for pair in grid.compared[page]:
        folders = [results / "cells" / path for path in pair]
        if grid.partial and not all(any(each.glob("session-*/session.json")) for each in folders):
            refused[" and ".join(pair)] = "one of them was not run"
            continue
        try:
            found.append(compare_cells(*(read_side(*each) for each in zip(pair, folders, strict=True))))
        except IncomparableError as error:
            refused[" and ".join(pair)] = error.what
    return render_pairs(grid.heading, found, refused)


def distances(grid: Grid, results: Path) -> dict[str, Distance]:
    """By the path of a cell, how far it is from the first of those that the grid sets it beside and whose trajectory it
    was fed."""
    found: dict[str, Distance] = {}
    for one, other in grid.compare:
        modes, _ = along_one_trajectory(results / "cells" / one, results / "cells" / other)
        if other not in found and (near := as_deployed(modes)) is not None:
            found[other] = Distance(one, *near)
    return found
