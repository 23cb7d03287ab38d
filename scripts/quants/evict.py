"""Weights that no cell needs any more, deleted; their manifest stays where it is.

Weights that are gone can so be told from weights that never were: what was made from them stands, and where a cell
needs them again they are had anew.
"""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from scripts.common.errors import DataError
from scripts.quants.manifest import NAME
from scripts.records.manifest import Evicted, Manifest


def evicted_file(model: str, precision: str) -> str:
    """What says that the weights of a quant were deleted, from the root."""
    return f"results/evicted/{model}/{precision}.json"


@cache
def have_weights(manifest: Path) -> bool:
    """Whether a manifest is there and every file that it names; their content is left to whoever reads them."""
    try:
        files = Manifest.read(manifest).files
    except DataError:
        return False
    return all((manifest.parent / entry.path).is_file() for entry in files)


def evict_quant(folder: Path, output: Path) -> int:
    """Delete all in `folder`, a quant's, but its manifest, and say so in `output`; the bytes that were freed.

    Killed at any point it can be called again. DataError where there is no manifest.
    """
    Manifest.read(folder / NAME)
    freed = 0
    for path in folder.iterdir():
        if path.name == NAME:
            continue
        if path.is_dir() and not path.is_symlink():
            freed += sum(each.lstat().st_size for each in path.rglob("*") if each.is_file())
            shutil.rmtree(path)
        else:
            freed += path.lstat().st_size
            path.unlink()
    print(f"{folder}: {freed / 1e9:,.2f} GB freed", file=sys.stderr, flush=True)
    note_eviction(folder / NAME, output)
    return freed


def note_eviction(manifest: Path, output: Path) -> None:
    """Say in `output` that the weights of a manifest are gone from now on."""
    weights = Manifest.read(manifest)
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    Evicted(files=len(weights.files), bytes=weights.bytes, at=now).write(output)
