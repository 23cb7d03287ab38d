"""Make a quant from its bf16 sister by the recipe model-free-ptq: llm-compressor, locked by envs/quantise.lock."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from scripts.common.errors import run_command
from scripts.provenance.inside import enter_environment
from scripts.quants.command import quant_parser
from scripts.quants.model_free import build_model_free
from scripts.quants.room import check_room

LOCK = Path("envs/quantise.lock")


def main() -> None:
    """The command."""
    parser = quant_parser("quantise_weights", __doc__)
    parser.add_argument(
        "--runtime",
        choices=("process", "docker", "inside"),
        default="process",
        help="process: in the lock's environment; docker: in a container of its image; inside: in this Python",
    )
    given = parser.parse_args()
    if given.runtime != "inside":
        check_room(given.model, given.precision, given.entry, given.output, gpus=given.gpus)
    if given.runtime == "docker":
        from scripts.quants.in_container import quantise_in_container

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the container ends too
        quantise_in_container(given.model, given.precision, given.entry, given.output)
        return
    if given.runtime == "process":
        enter_environment(LOCK, "scripts.quantise_weights")
    build_model_free(given.model, given.precision, given.entry, given.output)


if __name__ == "__main__":
    run_command(main)
