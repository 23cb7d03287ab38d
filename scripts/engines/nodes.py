"""Engines that several machines serve together: vLLM's own multi-node mode, one container a machine.

The machine of the session is the head, rank 0. On each other one this starts a container by its Docker, over ssh: from
the same image, over weights that lie under the same path, with the same arguments, headless. What the head mounts of
this project is copied into it. Ranks, addresses and `--headless` are as vLLM's documentation has them
(docs/serving/parallelism_scaling.md).
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound
from docker.models.containers import Container

from scripts.common.errors import ConfigError, EngineError
from scripts.engines.container_plan import ContainerPlan
from scripts.engines.server_kinds import MODEL, flags, forcing
from scripts.provenance.containers import HEAD, node_client, remove_container, said
from scripts.records.engine import EngineRecord
from scripts.records.settings import Settings

VARIABLE = "TEMPZERO_NODES"  # the addresses, this machine's first
PROGRAM = ["vllm", "serve"]  # the module that the head is started by knows no --headless


def nodes_of(settings: Settings) -> list[str]:
    """The addresses of the machines that serve the engine together, this one first; empty where it is this one alone.

    ConfigError where they are not as many as the engine wants.
    """
    if settings.nodes == 1:
        return []
    found = [each for each in os.environ.get(VARIABLE, "").split(",") if each]
    if len(found) != settings.nodes:
        raise ConfigError(
            f"{settings.engine} wants {settings.nodes} machines, and {len(found)} are named",
            where="nodes",
            remedy="name them, this one first: --workflow-profile config/profiles/multinode",
        )
    return found


def address(node: str) -> str:
    """Where a machine named `user@address` or `address` is reached by the others."""
    return node.rpartition("@")[2]


def node_flags(nodes: Sequence[str], rank: int) -> list[str]:
    """What tells a vLLM which of the machines it is; nothing where there is one."""
    if not nodes:
        return []
    own = ["--nnodes", str(len(nodes)), "--node-rank", str(rank), "--master-addr", address(nodes[0])]
    return own if rank == 0 else [*own, "--headless"]


def worker_command(plan: ContainerPlan, rank: int) -> list[str]:
    """The arguments of PROGRAM on the machine `rank`."""
    kind, arguments = plan.kind, plan.settings.arguments
    served = [plan.served, "--served-model-name", MODEL]
    return [*served, *forcing(kind, arguments), *flags(kind, arguments), *node_flags(plan.nodes, rank)]


@contextmanager
def serve_workers(plan: ContainerPlan, log: Path) -> Iterator[list[tuple[str, Container]]]:
    """The containers of all machines but the head, by address; at the end their logs lie beside `log`.

    EngineError where a machine, its image or its GPUs are not there.
    """
    nodes = plan.nodes
    with ExitStack() as stack:
        started = []
        for rank, node in enumerate(nodes[1:], 1):
            try:
                client = stack.enter_context(node_client(node))
                label = f"{address(nodes[0])} {node}"
                for left in client.containers.list(all=True, filters={"label": f"{HEAD}={label}"}):
                    remove_container(client, left)
                container = plan.create(
                    client,
                    _image(client, plan.record),
                    entrypoint=PROGRAM,
                    command=worker_command(plan, rank),
                    labels={HEAD: label},
                    environment={"VLLM_HOST_IP": address(node)},
                )
                stack.callback(remove_container, client, container)
                stack.callback(_keep_log, container, log.with_name(f"{log.stem}.node-{rank}{log.suffix}"))
                container.put_archive("/", _archive(plan.own_files))
                container.start()
            except DockerException as error:
                raise EngineError(f"the container cannot be run there: {said(error)}", where=node) from error
            started.append((address(node), container))
        yield started


def _image(client: docker.DockerClient, record: EngineRecord) -> str:
    """The id of the record's image on another machine, pulled there by its digest where it is missing."""
    with suppress(ImageNotFound):
        return str(client.images.get(record.image_id).id)
    repository, _, digest = str(record.image).partition("@")
    found = client.images.pull(f"{repository.rpartition(':')[0] or repository}@{digest or record.digest}")
    if found.id != record.image_id:
        raise EngineError(f"the image is {found.id}, and {record.image_id} runs here", where=record.image)
    return str(found.id)


def _archive(files: Mapping[str, Path]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for place, file in files.items():
            archive.add(file, arcname=place.lstrip("/"))
    return made.getvalue()


def _keep_log(container: Container, file: Path) -> None:
    with suppress(DockerException):
        file.write_bytes(container.logs())
