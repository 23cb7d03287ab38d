"""One workflow a folder, and the clearing up after one that was killed.

Snakemake's own lock is a file that outlives a `kill -9`. Whoever has ours (lock.py) knows that any other trace of a
workflow in this folder is stale.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

from scripts.grid.lock import FolderLock
from scripts.grid.slurm import cancel_leftovers

MARKS = ".snakemake/incomplete"  # Snakemake's, of outputs that a job has begun
LOCK = "results/.workflow.lock"
TABLES = (
    "results/unchecked/table.md",
    "results/unchecked/table.csv",
    "results/controls.json",
    "results/controls.failed.json",
    "results/table.md",
    "results/table.csv",
)
PID_VARIABLE = "TEMPZERO_WORKFLOW_PID"
SLURM = "slurm"


def hold_folder(root: Path, leave_seconds: float = 15.0, executor: str | None = None) -> None:
    """Take the folder `root` for this process until it ends, or raise FolderHeldError naming who has it.

    `executor`: what jobs are handed to, None on this machine. Where the last workflow here was killed, its jobs on
    this machine get `leave_seconds` to end by themselves and are ended then, those in Slurm's queue are cancelled;
    Snakemake's stale lock is cleared, and so are the outputs that Snakemake has marked as begun and not finished.
    """
    lock = FolderLock(root / LOCK, executor)
    last = lock.take()
    if last is not None:
        _say(f"the last workflow here ({last}) was killed; clearing up after it")
        if last.executor not in (None, SLURM):
            _say(f"its jobs were handed to {last.executor}: see that none of them runs any more")
    if SLURM in (executor, last and last.executor):
        cancel_leftovers(root, _say)
    if last is not None and last.is_here:
        end_leftovers(root, last.pid, leave_seconds)
    for stale in (root / ".snakemake/locks").glob("*.lock"):
        stale.unlink(missing_ok=True)
    discarded = discard_unfinished(root)
    if discarded:
        _say(f"begun and not finished, so made again where it is needed: {', '.join(discarded)}")
    lock.hold()
    lead_jobs()


def lead_jobs() -> None:
    """Have the sessions that this process starts end with it: they find it in the environment.

    Where a cluster runs a job, that is the Snakemake which it started there, and not the one that submitted the job.
    """
    os.environ[PID_VARIABLE] = str(os.getpid())


def discard_unfinished(root: Path) -> list[str]:
    """Delete what Snakemake's marks of unfinished outputs name under results/, what was made from it, and the marks.

    A session's whole folder goes with its session.json, and so do its cell's verdict and the tables: Snakemake
    would take a table for up to date that is newer than what is missing below it. Weights and engines take
    nothing with them, since what was made from them before stands for itself. Returns what was marked, sorted.
    """
    marked = unfinished(root)
    for name in marked:
        for path in (name, *_made_from(name)):
            _remove(root / path)
        if name.endswith("/session.json"):
            _remove((root / name).parent)
    for mark in _marks(root):
        mark.unlink(missing_ok=True)
    return marked


def unfinished(root: Path) -> list[str]:
    """The outputs under results/ that Snakemake's marks name as begun and not finished, sorted."""
    folder = root / MARKS
    found = (_marked_output(mark.relative_to(folder)) for mark in _marks(root))
    return sorted(name for name in found if name is not None)


def _marks(root: Path) -> list[Path]:
    return sorted(path for path in (root / MARKS).rglob("*") if path.is_file())


def _made_from(name: str) -> Iterator[str]:
    """What the workflow makes from an output under results/ and must make again with it."""
    parts = PurePosixPath(name).parts
    if parts[1] in ("engines", "quants"):
        return
    if parts[1] == "cells" and parts[-1] != "cell.json":
        cell = "/".join(parts[:6])
        yield f"{cell}/cell.json"
        yield f"{cell}/question"
        if parts[-2:] == ("session-00", "session.json"):
            yield f"{cell}/forced.json"
    yield from TABLES


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def end_leftovers(root: Path, pid: int, leave_seconds: float) -> None:
    """Wait until the jobs of the dead workflow `pid` in `root` have ended; after `leave_seconds` end them."""
    deadline = time.monotonic() + leave_seconds
    said = False
    while left := _leftovers(root, pid):
        if not said:
            _say(f"waiting for its jobs to end (processes {', '.join(str(process.pid) for process in left)})")
            said = True
        if time.monotonic() > deadline:
            for process in left:
                process.terminate()
            _, alive = psutil.wait_procs(left, timeout=5)
            for process in alive:
                process.kill()
            psutil.wait_procs(alive, timeout=5)
            return
        time.sleep(0.2)


def _leftovers(root: Path, pid: int) -> list[psutil.Process]:
    """Processes that the workflow `pid` started and that work in `root`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(PID_VARIABLE) == str(pid) and Path(process.cwd()) == root.resolve():
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
    return [process for process in found if process.pid != os.getpid()]


def _marked_output(mark: Path) -> str | None:
    """The output that a mark's file name stands for (base64 in pieces, all but the last led by @)."""
    text = "".join(part.removeprefix("@") for part in mark.parts)
    try:
        name = base64.urlsafe_b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    path = PurePosixPath(name)
    return name if path.parts[:1] == ("results",) and ".." not in path.parts else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
