"""The GPUs of this machine by nvidia-smi: which of them a process may use, and whether their memory suffices."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

from scripts.common.errors import EngineError
from scripts.common.words import count
from scripts.records.machine import Gpu

VISIBLE = "CUDA_VISIBLE_DEVICES"
SLURM_JOB = "SLURM_JOB_ID"
MIG = re.compile(r"^\s+(MIG \S+) +Device +\d+: \(UUID: (MIG-\S+)\)$", re.MULTILINE)  # a line of nvidia-smi -L


def nvidia_smi(*options: str) -> str:
    """What nvidia-smi prints; nothing where it is not there or fails."""
    try:
        done = subprocess.run(["nvidia-smi", *options], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def query_gpus(*fields: str) -> list[list[str]]:
    """These fields of each GPU, by nvidia-smi; none without one."""
    listed = nvidia_smi(f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    rows = [[part.strip() for part in line.split(",")] for line in listed.splitlines()]
    return [row for row in rows if len(row) == len(fields)]


def all_gpus() -> list[Gpu]:
    """Every GPU that nvidia-smi names, in its order."""
    return [
        Gpu(
            name=name,
            memory_bytes=int(mib) * 2**20 if mib.isdigit() else None,
            uuid=uuid,
            index=int(index) if index.isdigit() else None,
        )
        for index, name, mib, uuid in query_gpus("index", "name", "memory.total", "uuid")
    ]


def visible_gpus() -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves to this process, in its order; all where it is not set.

    In a job of Slurm none where it is not set: Slurm sets it for those that it gave, and others may have the rest.
    """
    value = os.environ.get(VISIBLE)
    if value is None and SLURM_JOB in os.environ:
        return []
    found = all_gpus()
    if value is None or not found:
        return found
    if value.strip().startswith("MIG-"):
        found = [Gpu(name=name, uuid=uuid) for name, uuid in MIG.findall(nvidia_smi("-L"))]
    return select_gpus(found, value)


def select_gpus(gpus: Sequence[Gpu], value: str) -> list[Gpu]:
    """Of all GPUs those that a value of CUDA_VISIBLE_DEVICES names, as CUDA reads it.

    Numbers (by nvidia-smi), or UUIDs and the beginnings of such. What names no GPU ends the list, and so does one of
    another kind than the first; one that is named twice leaves none.
    """
    found: list[Gpu] = []
    entries = [entry.strip() for entry in value.split(",")]
    kind = entries[0][:4] if entries[0][:4] in ("GPU-", "MIG-") else ""
    for entry in entries:
        if kind:
            named = [gpu for gpu in gpus if entry.startswith(kind) and str(gpu.uuid).startswith(entry)]
        else:
            named = [gpu for gpu in gpus if entry.isdecimal() and gpu.index == int(entry)]
        if len(named) != 1:
            break
        if named[0] in found:
            return []
        found += named
    return found


def not_enough(wanted: int, there: int, what: str) -> EngineError:
    """That so many GPUs are wanted by `what` and fewer are there, and why."""
    value = os.environ.get(VISIBLE)
    if value is None and SLURM_JOB in os.environ:
        return EngineError(
            f"{what}: {count(wanted, 'GPU')} {'is' if wanted == 1 else 'are'} wanted, and Slurm gave this job none",
            remedy="leave the rule its resource `gpu`, and name a partition that has GPUs (slurm_partition); "
            f"where Slurm does not count them, export {VISIBLE}",
        )
    here = f"{there} {'is' if there == 1 else 'are'} there"
    seen = "by nvidia-smi" if value is None else f"by nvidia-smi and {VISIBLE}={value}"
    return EngineError(
        f"{what}: {count(wanted, 'GPU')} {'is' if wanted == 1 else 'are'} wanted and {here}, {seen}",
        remedy="run it where there are more, or choose another grid or engine",
    )


def check_gpu_memory(gpus: int, needed_gb: float, *, what: str = "the largest quant") -> None:
    """EngineError where `gpus` GPUs are wanted and fewer are visible, or they have less than `needed_gb` (10^9 bytes).

    `what` wants the memory, in the error's words. A GPU whose memory nvidia-smi does not say counts as large enough.
    """
    if not gpus:
        return
    visible = visible_gpus()
    if len(visible) < gpus:
        raise not_enough(gpus, len(visible), what)
    memory = [gpu.memory_bytes for gpu in visible[:gpus]]
    there = sum(each or 0 for each in memory) / 1e9
    if None not in memory and there < needed_gb:
        cards = "1 GPU has" if gpus == 1 else f"{gpus} GPUs have"
        raise EngineError(
            f"{what} wants {needed_gb:,.0f} GB of GPU memory, {cards} {there:,.0f} GB",
            remedy="mark its block as planned, or take more GPUs (`gpus` in config/engines.yaml)",
        )
