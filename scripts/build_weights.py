"""Build one quant by the recipe in config/models.yaml; run it with the Python of the recipe's environment."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scripts.common.errors import run_command
from scripts.quants.build import build_quant
from scripts.quants.room import check_room


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("precision")
    parser.add_argument(
        "--entry", type=json.loads, required=True, help="the precision's entry in models.yaml, as JSON"
    )
    parser.add_argument("--output", type=Path, required=True, help="manifest.json in the quant's folder")
    parser.add_argument("--gpus", type=int, default=0, help="how many GPUs are to serve it together")
    arguments = parser.parse_args()
    check_room(arguments.model, arguments.precision, arguments.entry, arguments.output, gpus=arguments.gpus)
    build_quant(arguments.model, arguments.precision, arguments.entry, arguments.output)


if __name__ == "__main__":
    run_command(main)
