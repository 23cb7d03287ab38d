"""Pack the grid that was made, results/grid.json, as a reference table: results/reference/NAME.

python -m scripts.pack_reference results/reference/hopper
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.archive.contents import GRID
from scripts.archive.costs import describe_costs
from scripts.archive.reference import pack_reference
from scripts.common.command import run
from scripts.records.grid import Grid


def main(
    folder: Annotated[Path, "results/reference/NAME"],
    /,
    *,
    root: Annotated[Path, "where results/ lies (default: here)"] = Path(),
) -> None:
    """Pack it."""
    size = pack_reference(root, folder)
    print(f"{folder}: {size / 1e6:.1f} MB")
    print(describe_costs(root, Grid.read(root / GRID)))


if __name__ == "__main__":
    run(main)
