"""Make a page of ablations: what each change of one deployment's settings does to its bits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import DataError, nearest
from scripts.common.files import write_whole
from scripts.records.grid import Grid
from scripts.report.ablation import ablations_of, make_page


def main(
    *,
    grid: Annotated[Path, "the grid.json that lists ablations"],
    results: Annotated[Path, "folder with cells/"],
    model: Annotated[str, "of the ablations that go on the page"],
    precision: Annotated[str, "of the ablations that go on the page"],
    engine: Annotated[str, "of the ablations that go on the page"],
    output: Annotated[Path, "the page to write, Markdown"],
) -> None:
    """Read, write."""
    key = (model, precision, engine)
    made = Grid.read(grid)
    if not ablations_of(made, key):
        known = {f"{each.model}/{each.precision}/{each.engine}" for each in made.ablations}
        raise DataError(
            f"the grid has no ablation of {'/'.join(key)}",
            where=str(grid),
            remedy=nearest("/".join(key), known),
        )
    write_whole(output, make_page(made, results, key))


if __name__ == "__main__":
    run(main)
