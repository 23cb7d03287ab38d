"""Going on in the locked environment that a command needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from scripts.provenance.environments import create_environment, env_folder, env_python


def enter_environment(lock: Path, module: str) -> None:
    """Return where this Python is the one of the lock's environment; else build it and begin `module` anew in it."""
    if Path(sys.prefix).resolve() == env_folder(lock).resolve():
        return
    create_environment(lock)
    python = str(env_python(lock))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(python, [python, "-m", module, *sys.argv[1:]])  # noqa: S606
