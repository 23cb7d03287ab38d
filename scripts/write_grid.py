"""Write results/grid.json: the merged configuration and the cells that the table shows, in the order of its rows."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import ConfigError, run_command
from scripts.grid.configuration import load_configuration
from scripts.grid.describe import grid_record
from scripts.grid.resolve import resolve_cells


def main() -> None:
    """Parse arguments and write the record."""
    parser = argparse.ArgumentParser(prog="python -m scripts.write_grid", description=__doc__)
    parser.add_argument(
        "--grid", required=True, metavar="NAME", help="a file of config/grids/, without .yaml"
    )
    parser.add_argument("--why", metavar="TEXT", help="why this grid, for the table's heading")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of config.yaml given otherwise"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the record to write")
    given = parser.parse_args()
    overrides = {"grid": given.grid, **dict(_setting(text) for text in given.set)}
    configuration = load_configuration(Path(), overrides, why=given.why)
    grid_record(configuration, resolve_cells(configuration)).write(given.output)


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{text!r} is no KEY=VALUE", where="--set")
    return key, value


if __name__ == "__main__":
    run_command(main)
