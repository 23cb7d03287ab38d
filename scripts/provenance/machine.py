"""On which machine a result was made. Nothing in it names the machine or its user."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from scripts.provenance.gpus import nvidia_smi, query_gpus, visible_gpus
from scripts.records.machine import Cores, Gpu, Machine

# Instruction sets that choose another kernel in an engine, so other rounding.
INSTRUCTION_SETS = [
    *("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2", "avx_vnni"),
    *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
]


def describe_machine() -> Machine:
    """CPU, instruction sets, cores, memory (bytes), GPUs, driver and CUDA, operating system, Python; no host name."""
    model, flags = _processor()
    gpus, driver, cuda = _gpus()
    return Machine(
        cpu=model,
        instruction_sets=[name for name in INSTRUCTION_SETS if name in flags],
        cores=Cores(physical=psutil.cpu_count(logical=False), logical=psutil.cpu_count(), usable=_usable()),
        memory_bytes=psutil.virtual_memory().total,
        gpus=gpus,
        driver=driver,
        cuda=cuda,
        os=_system(),
        kernel=platform.release(),
        libc=" ".join(platform.libc_ver()).strip() or None,
        python=platform.python_version(),
    )


def _usable() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor() -> tuple[str, set[str]]:
    """The processor's name and all its flags, as Linux gives them (flags empty elsewhere)."""
    fields: dict[str, str] = {}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or fields.get("CPU part") or platform.processor() or platform.machine()
    return name, set((fields.get("flags") or fields.get("Features") or "").split())


def _gpus() -> tuple[list[Gpu], str | None, str | None]:
    """The visible GPUs, their driver and the CUDA version it brings; empty and None without any."""
    gpus = visible_gpus()
    if not gpus:
        return [], None, None
    drivers = query_gpus("driver_version")
    after = nvidia_smi().partition("CUDA Version:")[2].split()
    return gpus, drivers[0][0] if drivers else None, after[0] if after else None


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
