"""Make a page of a curve, and its figure beside it, from the sessions of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.files import write_whole
from scripts.records.sweep import SweepRecord
from scripts.report.curves import draw_curve, make_page


def main(
    sessions: Annotated[tuple[Path, ...], "every sweep.json of the curve"],
    /,
    *,
    output: Annotated[Path, "the page to write, Markdown; the figure is NAME.svg beside it"],
) -> None:
    """Read, draw, write."""
    records = [SweepRecord.read(path) for path in sessions]
    figure = output.with_suffix(".svg")
    draw_curve(records, figure)
    write_whole(output, make_page(records, figure.name))


if __name__ == "__main__":
    run(main)
