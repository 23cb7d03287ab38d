"""What exists while a workflow works in the folder: its table is made beside it and disturbs nothing.

Snakemake runs once more, in a folder of links to the checkout and to the sessions that are whole. There it has locks,
notes and outputs of its own, the last in results/so-far/.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

FOLDER = ".snakemake/so-far"
OUTPUTS = "results/so-far"
CELL = "cells/*/*/*/*"
OWN = (".git", ".snakemake", "results")


def make_so_far(root: Path, arguments: Sequence[str]) -> int:
    """Run Snakemake with a command's `arguments` on what exists in `root`; its exit code."""
    link_checkout(root)
    print(
        f"a workflow works in this folder: what it has so far goes to {OUTPUTS}/", file=sys.stderr, flush=True
    )
    return subprocess.run([sys.executable, "-m", "snakemake", *arguments], cwd=root / FOLDER).returncode


def link_checkout(root: Path) -> None:
    """Make the folder of links anew; what was made in it before stays, as far as it is still from what there is."""
    folder, outputs = root / FOLDER, root / OUTPUTS
    folder.mkdir(parents=True, exist_ok=True)
    outputs.mkdir(parents=True, exist_ok=True)
    for link in (*folder.iterdir(), *outputs.iterdir(), *outputs.glob(f"{CELL}/*")):
        if link.is_symlink():
            link.unlink()
    for entry in root.iterdir():
        if entry.name not in OWN:
            (folder / entry.name).symlink_to(entry.resolve())
    (folder / "results").symlink_to(outputs.resolve())
    for name in ("engines", "quants"):
        (outputs / name).symlink_to((root / "results" / name).resolve())
    for entry in _whole(root / "results"):
        link = outputs / entry.relative_to(root / "results")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(entry.resolve())
    for cell in outputs.glob(CELL):
        if not (cell / "session-00").exists():
            shutil.rmtree(cell)


def _whole(results: Path) -> Iterator[Path]:
    """Of each cell the sessions that have their record, what a question was answered, sweeps, the forced passes."""
    for record in results.glob(f"{CELL}/session-*/session.json"):
        yield record.parent
    for folder in ("question", "sweeps"):
        yield from results.glob(f"{CELL}/{folder}")
    for record in results.glob(f"{CELL}/forced.json"):
        yield record
        yield record.parent / "forced"
