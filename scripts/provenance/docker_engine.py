"""Reaching Docker, or Podman through Docker's interface, and whether it can do what an engine wants, found out
beforehand, in words and with figures."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker
from docker.errors import DockerException

from scripts.common.errors import EngineError
from scripts.provenance.gpus import check_gpu_memory
from scripts.records.engine import BaseImage

PODMAN_SOCKET = "podman/podman.sock"  # below XDG_RUNTIME_DIR, or root's below /run
START_SECONDS = 30.0
IDLE_SECONDS = 60


@contextmanager
def connect() -> Iterator[docker.DockerClient]:
    """A client of the container engine: of the one that DOCKER_HOST names, else of Docker, else of Podman.

    Podman answers through Docker's interface, rootless too: at its socket, or where there is none, from a service that
    is started for as long as the client is used. EngineError, with what to do, where there is no engine or no right to
    it.
    """
    with ExitStack() as stack:
        try:
            client = _reach(None)
        except DockerException as error:
            address = None if "DOCKER_HOST" in os.environ else stack.enter_context(_podman())
            if address is None:
                raise _unreachable(error) from error
            try:
                client = _reach(address)
            except DockerException as refusal:
                raise EngineError(f"Podman does not answer ({refusal})", where=address) from refusal
        stack.callback(client.close)
        yield client


def is_podman(client: docker.DockerClient) -> bool:
    """Whether it is Podman that answers."""
    components = client.version().get("Components") or []
    return any("podman" in str(each.get("Name")).lower() for each in components)


def _reach(address: str | None) -> docker.DockerClient:
    client = docker.DockerClient(address, timeout=600) if address else docker.from_env(timeout=600)
    client.ping()
    return client


@contextmanager
def _podman() -> Iterator[str | None]:
    """Where Podman listens; None where it is not installed. Of one's own sockets the rootless one comes first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    for socket in (Path(runtime) / PODMAN_SOCKET, Path("/run") / PODMAN_SOCKET):
        if os.access(socket, os.R_OK | os.W_OK):
            yield f"unix://{socket}"
            return
    program = shutil.which("podman")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "podman.sock"
        # In a session of its own: a cancelled job still removes its container. Should this process be killed, the
        # service ends by itself once nobody has asked it for a while.
        command = [program, "system", "service", f"--time={IDLE_SECONDS}", f"unix://{socket}"]
        with open(Path(folder) / "said", "w+") as said:
            service = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
            try:
                until = time.monotonic() + START_SECONDS
                while not socket.exists():
                    if service.poll() is not None or time.monotonic() > until:
                        said.seek(0)
                        raise EngineError(
                            f"Podman's service does not start ({' '.join(said.read().split())})",
                            where=program,
                            remedy="see that this works: podman info",
                        )
                    time.sleep(0.05)
                yield f"unix://{socket}"
            finally:
                service.terminate()
                service.wait()


def _unreachable(error: DockerException) -> EngineError:
    where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return EngineError(
            "this user has no right to Docker's socket",
            where=where,
            remedy='sudo usermod -aG docker "$USER", then log in again',
        )
    return EngineError(
        f"Docker cannot be reached ({text})",
        where=where,
        remedy="install Docker, or start it: sudo systemctl start docker; Podman does too",
    )


def check_room(client: docker.DockerClient, image: str, image_gb: float | None) -> None:
    """EngineError where the disk that Docker keeps its images on has less room than the image takes."""
    folder = Path(client.info().get("DockerRootDir", "/var/lib/docker"))
    if image_gb is None or not os.access(folder.parent, os.X_OK):
        return
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    if free < image_gb:
        raise EngineError(
            f"the image {image} takes {image_gb:.0f} GB and {free:.0f} GB are free",
            where=str(folder),
            remedy="make room there (docker image prune), or move Docker's data",
        )


def check_gpus(client: docker.DockerClient, gpus: int, needed_gb: float = 0.0) -> None:
    """EngineError where GPUs are wanted and Docker cannot give them, there are fewer, or their memory is too small."""
    if not gpus:
        return
    refuse_gpus_of_podman(client)
    info = client.info()
    if "nvidia" not in info.get("Runtimes", {}) and not info.get("CDISpecDirs"):
        raise EngineError(
            "Docker has no NVIDIA runtime, so no container can use a GPU",
            remedy="install the NVIDIA container toolkit: sudo nvidia-ctk runtime configure --runtime=docker",
        )
    check_gpu_memory(gpus, needed_gb)


def refuse_gpus_of_podman(client: docker.DockerClient) -> None:
    """EngineError where Podman answers: it makes a container for which GPUs are asked, and gives it none."""
    if is_podman(client):
        raise EngineError(
            "Podman gives no GPU to a container that is asked for through Docker's interface",
            remedy="use Docker, or an engine of the runtime `process` (config/engines.yaml)",
        )


def image_record(client: docker.DockerClient, name: str) -> BaseImage:
    """What identifies an image that is here: its id, the digest it was pulled by (or None), its size.

    Of several digests, as of an image that two registries have, the one that `name` pins.
    """
    image = client.images.get(name)
    digests = [each.partition("@")[2] for each in image.attrs.get("RepoDigests") or []]
    pinned = name.partition("@")[2]
    digest = pinned if pinned in digests else next(iter(sorted(digests)), None)
    return BaseImage(image=name, image_id=image.id, digest=digest, bytes=image.attrs.get("Size"))
