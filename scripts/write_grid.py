"""Write results/grid.json: the merged configuration and the cells that the table shows, in the order of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import ConfigError
from scripts.grid.configuration import load_configuration
from scripts.grid.describe import grid_record
from scripts.grid.resolve import resolve_cells


def main(
    *,
    grid: Annotated[str, "a file of config/grids/, without .yaml"],
    why: Annotated[str | None, "why this grid, for the table's heading"] = None,
    set_: Annotated[
        list[str] | None, "KEY=VALUE: a key of config.yaml given otherwise; again for each"
    ] = None,
    output: Annotated[Path, "the record to write"],
) -> None:
    """Write the record."""
    overrides = {"grid": grid, **dict(_setting(text) for text in set_ or ())}
    configuration = load_configuration(Path(), overrides, why=why)
    grid_record(configuration, resolve_cells(configuration)).write(output)


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{text!r} is no KEY=VALUE", where="--set")
    return key, value


if __name__ == "__main__":
    run(main)
