"""Make results/report.html: the table and what is behind it, in one page that asks for nothing outside itself."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import DataError
from scripts.common.files import write_whole
from scripts.records.grid import Grid
from scripts.report.controls import read_controls
from scripts.report.entries import read_entries
from scripts.report.web.page import render_report


def main(
    *,
    grid: Annotated[Path, "the grid.json that names the cells"],
    results: Annotated[Path, "folder with cells/ and quants/"],
    page: Annotated[list[Path] | None, "a page in Markdown that becomes a section; again for each"] = None,
    output: Annotated[Path, "the report.html to write"],
) -> None:
    """Read, draw, write."""
    made = Grid.read(grid)
    entries = read_entries(made, results)
    pages = [(path.stem, read_page(path)) for path in page or ()]
    write_whole(output, render_report(made, entries, read_controls(made, entries), results, pages))


def read_page(path: Path) -> str:
    """The text of a page, with the figures that lie beside it inside."""

    def inside(match: re.Match[str]) -> str:
        drawn = base64.b64encode(_read(path.parent / match[1], "figure of the page")).decode()
        return f"(data:image/svg+xml;base64,{drawn})"

    return re.sub(r"(?<=\])\(([\w.-]+\.svg)\)", inside, _read(path, "page").decode())


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"the {what} is missing", where=str(path)) from error


if __name__ == "__main__":
    run(main)
