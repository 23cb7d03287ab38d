"""Build the image of an engine from its folder of containers/, and write the engine's record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import ConfigError
from scripts.provenance.entries import ENGINES, engine_entry
from scripts.provenance.images import build_image


def main(
    engine: Annotated[str, "an engine of config/engines.yaml"],
    /,
    *,
    output: Annotated[Path, "the record to write"],
) -> None:
    """Build, write the record."""
    entry = engine_entry(engine)
    if entry.build is None:
        raise ConfigError(f"{engine} has no build", where=str(ENGINES))
    build_image(engine, entry).write(output)


if __name__ == "__main__":
    run(main)
