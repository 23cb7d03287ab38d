"""Delete the weights of a quant that no cell needs any more, and keep their manifest."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import run_command
from scripts.quants.evict import evict_quant


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m scripts.evict_weights", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="results/quants/MODEL/PRECISION")
    parser.add_argument("--output", type=Path, required=True, help="where it is said that they are gone")
    given = parser.parse_args()
    evict_quant(given.folder, given.output)


if __name__ == "__main__":
    run_command(main)
