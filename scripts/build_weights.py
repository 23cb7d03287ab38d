"""Build one quant by the recipe in config/models.yaml; run it with the Python of the recipe's environment."""

from __future__ import annotations

from typing import Annotated, Literal

from scripts.common.command import run
from scripts.quants.build import Quantiser, build_quant, quantise_here
from scripts.quants.command import Entry, Gpus, Output, gpu_counts
from scripts.quants.room import check_room


def main(
    model: str,
    precision: str,
    /,
    *,
    entry: Entry,
    output: Output,
    gpus: Gpus = "0",
    runtime: Annotated[
        Literal["process", "docker"],
        "process: llama.cpp's quantiser is that of this Python; docker: that of an image",
    ] = "process",
) -> None:
    """Build it."""
    check_room(model, precision, entry, output, gpus=gpu_counts(gpus))
    quantiser: Quantiser = quantise_here
    if runtime == "docker":
        from scripts.quants.in_container import LlamaQuantize

        quantiser = LlamaQuantize()
    build_quant(model, precision, entry, output, quantiser=quantiser)


if __name__ == "__main__":
    run(main)
