"""Freeze a result as a baseline for python -m scripts.check: the ids and hashes of its replays, in one small file.

    python -m scripts.freeze results/provenance.zip baseline.json

RESULT is a cell's folder, a folder with results/cells, a provenance.zip (of somebody else too: judge it first by python
-m scripts.verify_archive) or a folder of results/reference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.words import count
from scripts.comparison.baseline import freeze


def main(
    result: Annotated[Path, "what is frozen"], baseline: Annotated[Path, "the file that is written"], /
) -> None:
    """Freeze it."""
    found = freeze(result)
    found.write(baseline)
    print(f"{baseline}: {count(len(found.cells), 'cell')}, {baseline.stat().st_size:,} bytes")


if __name__ == "__main__":
    run(main)
