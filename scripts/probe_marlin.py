"""Probe Marlin's MoE product on this GPU: how many distinct results one input gives, by shape and number of tokens.

Run it with the Python of a vLLM with CUDA: .envs/vllm-cuda-…/bin/python -m scripts.probe_marlin --output probe.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.files import write_json

TOKENS = (1, 8, 32, 64, 120, 127, 128, 160, 256, 512, 1024)
SHAPES = ["64,8,2048,768", "64,2,2048,768", "64,1,2048,768", "1,1,2048,768", "8,2,256,256", "128,8,4096,1536"]


def main(
    *,
    shape: Annotated[
        list[str] | None, f"a layer, EXPERTS,TOP_K,HIDDEN,WIDTH (default: {' '.join(SHAPES)})"
    ] = None,
    tokens: Annotated[tuple[int, ...], "tokens of the input"] = TOKENS,
    calls: Annotated[int, "calls with each input (default: 100)"] = 100,
    seed: Annotated[int, "of the inputs"] = 1,
    output: Annotated[Path, "the rows, as JSON"],
) -> None:
    """Probe it."""
    import torch

    from scripts.engines.marlin_probe import Shape, probe

    shapes = [Shape(*map(int, text.split(","))) for text in shape or SHAPES]
    rows = probe(shapes, tokens, calls=calls, seed=seed)
    write_json(output, {"gpu": torch.cuda.get_device_name(), "rows": rows})
    for row in rows:
        print(" ".join(f"{key}={value}" for key, value in row.items()))


if __name__ == "__main__":
    run(main)
