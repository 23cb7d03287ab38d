"""The life of a container: it ends with the command that made it, however that ends.

Three things see to that: the end of the context manager; a guard process that outlives the command and removes the
container when that is gone (`kill -9` too); and a reaper that, at the next start, removes what a crash of the machine
left. All go by the container's labels.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import psutil
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.types import Mount

from scripts.common.errors import EngineError

ROOT = Path(__file__).resolve().parents[2]
SESSION = "tempzero.session"
OWNER = "tempzero.owner"
STARTED = "tempzero.owner-started"


def reap(client: docker.DockerClient) -> int:
    """Remove the containers of sessions that are gone; how many there were."""
    found = 0
    for container in client.containers.list(all=True, filters={"label": SESSION}, ignore_removed=True):
        if not _owner_lives(container.labels):
            found += 1
            with suppress(NotFound, APIError):
                container.remove(force=True, v=True)
    return found


def _owner_lives(labels: Mapping[str, str]) -> bool:
    try:
        process = psutil.Process(int(labels[OWNER]))
        return f"{process.create_time():.2f}" == labels[STARTED] and process.status() != psutil.STATUS_ZOMBIE
    except (KeyError, ValueError, psutil.Error):
        return False


@contextmanager
def guarded(locks: Sequence[int] = ()) -> Iterator[dict[str, str]]:
    """The labels of a container that a process removes when this one is gone; no child of this one, so not ended
    with it. Until then it holds the `locks` (descriptors) too."""
    token = secrets.token_hex(8)
    me = psutil.Process()
    guard = subprocess.Popen(
        [sys.executable, "-m", "scripts.provenance.guard_container", f"{SESSION}={token}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        start_new_session=True,
        pass_fds=locks,
    )
    assert guard.stdin is not None
    guard.wait(60)  # it goes on as a process of its own
    try:
        yield {SESSION: token, OWNER: str(me.pid), STARTED: f"{me.create_time():.2f}"}
    except BaseException:
        guard.stdin.close()  # Docker may have been asked for a container of which nothing is known here
        raise
    with suppress(OSError):
        guard.stdin.write(b"done\n")
        guard.stdin.close()


def link_mounts(folder: Path) -> list[Mount]:
    """Of a folder with links, as one of the owner's own weights is, where they lead: mounted in the same place."""
    homes = {path.resolve().parent for path in folder.rglob("*") if path.is_symlink()}
    return [Mount(str(home), str(home), type="bind", read_only=True) for home in sorted(homes)]


def remove_container(client: docker.DockerClient, container: Container) -> None:
    """Remove the container and wait until Docker does not know it any more."""
    with suppress(NotFound):
        container.remove(force=True, v=True)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            client.containers.get(container.id)
        except NotFound:
            return
        time.sleep(0.1)
    raise EngineError(f"the container {container.short_id} could not be removed")


def said(error: DockerException) -> str:
    """What Docker said of an error, without the address that was asked."""
    return str(getattr(error, "explanation", None) or error)
