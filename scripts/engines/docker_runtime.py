"""The runtime `docker`: a server in a container, which is gone when it is left, however it is left."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.utils import parse_repository_tag

from scripts.common.errors import EngineError
from scripts.engines.container_facts import container_facts
from scripts.engines.container_plan import WEIGHTS, ContainerPlan
from scripts.engines.container_tuning import container_caches
from scripts.engines.http import Server
from scripts.engines.ready import HOST, START_SECONDS, take_port, wait_until_ready
from scripts.engines.server_kinds import MODEL, Client, command
from scripts.provenance.containers import guarded, reap, remove_container, said
from scripts.provenance.devices import NO_DEVICES, Devices
from scripts.provenance.docker_engine import connect, refuse_gpus_of_podman
from scripts.provenance.images import pull
from scripts.records.engine import EngineRecord
from scripts.records.machine import ContainerFacts
from scripts.records.settings import Settings

PORT = 8000  # inside the container
EVERYWHERE = "0.0.0.0"  # noqa: S104  # inside the container; outside only 127.0.0.1 leads to it
STOP_SECONDS = 10  # less than a scheduler waits between SIGTERM and SIGKILL


@contextmanager
def serve_container(
    settings: Settings, weights: Path, log: Path, record: EngineRecord, devices: Devices = NO_DEVICES
) -> Iterator[Client]:
    """The client of a server of `settings` in a container over the folder `weights`; its log goes to the file `log`.

    It gets the GPUs `devices`.

    The image that the engine's record (results/engines/) names by id is run, and nothing else. EngineError, with the
    log's end, where Docker cannot be used, the image is not there, or the server does not start, is not ready in time,
    or dies.
    """
    key = secrets.token_hex(16)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    with ExitStack() as stack:
        client = stack.enter_context(connect())
        if settings.gpus:
            refuse_gpus_of_podman(client)
        reap(client)
        plan = ContainerPlan(settings, record, weights, devices.uuids)
        image = find_image(client, record)
        port = take_port(settings.port)
        labels = stack.enter_context(guarded(devices.locks))
        container = create_container(client, plan, image, port, key, labels)
        stack.callback(remove_container, client, container)
        look = container_caches(container, plan)
        _start(container, port)
        stack.enter_context(_follow(container, log))
        server = Server(
            f"http://{HOST}:{port}",
            key,
            lambda: log.read_text("utf-8", "replace"),
            lambda: _death(container),
            given_facts(container, plan),
            weights,
            tuning=lambda: look(log.read_text("utf-8", "replace")),
        )
        wait_until_ready(server, plan.kind, settings.start_seconds or START_SECONDS)
        yield stack.enter_context(closing(plan.kind.client(server, settings.arguments, MODEL)))


def find_image(client: docker.DockerClient, record: EngineRecord) -> str:
    """The id of the record's image, which is pulled by its digest where another machine of a cluster recorded it.

    EngineError where it cannot be had, or has another id.
    """
    with suppress(ImageNotFound):
        return str(client.images.get(record.image_id).id)
    where = f"the image {record.image} ({str(record.image_id)[:19]})"
    remedy = (
        f"delete results/engines/{record.engine}.json and run the command again: the image is then had anew"
    )
    if record.digest is None or record.image is None:
        raise EngineError(
            f"{where} is not here",
            remedy=f"{remedy}; on a machine of a cluster, bring it there: docker save, docker load",
        )
    repository, _ = parse_repository_tag(record.image.partition("@")[0])
    found = pull(record.engine, f"{repository}@{record.digest}", None)
    if found.image_id != record.image_id:
        raise EngineError(f"{where} is another where its digest leads: {found.image_id}", remedy=remedy)
    return str(found.image_id)


def create_container(
    client: docker.DockerClient, plan: ContainerPlan, image: str, port: int, key: str, labels: dict[str, str]
) -> Container:
    """The container of the server, not started."""
    kind = plan.kind
    arguments = plan.settings.arguments
    argv = command(kind, arguments, plan.served, host=EVERYWHERE, port=PORT, python="python3", key=key)
    try:
        return plan.create(
            client,
            image,
            entrypoint=plan.box.entrypoint or argv[: len(kind.program)],
            command=argv[len(kind.program) :],
            labels=labels,
            environment={kind.key_variable: key} if kind.key_variable else {},
            ports={f"{PORT}/tcp": (HOST, port)},
        )
    except DockerException as error:
        raise EngineError(f"the container cannot be made: {said(error)}", where=plan.record.image) from error


def _start(container: Container, port: int) -> None:
    try:
        container.start()
    except APIError as error:
        words = said(error)
        if "already allocated" in words or "address already in use" in words:
            raise EngineError(
                f"port {port} is taken", where=HOST, remedy="end what listens there, or leave `port` out"
            ) from error
        if "could not select device driver" in words:
            raise EngineError(
                "Docker cannot give GPUs to a container",
                remedy="install the NVIDIA container toolkit: sudo nvidia-ctk runtime configure --runtime=docker",
            ) from error
        raise EngineError(f"the container cannot be started: {words}") from error


@contextmanager
def _follow(container: Container, log: Path) -> Iterator[None]:
    """Copy the container's log to the file while it runs; at the end the file holds all of it."""

    def copy() -> None:
        with open(log, "ab", buffering=0) as stream, suppress(DockerException, OSError, ValueError):
            for part in container.logs(stream=True, follow=True, stdout=True, stderr=True):
                stream.write(part)

    thread = threading.Thread(target=copy, name="container-log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        with suppress(DockerException):
            container.stop(timeout=STOP_SECONDS)
        thread.join(30)


def _death(container: Container) -> str | None:
    """How the server ended; None while it lives."""
    try:
        container.reload()
    except NotFound:
        return "the container was removed"
    except DockerException as error:
        return f"Docker does not answer: {said(error)}"
    state = container.attrs["State"]
    if state["Status"] in ("created", "running", "restarting", "paused"):
        return None
    time.sleep(0.3)  # what it wrote last may still be on its way to the log
    return "it ran out of memory" if state.get("OOMKilled") else f"exit status {state['ExitCode']}"


def given_facts(container: Container, plan: ContainerPlan) -> ContainerFacts:
    """What Docker says that it gave the container."""
    container.reload()
    own = {WEIGHTS, *plan.own_files, plan.box.cache or "", plan.box.tuning or ""}
    fixed = plan.settings.port is not None
    return container_facts(container.attrs, plan.box, own=own, fixed_port=fixed)
