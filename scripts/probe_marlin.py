"""Probe Marlin's MoE product on this GPU: how many distinct results one input gives, by shape and number of tokens.

Run it with the Python of a vLLM with CUDA: .envs/vllm-cuda-…/bin/python -m scripts.probe_marlin --output probe.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import run_command
from scripts.common.files import write_json

TOKENS = [1, 8, 32, 64, 120, 127, 128, 160, 256, 512, 1024]
SHAPES = ["64,8,2048,768", "64,2,2048,768", "64,1,2048,768", "1,1,2048,768", "8,2,256,256", "128,8,4096,1536"]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shape",
        action="append",
        metavar="EXPERTS,TOP_K,HIDDEN,WIDTH",
        help=f"a layer (default: {' '.join(SHAPES)})",
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS, help="tokens of the input")
    parser.add_argument("--calls", type=int, default=100, help="calls with each input (default: 100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="the rows, as JSON")
    given = parser.parse_args()
    import torch

    from scripts.engines.marlin_probe import Shape, probe

    shapes = [Shape(*map(int, text.split(","))) for text in given.shape or SHAPES]
    rows = probe(shapes, given.tokens, calls=given.calls, seed=given.seed)
    write_json(given.output, {"gpu": torch.cuda.get_device_name(), "rows": rows})
    for row in rows:
        print(" ".join(f"{key}={value}" for key, value in row.items()))


if __name__ == "__main__":
    run_command(main)
