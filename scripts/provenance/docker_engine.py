"""Reaching Docker, and finding out beforehand whether it can do what an engine wants, in words and with figures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import DockerException

from scripts.common.errors import EngineError
from scripts.provenance.gpus import check_gpu_memory
from scripts.records.engine import BaseImage


@contextmanager
def connect() -> Iterator[docker.DockerClient]:
    """A client of the Docker engine; EngineError, with what to do, where there is none or no right to it."""
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        raise _unreachable(error) from error
    try:
        yield client
    finally:
        client.close()


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
        remedy="install Docker, or start it: sudo systemctl start docker",
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
    info = client.info()
    if "nvidia" not in info.get("Runtimes", {}) and not info.get("CDISpecDirs"):
        raise EngineError(
            "Docker has no NVIDIA runtime, so no container can use a GPU",
            remedy="install the NVIDIA container toolkit: sudo nvidia-ctk runtime configure --runtime=docker",
        )
    check_gpu_memory(gpus, needed_gb)


def image_record(client: docker.DockerClient, name: str) -> BaseImage:
    """What identifies an image that is here: its id, the digest it was pulled by (or None), its size.

    Of several digests, as of an image that two registries have, the one that `name` pins.
    """
    image = client.images.get(name)
    digests = [each.partition("@")[2] for each in image.attrs.get("RepoDigests") or []]
    pinned = name.partition("@")[2]
    digest = pinned if pinned in digests else next(iter(sorted(digests)), None)
    return BaseImage(image=name, image_id=image.id, digest=digest, bytes=image.attrs.get("Size"))
