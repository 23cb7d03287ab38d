"""Outlives a command and removes its container.

    python -m scripts.provenance.guard_container LABEL      (a pipe on stdin)

It leaves its parent at once (so that ending a command with all its children does not end it) and waits. A line on the
pipe says that all is well; the pipe's end without one means that the command is gone: the containers with the label
are removed then, again and again for a while, since one may just have been asked for.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

from docker.errors import DockerException

from scripts.common.errors import EngineError
from scripts.provenance.docker_engine import connect

SECONDS = 15.0


def main() -> None:
    """Fork off, wait, remove."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    if sys.stdin.buffer.readline():
        return
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        remove_labelled(sys.argv[1])
        time.sleep(0.5)


def remove_labelled(label: str) -> None:
    """Remove the containers with a label, as far as Docker answers."""
    with suppress(DockerException, EngineError, OSError), connect() as client:
        for container in client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
            container.remove(force=True, v=True)


if __name__ == "__main__":
    main()
