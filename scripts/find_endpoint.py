"""Find out what an endpoint is that already runs, and write its record. The key comes from TEMPZERO_API_KEY."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.engines.external import find_interface


def main(
    engine: Annotated[str, "an engine of config/engines.yaml with the runtime external"],
    /,
    *,
    endpoint: Annotated[str, "its address: http://127.0.0.1:8000/v1"],
    model: Annotated[str | None, "the model it is asked for (default: the first that it names)"] = None,
    output: Annotated[Path, "the record to write"],
) -> None:
    """Ask, write the record."""
    find_interface(engine, endpoint, model).write(output)


if __name__ == "__main__":
    run(main)
