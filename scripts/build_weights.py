"""Build one quant by the recipe in config/models.yaml; run it with the Python of the recipe's environment."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from scripts.common.errors import run_command
from scripts.quants.build import Quantiser, build_quant, quantise_here
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
    parser.add_argument(
        "--runtime",
        choices=("process", "docker"),
        default="process",
        help="process: llama.cpp's quantiser is that of this Python; docker: that of an image",
    )
    arguments = parser.parse_args()
    check_room(arguments.model, arguments.precision, arguments.entry, arguments.output, gpus=arguments.gpus)
    quantiser: Quantiser = quantise_here
    if arguments.runtime == "docker":
        from scripts.quants.in_container import LlamaQuantize

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the container ends too
        quantiser = LlamaQuantize()
    build_quant(arguments.model, arguments.precision, arguments.entry, arguments.output, quantiser=quantiser)


if __name__ == "__main__":
    run_command(main)
