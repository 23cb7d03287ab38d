"""Ending with the workflow: a session whose Snakemake is gone must not go on as an orphan.

That is the Snakemake of this machine which started it: the workflow, or where a cluster runs the job, the one that the
cluster started for it. When a job is cancelled is the cluster's to say, by SIGTERM (scripts/common/command.py).
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path

import psutil

VARIABLE = "TEMPZERO_WORKFLOW_PID"
INTERVAL = 1.0  # seconds between two looks


class WorkflowWatch:
    """Looks every second whether the workflow's process still lives; ends this process when it does not.

    `kill -9` of Snakemake leaves its jobs running and tells them nothing, hence the looking. The engine's
    processes are ended first, then the folder `aside` is removed.
    """

    def __init__(self, aside: Path) -> None:
        self._aside = aside
        self._owner = _owner()

    def start(self) -> None:
        """Begin to look, where a workflow started this process."""
        if self._owner is not None:
            threading.Thread(target=self._look, name="workflow-watch", daemon=True).start()

    def _look(self) -> None:
        assert self._owner is not None
        while self._owner.is_running() and self._owner.status() != psutil.STATUS_ZOMBIE:
            time.sleep(INTERVAL)
        print("the workflow is gone: the session ends with its engine", file=sys.stderr, flush=True)
        for child in psutil.Process().children(recursive=True):
            child.kill()
        shutil.rmtree(self._aside, ignore_errors=True)
        os._exit(3)


def _owner() -> psutil.Process | None:
    pid = os.environ.get(VARIABLE)
    if pid is None:
        return None
    try:
        return psutil.Process(int(pid))
    except psutil.NoSuchProcess:
        print("the workflow that started this session is gone", file=sys.stderr)
        sys.exit(3)
