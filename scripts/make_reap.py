"""Make results/reap.md: pruned experts at more bits against all experts at fewer, paired by question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.files import write_whole
from scripts.records.grid import Grid
from scripts.report.reap import make_reap


def main(
    *,
    grid: Annotated[Path, "the grid.json that names the cells"],
    results: Annotated[Path, "folder with cells/ and quants/"],
    workloads: Annotated[Path, "folder with the workloads: config/workloads"],
    output: Annotated[Path, "the page to write, Markdown"],
) -> None:
    """Read, write."""
    write_whole(output, make_reap(Grid.read(grid), results, workloads))


if __name__ == "__main__":
    run(main)
