"""Draw the figure of a reference table from its packed files.

python -m scripts.draw_reference results/reference/hopper
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from scripts.archive.figure import draw_figure, read_summaries
from scripts.archive.reference import unpack_reference
from scripts.common.command import run

FIGURE = "figure.svg"


def main(folder: Annotated[Path, "results/reference/NAME"], /) -> None:
    """Unpack aside, draw."""
    with tempfile.TemporaryDirectory(prefix="tempzero-reference-") as name:
        unpack_reference(folder, Path(name))
        draw_figure(read_summaries(Path(name)), folder / FIGURE)
    print(folder / FIGURE)


if __name__ == "__main__":
    run(main)
