"""Draw a checkpoint with random weights from a seed: the recipe random of config/models.yaml."""

from __future__ import annotations

from scripts.common.errors import run_command
from scripts.quants.command import quant_parser
from scripts.quants.random_weights import build_random
from scripts.quants.room import check_room


def main() -> None:
    """The command."""
    given = quant_parser("draw_weights", __doc__).parse_args()
    check_room(given.model, given.precision, given.entry, given.output, gpus=given.gpus)
    build_random(given.model, given.precision, given.entry, given.output)


if __name__ == "__main__":
    run_command(main)
