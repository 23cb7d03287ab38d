"""Bring a quant that exists elsewhere: pulled from a hub (in the environment of envs/hub.lock), or from a folder."""

from __future__ import annotations

from pathlib import Path

from scripts.common.errors import run_command
from scripts.provenance.inside import enter_environment
from scripts.quants.command import quant_parser
from scripts.quants.fetch import fetch_quant
from scripts.quants.room import check_room

LOCK = Path("envs/hub.lock")


def main() -> None:
    """The command."""
    given = quant_parser("fetch_weights", __doc__).parse_args()
    check_room(given.model, given.precision, given.entry, given.output, gpus=given.gpus)
    if given.entry.repository:
        enter_environment(LOCK, "scripts.fetch_weights")
    fetch_quant(given.model, given.precision, given.entry, given.output)


if __name__ == "__main__":
    run_command(main)
