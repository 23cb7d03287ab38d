"""Make results/reap.md: pruned experts at more bits against all experts at fewer, paired by question."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import run_command
from scripts.common.files import write_whole
from scripts.records.grid import Grid
from scripts.report.reap import make_reap


def main() -> None:
    """Parse arguments, read, write."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_reap", description=__doc__)
    parser.add_argument("--grid", type=Path, required=True, help="the grid.json that names the cells")
    parser.add_argument("--results", type=Path, required=True, help="folder with cells/ and quants/")
    parser.add_argument(
        "--workloads", type=Path, required=True, help="folder with the workloads: config/workloads"
    )
    parser.add_argument("--output", type=Path, required=True, help="the page to write, Markdown")
    given = parser.parse_args()
    write_whole(given.output, make_reap(Grid.read(given.grid), given.results, given.workloads))


if __name__ == "__main__":
    run_command(main)
