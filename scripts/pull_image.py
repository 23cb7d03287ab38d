"""Pull the image of an engine by its digest, and write the engine's record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import ConfigError
from scripts.provenance.entries import ENGINES, engine_entry
from scripts.provenance.images import pull_image


def main(
    engine: Annotated[str, "an engine of config/engines.yaml"],
    /,
    *,
    output: Annotated[Path, "the record to write"],
    needs_gb: Annotated[float, "GPU memory of the largest quant, 10^9 bytes"] = 0.0,
) -> None:
    """Pull, write the record."""
    entry = engine_entry(engine)
    if entry.image is None:
        raise ConfigError(f"{engine} has no image", where=str(ENGINES))
    pull_image(engine, entry, needs_gb).write(output)


if __name__ == "__main__":
    run(main)
