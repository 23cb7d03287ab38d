"""Make results/report.html: the table and what is behind it, in one page that asks for nothing outside itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import DataError, run_command
from scripts.common.files import write_whole
from scripts.records.grid import Grid
from scripts.report.controls import read_controls
from scripts.report.entries import read_entries
from scripts.report.web.page import render_report


def main() -> None:
    """Parse arguments, read, draw, write."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_report", description=__doc__)
    parser.add_argument("--grid", type=Path, required=True, help="the grid.json that names the cells")
    parser.add_argument("--results", type=Path, required=True, help="folder with cells/ and quants/")
    parser.add_argument(
        "--page",
        type=Path,
        action="append",
        default=[],
        help="a page in Markdown that becomes a section, ablations say; again for each",
    )
    parser.add_argument("--output", type=Path, required=True, help="the report.html to write")
    given = parser.parse_args()
    grid = Grid.read(given.grid)
    entries = read_entries(grid, given.results)
    pages = [(path.stem, _read_page(path)) for path in given.page]
    report = render_report(grid, entries, read_controls(grid, entries), given.results, pages)
    write_whole(given.output, report)


def _read_page(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError("the page is missing", where=str(path)) from error


if __name__ == "__main__":
    run_command(main)
