"""Check the controls: cells whose class is known beforehand. Exit 1 where one came out otherwise."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import DataError, run_command
from scripts.records.grid import Grid
from scripts.report.controls import as_json, failed, read_controls
from scripts.report.entries import read_entries


def main() -> None:
    """Parse arguments, read the controls, write controls.json, fail where one came out otherwise."""
    parser = argparse.ArgumentParser(prog="python -m scripts.check_controls", description=__doc__)
    parser.add_argument("--grid", type=Path, required=True, help="the grid.json that names the controls")
    parser.add_argument("--results", type=Path, required=True, help="folder with cells/")
    parser.add_argument("--table", type=Path, required=True, help="the table.md that make_table wrote")
    parser.add_argument("--output", type=Path, required=True, help="the controls.json to write")
    given = parser.parse_args()
    grid = Grid.read(given.grid)
    if not given.table.exists():
        raise DataError(
            "the file is missing", where=str(given.table), remedy="make the table first: make_table"
        )
    readings = read_controls(grid, read_entries(grid, given.results))
    as_json(readings).write(given.output)
    wrong = failed(readings)
    if wrong:
        said = "; ".join(
            f"{each.cell} should read {' or '.join(each.expect)}, it read {each.found}" for each in wrong
        )
        raise DataError(
            f"a control came out otherwise: {said}",
            where=str(given.table),
            remedy="the table says so at its top; do not rely on it until the control reads right",
        )


if __name__ == "__main__":
    run_command(main)
