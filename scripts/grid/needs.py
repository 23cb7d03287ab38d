"""What a job takes at most, for a cluster that wants to know: its memory, its time, its disk.

From the estimates of the grid and the sizes in models.yaml, with room to spare: a job that a cluster ends for want of a
gigabyte costs more than one that waits a little longer for its place. `--set-resources run_session:runtime=600` gives
another figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scripts.grid.large import Names, first
from scripts.records.engines import EngineEntry
from scripts.records.grid import Estimate
from scripts.records.models import Precision

SPARE = 3.0  # by how much an estimate of time may be too low
MINUTES = 30  # until an engine is ready, and for what is done around it
SMALL_GB = 1.0  # weights whose size is not told
SYSTEM_GB = 8.0  # memory of an engine and its client beside the weights
GPU_SYSTEM_GB = 16.0  # the same for each GPU: every one has a process of its own
DISK_GB = 10.0  # logs, and kernels that an engine compiles
SHARDS_GB = 48.0  # weights are quantised shard by shard


@dataclass(frozen=True)
class Needs:
    """What a job takes at most: memory and disk in 10^9 bytes, time in minutes."""

    memory_gb: float
    minutes: float
    disk_gb: float

    @property
    def resources(self) -> dict[str, int]:
        """As Snakemake's standard resources: MB, minutes, MB."""
        return {
            "mem_mb": math.ceil(self.memory_gb * 1000),
            "runtime": math.ceil(self.minutes),
            "disk_mb": math.ceil(self.disk_gb * 1000),
        }


def needs(count: int, ask: Callable[..., Needs]) -> dict[str, Callable[[Names], int]]:
    """The resources of a rule, asked of the first `count` wildcards of a job."""

    def resource(name: str) -> Callable[[Names], int]:
        return first(count, lambda *names: ask(*names).resources[name])

    return {name: resource(name) for name in ("mem_mb", "runtime", "disk_mb")}


def playing_needs(estimate: Estimate, replays: int, quant: Precision, engine: EngineEntry) -> Needs:
    """What so many replays of a quant on an engine take, or passes of a forced replay."""
    seconds = estimate.start_seconds + replays * estimate.tokens_per_replay / estimate.tokens_per_second
    gpus = math.ceil(engine.gpus / engine.nodes)
    return Needs(
        memory_gb=1.2 * _size(quant) + (GPU_SYSTEM_GB * gpus or SYSTEM_GB),
        minutes=MINUTES + SPARE * seconds / 60,
        disk_gb=DISK_GB + (engine.image_gb or 0),
    )


def weights_needs(quant: Precision, source: Precision) -> Needs:
    """What it takes to make the weights of a quant from those of its source."""
    most = max(_size(quant), _size(source))
    return Needs(
        memory_gb=SYSTEM_GB + min(2 * most, SHARDS_GB), minutes=MINUTES + most, disk_gb=DISK_GB + _size(quant)
    )


def image_needs(engine: EngineEntry) -> Needs:
    """What it takes to pull or build the image of an engine."""
    size = engine.image_gb or engine.download_gb or SMALL_GB
    return Needs(memory_gb=SYSTEM_GB, minutes=MINUTES + SPARE * size, disk_gb=DISK_GB + 2 * size)


def _size(quant: Precision) -> float:
    """The size of a quant's weights, 10^9 bytes."""
    return quant.disk_gb or quant.gpu_memory_gb or SMALL_GB
