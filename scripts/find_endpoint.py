"""Find out what an endpoint is that already runs, and write its record. The key comes from TEMPZERO_API_KEY."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import run_command
from scripts.engines.external import find_interface


def main() -> None:
    """Parse arguments, ask, write the record."""
    parser = argparse.ArgumentParser(prog="python -m scripts.find_endpoint", description=__doc__)
    parser.add_argument(
        "engine", metavar="ENGINE", help="an engine of config/engines.yaml with the runtime external"
    )
    parser.add_argument("--endpoint", required=True, help="its address: http://127.0.0.1:8000/v1")
    parser.add_argument("--model", help="the model it is asked for (default: the first that it names)")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the record to write")
    given = parser.parse_args()
    find_interface(given.engine, given.endpoint, given.model).write(given.output)


if __name__ == "__main__":
    run_command(main)
