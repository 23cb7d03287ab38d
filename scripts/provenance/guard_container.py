"""Outlives a command and removes its container: `python -m scripts.provenance.guard_container LABEL`, pipe on stdin.

It leaves its parent at once (so that ending a command with all its children does not end it) and waits. A line on the
pipe says that all is well; the pipe's end without one means that the command is gone: the containers with the label
are removed then, again and again for a while, since one may just have been asked for.
"""

from __future__ import annotations

import os
import sys
import time

import docker
from docker.errors import DockerException

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
    label = sys.argv[1]
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            client = docker.from_env()
            for container in client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
                container.remove(force=True, v=True)
        except DockerException:
            pass
        time.sleep(0.5)


if __name__ == "__main__":
    main()
