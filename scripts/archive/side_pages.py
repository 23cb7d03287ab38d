"""The pages beside a table, each with what makes it from the cells: ablations, cells side by side, side tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.archive.contents import NEAR_TIES, NEAR_TIES_FIGURE, WARM, ablation_keys, page_file
from scripts.common.files import write_whole
from scripts.comparison.pairs import make_page as make_compared
from scripts.records.grid import Grid
from scripts.report.ablation import make_page
from scripts.report.near_ties import write_near_ties
from scripts.report.warm import make_warm


@dataclass(frozen=True)
class SidePage:
    """`names`: a page and its figure, if it has one, from the root. `write` makes both, given the page's path."""

    names: tuple[str, ...]
    write: Callable[[Path], None]


def side_pages(grid: Grid, results: Path, made: Callable[[str], bool]) -> Iterator[SidePage]:
    """All pages beside the table of the cells under `results`; of side tables those that `made` says are there."""
    for key in ablation_keys(grid):
        yield SidePage((page_file(key),), partial(_write, partial(make_page, grid, results, key)))
    for name in grid.compared:
        yield SidePage((name,), partial(_write, partial(make_compared, grid, results, name)))
    if made(WARM):
        yield SidePage((WARM,), partial(_write, partial(make_warm, grid, results)))
    if made(NEAR_TIES):
        yield SidePage((NEAR_TIES, NEAR_TIES_FIGURE), partial(write_near_ties, grid, results))


def _write(make: Callable[[], str], target: Path) -> None:
    write_whole(target, make())
