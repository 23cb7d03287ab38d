"""Weights that no cell needs any more, deleted; what they were stays, their manifest under results/evicted/.

Where a cell needs them again the manifest is missing, so the workflow builds or pulls the quant anew.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from scripts.common.errors import DataError
from scripts.common.files import write_whole
from scripts.quants.manifest import NAME


def evicted_file(model: str, precision: str) -> str:
    """The manifest of weights that were deleted, from the root."""
    return f"results/evicted/{model}/{precision}.json"


def known_manifest(results: Path, model: str, precision: str) -> str:
    """The manifest of a quant, from the folder `results`: that of its weights, or the one left of deleted weights."""
    manifest, left = f"quants/{model}/{precision}/{NAME}", f"evicted/{model}/{precision}.json"
    return left if not (results / manifest).is_file() and (results / left).is_file() else manifest


def evict_quant(folder: Path, output: Path) -> int:
    """Delete the weights in `folder`, a quant's, and write their manifest as it is to `output`; bytes that were freed.

    A folder of the owner's own weights holds links: these go, what they lead to stays. Killed at any point it can be
    called again: the folder is renamed first, and the manifest in it is never deleted. DataError where there is none.
    """
    aside = folder.with_name(f".{folder.name}.evicted")
    if (folder / NAME).is_file():
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    if not (aside / NAME).is_file():
        raise DataError("there are no weights to delete: the manifest is missing", where=str(folder))
    write_whole(output, (aside / NAME).read_bytes())
    freed = 0
    for path in aside.iterdir():
        if path.name == NAME:
            continue
        if path.is_dir() and not path.is_symlink():
            freed += sum(each.lstat().st_size for each in path.rglob("*") if each.is_file())
            shutil.rmtree(path)
        else:
            freed += path.lstat().st_size
            path.unlink()
    print(f"{folder}: {freed / 1e9:,.2f} GB freed", file=sys.stderr, flush=True)
    return freed
