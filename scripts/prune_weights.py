"""Prune the experts of one precision by the recipe reap of config/models.yaml, and write its manifest."""

from __future__ import annotations

from scripts.common.errors import run_command
from scripts.quants.command import quant_parser
from scripts.quants.prune import build_pruned
from scripts.quants.room import check_room


def main() -> None:
    """The command."""
    given = quant_parser("prune_weights", __doc__).parse_args()
    check_room(given.model, given.precision, given.entry, given.output, gpus=given.gpus)
    build_pruned(given.model, given.precision, given.entry, given.output)


if __name__ == "__main__":
    run_command(main)
