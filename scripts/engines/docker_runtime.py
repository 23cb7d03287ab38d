"""The runtime `docker`: a server in a container, which is gone when it is left, however it is left."""

from __future__ import annotations

import fcntl
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from scripts.common.errors import EngineError
from scripts.engines.container_facts import container_facts
from scripts.engines.http import Server, log_end
from scripts.engines.nodes import address, node_flags, nodes_of, serve_workers
from scripts.engines.ready import HOST, START_SECONDS, take_port, wait_until_ready
from scripts.engines.server_kinds import MODEL, Client, ServerKind, command, server_kind, weights_argument
from scripts.provenance.containers import guarded, link_mounts, reap, remove_container, said
from scripts.provenance.docker_engine import connect

PORT = 8000  # inside the container
EVERYWHERE = "0.0.0.0"  # noqa: S104  # inside the container; outside only 127.0.0.1 leads to it
STOP_SECONDS = 20
ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "/weights"
OWN_CODE = "/tempzero"
OWN_FILES = (
    "scripts/__init__.py",
    "scripts/engines/__init__.py",
    "scripts/engines/sglang_serve.py",
    "scripts/engines/vllm_force.py",
    "scripts/engines/vllm_patches.py",
)


@contextmanager
def serve_container(settings: Mapping[str, Any], weights: Path, log: Path) -> Iterator[Client]:
    """The client of a server of `settings` in a container over the folder `weights`; its log goes to the file `log`.

    `settings["record"]` is the engine's record (results/engines/): the image that it names by id is run, and nothing
    else. EngineError, with the log's end, where Docker cannot be used, the image is not there, or the server does not
    start, is not ready in time, or dies.
    """
    kind = server_kind(settings["kind"])
    record = settings["record"]
    box: Mapping[str, Any] = settings.get("container", {})
    key = secrets.token_hex(16)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    with ExitStack() as stack:
        client = stack.enter_context(connect())
        reap(client)
        nodes = nodes_of(settings)
        devices = stack.enter_context(hold_gpus(int(settings.get("gpus", 0)) // max(len(nodes), 1)))
        image = find_image(client, record)
        port = take_port(settings.get("port"))
        labels = stack.enter_context(guarded(nodes[1:], address(nodes[0]) if nodes else ""))
        options = _options(kind, settings, image, weights, devices)
        workers = stack.enter_context(
            serve_workers(settings, kind, nodes, _served(kind, weights), options, _own_files(kind), log)
        )
        container = _create(client, kind, settings, image, weights, options, port, key, labels, nodes)
        stack.callback(remove_container, client, container)
        _start(container, port)
        stack.enter_context(_follow(container, log))
        server = Server(
            f"http://{HOST}:{port}",
            key,
            lambda: log.read_text("utf-8", "replace"),
            lambda: _death(container, workers),
            {"container": _given(container, box, fixed_port=settings.get("port") is not None)},
            weights,
        )
        wait_until_ready(server, kind, float(settings.get("start_seconds") or START_SECONDS))
        engine = kind.client(server, {**settings["arguments"]}, MODEL)
        stack.callback(engine.close)
        yield engine


def find_image(client: docker.DockerClient, record: Mapping[str, Any]) -> str:
    """The id of the record's image, verified to be here; EngineError where it is not, or another under its name."""
    remedy = f"delete results/engines/{record['engine']}.json and run the command again: the image is then had anew"
    try:
        return str(client.images.get(record["image_id"]).id)
    except ImageNotFound as error:
        raise EngineError(
            f"the image {record['image']} ({record['image_id'][:19]}) is not here any more", remedy=remedy
        ) from error


@contextmanager
def hold_gpus(count: int) -> Iterator[list[str]]:
    """Hold the first `count` GPUs, one lock file each, against every other session of this machine; their numbers.

    EngineError where another session holds one of them.
    """
    folder = Path(tempfile.gettempdir()) / "tempzero-gpus"
    with ExitStack() as stack:
        for number in range(count):
            folder.mkdir(mode=0o1777, exist_ok=True)
            stream = stack.enter_context(open(folder / f"{number}.lock", "a"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise EngineError(
                    f"GPU {number} is held by another session of this machine",
                    remedy="wait for its end, or run with --resources gpu=1",
                ) from error
        yield [str(number) for number in range(count)]


def _create(
    client: docker.DockerClient,
    kind: ServerKind,
    settings: Mapping[str, Any],
    image: str,
    weights: Path,
    options: Mapping[str, Any],
    port: int,
    key: str,
    labels: dict[str, str],
    nodes: list[str],
) -> Container:
    """The container of the server; of several machines' the head's, which the others reach by the machine's network."""
    box = settings.get("container", {})
    entrypoint = list(box.get("entrypoint", [part.format(python="python3") for part in kind.program]))
    host, inside = (HOST, port) if nodes else (EVERYWHERE, PORT)
    served = _served(kind, weights)
    argv = command(kind, settings["arguments"], served, host=host, port=inside, python="python3", key=key)
    environment = dict(options["environment"])
    if kind.key_variable:
        environment[kind.key_variable] = key
    if nodes:
        environment["VLLM_HOST_IP"] = address(nodes[0])
    own = [Mount(at, str(file), type="bind", read_only=True) for at, file in _own_files(kind).items()]
    try:
        return client.containers.create(
            image,
            command=[*argv[len(kind.program) :], *node_flags(nodes, 0)],
            entrypoint=entrypoint,
            ports={} if nodes else {f"{PORT}/tcp": (HOST, port)},
            labels=labels,
            **{**options, "environment": environment, "mounts": [*options["mounts"], *own]},
        )
    except DockerException as error:
        raise EngineError(
            f"the container cannot be made: {said(error)}", where=settings["record"]["image"]
        ) from error


def _options(
    kind: ServerKind,
    settings: Mapping[str, Any],
    image: str,
    weights: Path,
    devices: list[str],
) -> dict[str, Any]:
    """What Docker is asked for on every machine that serves."""
    box: Mapping[str, Any] = settings.get("container", {})
    environment = {**kind.environment, **settings["environment"]}
    if _own_files(kind):
        environment["PYTHONPATH"] = OWN_CODE
    options: dict[str, Any] = {
        "environment": environment,
        "mounts": [
            Mount(WEIGHTS, str(weights.resolve()), type="bind", read_only=True),
            *link_mounts(weights),
            *_caches(box, settings, image),
        ],
        "init": True,
        "security_opt": ["no-new-privileges"],
        "log_config": LogConfig(type=LogConfig.types.JSON),
    }
    if devices:
        options["device_requests"] = [DeviceRequest(device_ids=devices, capabilities=[["gpu"]])]
        options["ulimits"] = [
            Ulimit(name="memlock", soft=-1, hard=-1),
            Ulimit(name="stack", soft=2**26, hard=2**26),
        ]
    if "shm_gb" in box:
        options["shm_size"] = int(box["shm_gb"] * 10**9)
    if box.get("ipc") == "host":
        options["ipc_mode"] = "host"
    if settings.get("nodes", 1) > 1:
        options["network_mode"] = "host"
    return options


def _served(kind: ServerKind, weights: Path) -> str:
    """The weights as a container sees them."""
    return str(PurePosixPath(WEIGHTS) / weights_argument(kind, weights))


def _own_files(kind: ServerKind) -> dict[str, Path]:
    """The files of this project that the server imports, by the place where a container has them."""
    if not kind.program[-1].startswith(("vllm", "scripts")):
        return {}
    return {f"{OWN_CODE}/{file}": ROOT / file for file in OWN_FILES}


def _caches(box: Mapping[str, Any], settings: Mapping[str, Any], image: str) -> list[Mount]:
    """Compiled kernels in a volume that stays, tuning results in memory (unless the variant keeps them)."""
    name = f"tempzero-{settings['engine']}-{image.removeprefix('sha256:')[:12]}"
    mounts: list[Mount] = []
    if "cache" in box:
        mounts.append(Mount(box["cache"], f"{name}-kernels", type="volume"))
    if "tuning" in box:
        keep = box.get("warm_tuning", False)
        mounts.append(
            Mount(box["tuning"], f"{name}-tuning" if keep else None, type="volume" if keep else "tmpfs")
        )
    return mounts


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


def _death(container: Container, workers: Sequence[tuple[str, Container]] = ()) -> str | None:
    """How the server ended, or one of the machines that serve with it; None while all live."""
    for where, worker in workers:
        if ended := _death(worker):
            return f"{where}: {ended}{log_end(worker.logs(tail=50).decode('utf-8', 'replace'))}"
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


def _given(container: Container, box: Mapping[str, Any], *, fixed_port: bool) -> dict[str, Any]:
    """What Docker says that it gave the started container."""
    container.reload()
    own = {
        WEIGHTS,
        *(f"{OWN_CODE}/{file}" for file in OWN_FILES),
        box.get("cache", ""),
        box.get("tuning", ""),
    }
    return container_facts(container.attrs, box, own=own, fixed_port=fixed_port)
