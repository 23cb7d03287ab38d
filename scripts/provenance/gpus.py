"""How much memory the GPUs of this machine have, and whether it suffices, found out before anything is pulled."""

from __future__ import annotations

import subprocess

from scripts.common.errors import EngineError


def nvidia_smi(*options: str) -> str:
    """What nvidia-smi prints; nothing where it is not there or fails."""
    try:
        done = subprocess.run(["nvidia-smi", *options], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def query_gpus(*fields: str, visible: str | None = None) -> list[list[str]]:
    """These fields of each GPU, by nvidia-smi; none without one. `visible`: of these alone (`0,1`)."""
    chosen = ["-i", visible] if visible else []
    listed = nvidia_smi(*chosen, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    rows = [[part.strip() for part in line.split(",")] for line in listed.splitlines()]
    return [row for row in rows if len(row) == len(fields)]


def gpu_memory_gb(visible: str | None = None) -> list[float]:
    """Memory of each GPU in 10^9 bytes; as query_gpus."""
    rows = query_gpus("memory.total", visible=visible)
    return [int(mib) * 2**20 / 1e9 for (mib,) in rows if mib.isdigit()]


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
