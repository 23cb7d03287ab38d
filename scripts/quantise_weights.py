"""Make a quant from its bf16 sister by the recipe model-free-ptq: llm-compressor, locked by envs/quantise.lock."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from scripts.common.command import run
from scripts.provenance.devices import hold_gpus
from scripts.provenance.gpus import visible_gpus
from scripts.provenance.inside import enter_environment
from scripts.quants.command import Entry, Gpus, Output, gpu_counts
from scripts.quants.model_free import build_model_free
from scripts.quants.room import check_room

LOCK = Path("envs/quantise.lock")


def main(
    model: str,
    precision: str,
    /,
    *,
    entry: Entry,
    output: Output,
    gpus: Gpus = "0",
    runtime: Annotated[
        Literal["process", "docker", "inside"],
        "process: in the lock's environment; docker: in a container of its image; inside: in this Python",
    ] = "process",
) -> None:
    """Quantise it."""
    if runtime != "inside":
        check_room(model, precision, entry, output, gpus=gpu_counts(gpus))
    if runtime == "docker":
        from scripts.quants.in_container import quantise_in_container

        quantise_in_container(model, precision, entry, output)
        return
    if runtime == "process":
        enter_environment(LOCK, "scripts.quantise_weights")
    with hold_gpus(min(1, len(visible_gpus())), f"{model} in {precision}"):
        build_model_free(model, precision, entry, output)


if __name__ == "__main__":
    run(main)
