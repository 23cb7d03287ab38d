"""Check the controls: cells whose class is known beforehand. Exit 1 where one came out otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import DataError
from scripts.records.grid import Grid
from scripts.report.controls import as_json, failed, read_controls
from scripts.report.entries import read_entries


def main(
    *,
    grid: Annotated[Path, "the grid.json that names the controls"],
    results: Annotated[Path, "folder with cells/"],
    table: Annotated[Path, "the table.md that make_table wrote"],
    output: Annotated[Path, "the controls.json to write"],
) -> None:
    """Read the controls, write controls.json, fail where one came out otherwise."""
    made = Grid.read(grid)
    if not table.exists():
        raise DataError("the file is missing", where=str(table), remedy="make the table first: make_table")
    readings = read_controls(made, read_entries(made, results))
    as_json(readings).write(output)
    wrong = failed(readings)
    if wrong:
        said = "; ".join(
            f"{each.cell} should read {' or '.join(each.expect)}, it read {each.found}" for each in wrong
        )
        raise DataError(
            f"a control came out otherwise: {said}",
            where=str(table),
            remedy="the table says so at its top; do not rely on it until the control reads right",
        )


if __name__ == "__main__":
    run(main)
