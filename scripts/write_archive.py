"""Write results/provenance.zip: the grid's results, how they came about, and the code that judges them."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.archive.write import write_archive
from scripts.common.errors import run_command


def main() -> None:
    """Parse arguments, check, pack."""
    parser = argparse.ArgumentParser(prog="python -m scripts.write_archive", description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="the zip to write, of the grid that results/grid.json records",
    )
    given = parser.parse_args()
    digest = write_archive(Path(), given.output)
    print(f"{given.output}: {given.output.stat().st_size:,} bytes, sha256 {digest}")
    print("name this sha256 in what you publish: it tells the archive from any other")


if __name__ == "__main__":
    run_command(main)
