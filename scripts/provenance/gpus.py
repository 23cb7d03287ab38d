"""How much memory the GPUs of this machine have, and whether it suffices, found out before anything is pulled."""

from __future__ import annotations

import subprocess

from scripts.common.errors import EngineError


def gpu_memory_gb(visible: str | None = None) -> list[float]:
    """Memory of each GPU in 10^9 bytes, by nvidia-smi; empty without one. `visible`: of these alone (`0,1`)."""
    try:
        done = subprocess.run(
            [
                "nvidia-smi",
                *(["-i", visible] if visible else []),
                "--query-gpu=memory.total",
                "--format=csv,noheader,nounits",
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = done.stdout.split() if done.returncode == 0 else []
    return [int(each) * 2**20 / 1e9 for each in rows if each.isdigit()]


def check_gpu_memory(
    gpus: int, needed_gb: float, *, what: str = "the largest quant", visible: str | None = None
) -> None:
    """EngineError where `gpus` GPUs are wanted and there are fewer, or they have less than `needed_gb` (10^9 bytes).

    `what` wants the memory, in the error's words.
    """
    if not gpus:
        return
    memory = gpu_memory_gb(visible)
    if len(memory) < gpus:
        raise EngineError(
            f"{gpus} GPUs are wanted and {len(memory)} are there, by nvidia-smi",
            remedy="choose another grid, or engine",
        )
    there = sum(memory[:gpus])
    if there < needed_gb:
        cards = "1 GPU has" if gpus == 1 else f"{gpus} GPUs have"
        raise EngineError(
            f"{what} wants {needed_gb:,.0f} GB of GPU memory, {cards} {there:,.0f} GB",
            remedy="mark its block as planned, or take more GPUs (`gpus` in config/engines.yaml)",
        )
