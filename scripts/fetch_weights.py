"""Bring a quant that exists elsewhere: pulled from a hub (in the environment of envs/hub.lock), or from a folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scripts.common.errors import run_command
from scripts.provenance.inside import enter_environment
from scripts.quants.fetch import fetch_quant
from scripts.quants.room import check_room

LOCK = Path("envs/hub.lock")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m scripts.fetch_weights", description=__doc__)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("precision", metavar="PRECISION")
    parser.add_argument(
        "--entry", type=json.loads, required=True, help="the precision's entry in models.yaml, as JSON"
    )
    parser.add_argument("--output", type=Path, required=True, help="manifest.json in the quant's folder")
    parser.add_argument("--gpus", type=int, default=0, help="how many GPUs are to serve it together")
    given = parser.parse_args()
    check_room(given.model, given.precision, given.entry, given.output, gpus=given.gpus)
    if "repository" in given.entry:
        enter_environment(LOCK, "scripts.fetch_weights")
    fetch_quant(given.model, given.precision, given.entry, given.output)


if __name__ == "__main__":
    run_command(main)
