"""Make a page of ablations: what each change of one deployment's settings does to its bits."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import DataError, nearest, run_command
from scripts.common.files import write_whole
from scripts.records.grid import Grid
from scripts.report.ablation import ablations_of, make_page


def main() -> None:
    """Parse arguments, read, write."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_ablation", description=__doc__)
    parser.add_argument("--grid", type=Path, required=True, help="the grid.json that lists ablations")
    parser.add_argument("--results", type=Path, required=True, help="folder with cells/")
    parser.add_argument("--model", required=True, help="of the ablations that go on the page")
    parser.add_argument("--precision", required=True, help="of the ablations that go on the page")
    parser.add_argument("--engine", required=True, help="of the ablations that go on the page")
    parser.add_argument("--output", type=Path, required=True, help="the page to write, Markdown")
    given = parser.parse_args()
    key = (given.model, given.precision, given.engine)
    grid = Grid.read(given.grid)
    if not ablations_of(grid, key):
        known = {f"{each.model}/{each.precision}/{each.engine}" for each in grid.ablations}
        raise DataError(
            f"the grid has no ablation of {'/'.join(key)}",
            where=str(given.grid),
            remedy=nearest("/".join(key), known),
        )
    write_whole(given.output, make_page(grid, given.results, key))


if __name__ == "__main__":
    run_command(main)
