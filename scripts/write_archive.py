"""Write results/provenance.zip: the grid's results, how they came about, and the code that judges them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.archive.write import write_archive
from scripts.common.command import run


def main(*, output: Annotated[Path, "the zip to write, of the grid that results/grid.json records"]) -> None:
    """Check, pack."""
    digest = write_archive(Path(), output)
    print(f"{output}: {output.stat().st_size:,} bytes, sha256 {digest}")
    print("name this sha256 in what you publish: it tells the archive from any other")


if __name__ == "__main__":
    run(main)
