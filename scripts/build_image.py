"""Build the image of an engine from its folder of containers/, and write the engine's record."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import ConfigError, run_command
from scripts.common.files import write_json
from scripts.create_env import engine_entry
from scripts.provenance.images import build_image


def main() -> None:
    """Parse arguments, build, write the record."""
    parser = argparse.ArgumentParser(prog="python -m scripts.build_image", description=__doc__)
    parser.add_argument("engine", metavar="ENGINE", help="an engine of config/engines.yaml")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the record to write")
    given = parser.parse_args()
    entry = engine_entry(given.engine)
    if "build" not in entry:
        raise ConfigError(f"{given.engine} has no build", where="config/engines.yaml")
    write_json(given.output, build_image(given.engine, entry))


if __name__ == "__main__":
    run_command(main)
