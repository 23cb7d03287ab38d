"""Bring a quant that exists elsewhere: pulled from a hub (in the environment of envs/hub.lock), or from a folder."""

from __future__ import annotations

from pathlib import Path

from scripts.common.command import run
from scripts.provenance.inside import enter_environment
from scripts.quants.command import Entry, Gpus, Output, gpu_counts
from scripts.quants.fetch import fetch_quant
from scripts.quants.room import check_room

LOCK = Path("envs/hub.lock")


def main(model: str, precision: str, /, *, entry: Entry, output: Output, gpus: Gpus = "0") -> None:
    """Bring it."""
    check_room(model, precision, entry, output, gpus=gpu_counts(gpus))
    if entry.repository:
        enter_environment(LOCK, "scripts.fetch_weights")
    fetch_quant(model, precision, entry, output)


if __name__ == "__main__":
    run(main)
