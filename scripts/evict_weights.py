"""Delete the weights of a quant that no cell needs any more, and keep their manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.quants.evict import evict_quant


def main(
    folder: Annotated[Path, "results/quants/MODEL/PRECISION"],
    /,
    *,
    output: Annotated[Path, "where it is said that they are gone"],
) -> None:
    """Delete them."""
    evict_quant(folder, output)


if __name__ == "__main__":
    run(main)
