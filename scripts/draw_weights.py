"""Draw a checkpoint with random weights from a seed: the recipe random of config/models.yaml."""

from __future__ import annotations

from scripts.common.command import run
from scripts.quants.command import Entry, Gpus, Output, gpu_counts
from scripts.quants.random_weights import build_random
from scripts.quants.room import check_room


def main(model: str, precision: str, /, *, entry: Entry, output: Output, gpus: Gpus = "0") -> None:
    """Draw it."""
    check_room(model, precision, entry, output, gpus=gpu_counts(gpus))
    build_random(model, precision, entry, output)


if __name__ == "__main__":
    run(main)
