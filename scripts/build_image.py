"""Build the image of an engine from its folder of containers/, and write the engine's record."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import ConfigError, run_command
from scripts.provenance.entries import ENGINES, engine_entry
from scripts.provenance.images import build_image


def main() -> None:
    """Parse arguments, build, write the record."""
    parser = argparse.ArgumentParser(prog="python -m scripts.build_image", description=__doc__)
    parser.add_argument("engine", metavar="ENGINE", help="an engine of config/engines.yaml")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the record to write")
    given = parser.parse_args()
    entry = engine_entry(given.engine)
    if entry.build is None:
        raise ConfigError(f"{given.engine} has no build", where=str(ENGINES))
    build_image(given.engine, entry).write(given.output)


if __name__ == "__main__":
    run_command(main)
