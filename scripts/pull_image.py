"""Pull the image of an engine by its digest, and write the engine's record."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import ConfigError, run_command
from scripts.provenance.entries import ENGINES, engine_entry
from scripts.provenance.images import pull_image


def main() -> None:
    """Parse arguments, pull, write the record."""
    parser = argparse.ArgumentParser(prog="python -m scripts.pull_image", description=__doc__)
    parser.add_argument("engine", metavar="ENGINE", help="an engine of config/engines.yaml")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the record to write")
    parser.add_argument(
        "--needs-gb", type=float, default=0.0, help="GPU memory of the largest quant, 10^9 bytes"
    )
    given = parser.parse_args()
    entry = engine_entry(given.engine)
    if entry.image is None:
        raise ConfigError(f"{given.engine} has no image", where=str(ENGINES))
    pull_image(given.engine, entry, given.needs_gb).write(given.output)


if __name__ == "__main__":
    run_command(main)
