"""Slurm's queue, as far as a workflow that died left jobs in it: nobody else ends them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from scripts.common.errors import TempzeroError

# By either is a job of Snakemake's executor known: the prefix that config/profiles/slurm gives, the executor's comment.
NAME = "tempzero_"
COMMENT = "rule_"
WAIT_SECONDS = 180.0  # more than Slurm lets a cancelled job live (KillWait, UnkillableStepTimeout)


def cancel_leftovers(root: Path, say: Callable[[str], None], wait_seconds: float = WAIT_SECONDS) -> list[str]:
    """Cancel this user's queued and running jobs of the folder `root`, wait until they are gone, and return their ids.

    TempzeroError where Slurm does not answer, or a job does not end within `wait_seconds`.
    """
    cancelled = left = jobs_of(root)
    if left:
        say(f"jobs in Slurm's queue that a workflow here left are cancelled: {', '.join(left)}")
        _ask("scancel", *left)
    until = time.monotonic() + wait_seconds
    while left:
        if time.monotonic() > until:
            raise TempzeroError(
                f"jobs that were cancelled do not end: {', '.join(left)}",
                where="squeue",
                remedy="give the same command again once squeue shows them no more",
            )
        time.sleep(1)
        left = jobs_of(root)
    return cancelled


def jobs_of(root: Path) -> list[str]:
    """The ids of this user's jobs, queued, running or ending, that a workflow in the folder `root` handed to Slurm."""
    listed = _ask("squeue", "--noheader", f"--user={os.getuid()}", "--format=%i|%j|%k|%Z")
    found = []
    for line in listed.splitlines():
        job, name, comment, folder = line.split("|", 3)
        ours = name.startswith(NAME) or comment.startswith(COMMENT)
        if ours and job != os.environ.get("SLURM_JOB_ID") and Path(folder).resolve() == root.resolve():
            found.append(job)
    return found


def _ask(program: str, *arguments: str) -> str:
    try:
        return subprocess.run(
            [program, *arguments], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        raise TempzeroError(
            f"Slurm does not answer ({said})", where=program, remedy="see that `squeue` works here"
        ) from error
