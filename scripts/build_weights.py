"""Build one quant by the recipe in config/models.yaml; run it with the Python of the recipe's environment."""

from __future__ import annotations

import signal
import sys

from scripts.common.errors import run_command
from scripts.quants.build import Quantiser, build_quant, quantise_here
from scripts.quants.command import quant_parser
from scripts.quants.room import check_room


def main() -> None:
    """The command."""
    parser = quant_parser("build_weights", __doc__)
    parser.add_argument(
        "--runtime",
        choices=("process", "docker"),
        default="process",
        help="process: llama.cpp's quantiser is that of this Python; docker: that of an image",
    )
    given = parser.parse_args()
    check_room(given.model, given.precision, given.entry, given.output, gpus=given.gpus)
    quantiser: Quantiser = quantise_here
    if given.runtime == "docker":
        from scripts.quants.in_container import LlamaQuantize

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the container ends too
        quantiser = LlamaQuantize()
    build_quant(given.model, given.precision, given.entry, given.output, quantiser=quantiser)


if __name__ == "__main__":
    run_command(main)
