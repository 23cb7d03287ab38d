"""Pack the grid that was made, results/grid.json, as a reference table: results/reference/NAME.

python -m scripts.pack_reference results/reference/hopper
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.archive.reference import pack_reference
from scripts.common.errors import run_command


def main() -> None:
    """Parse arguments and pack."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.pack_reference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="results/reference/NAME")
    parser.add_argument("--root", type=Path, default=Path(), help="where results/ lies (default: here)")
    given = parser.parse_args()
    size = pack_reference(given.root, given.folder)
    print(f"{given.folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main)
