"""Whether a quant fits, on the disk and into the GPUs that are to serve it, found out before it is pulled or built."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from scripts.common.errors import DataError, EngineError
from scripts.provenance.gpus import check_gpu_memory, visible_gpus
from scripts.quants.evict import have_weights
from scripts.records.models import Precision


def check_room(model: str, precision: str, entry: Precision, output: Path, *, gpus: Sequence[int]) -> None:
    """DataError where the disk has less room than `entry` says that its weights take, EngineError where GPUs do.

    `gpus`: on how many together each engine serves it, ascending: it is enough if it fits for one of them. `output` is
    the quant's manifest. Of a pull that broke off, what is there counts as room. Where no GPU is seen, weights may well
    be brought for another machine; that its engine has none is said by the engine.
    """
    name = f"{model} in {precision}"
    if gpus and visible_gpus():
        for count in gpus:
            try:
                check_gpu_memory(count, entry.gpu_memory_gb or 0.0, what=name)
                break
            except EngineError:
                if count == gpus[-1]:
                    raise
    if entry.disk_gb is None or entry.local_path or entry.served or have_weights(output):
        return
    folder = output.parent
    there = sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) if entry.repository else 0
    while not folder.exists():
        folder = folder.parent
    free = (shutil.disk_usage(folder).free + there) / 1e9
    if free < entry.disk_gb:
        raise DataError(
            f"{name} takes {entry.disk_gb:,.1f} GB and {free:,.1f} GB are free",
            where=str(folder),
            remedy="make room there, make results/quants a link to a larger disk, or set evict_weights=true",
        )
