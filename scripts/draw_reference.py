"""Draw the figure of a reference table from its packed files.

python -m scripts.draw_reference results/reference/hopper
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from scripts.archive.figure import draw_figure, read_summaries
from scripts.archive.reference import unpack_reference
from scripts.common.errors import run_command

FIGURE = "figure.svg"


def main() -> None:
    """Parse arguments, unpack aside, draw."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.draw_reference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="results/reference/NAME")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tempzero-reference-") as name:
        unpack_reference(given.folder, Path(name))
        draw_figure(read_summaries(Path(name)), given.folder / FIGURE)
    print(given.folder / FIGURE)


if __name__ == "__main__":
    run_command(main)
