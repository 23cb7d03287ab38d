"""Prune the experts of one precision by the recipe reap of config/models.yaml, and write its manifest."""

from __future__ import annotations

from scripts.common.command import run
from scripts.quants.command import Entry, Gpus, Output, gpu_counts
from scripts.quants.prune import build_pruned
from scripts.quants.room import check_room


def main(model: str, precision: str, /, *, entry: Entry, output: Output, gpus: Gpus = "0") -> None:
    """Prune it."""
    check_room(model, precision, entry, output, gpus=gpu_counts(gpus))
    build_pruned(model, precision, entry, output)


if __name__ == "__main__":
    run(main)
