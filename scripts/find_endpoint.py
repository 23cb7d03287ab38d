"""Find out what an endpoint is that already runs, and write its record. The key comes from TEMPZERO_API_KEY."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.engines.abilities import describe
from scripts.engines.external import find_interface


def main(
    engine: Annotated[str, "an engine of config/engines.yaml with the runtime external"],
    /,
    *,
    endpoint: Annotated[str, "its address: http://127.0.0.1:8000/v1"],
    model: Annotated[str | None, "the model it is asked for (default: the first that it names)"] = None,
    output: Annotated[Path, "the record to write"],
) -> None:
    """Ask, say what can be asked, write the record."""
    record = find_interface(engine, endpoint, model)
    print(
        f"What can be asked of {record.model} at {endpoint}:\n{describe(record.abilities or {})}",
        file=sys.stderr,
    )
    record.write(output)


if __name__ == "__main__":
    run(main)
