"""Which code made a result: the checkout's commit, and whether it was changed since."""

from __future__ import annotations

import subprocess
from pathlib import Path

from scripts.records.machine import Code


def describe_code(root: Path) -> Code:
    """Commit and state of the git checkout at `root`; nothing of either where it is none."""
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if commit is None or _git(root, "rev-parse", "--show-prefix") != "":
        return Code()
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return Code(commit=commit, dirty=None if changed is None else changed != "")


def changes(root: Path) -> bytes:
    """The patch from the commit to the tracked files as they are, binary files included; empty without a commit."""
    command = [
        "git",
        "-C",
        str(root),
        "diff",
        "--binary",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        "HEAD",
    ]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, or None where git is missing or fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
