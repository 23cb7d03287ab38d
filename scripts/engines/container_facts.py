"""What Docker really gave a container, read back from Docker: the same for every session that was given the same."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from scripts.records.base import convert
from scripts.records.machine import ContainerFacts, ContainerMount, DeviceRequest, Ulimit
from scripts.records.settings import ContainerSettings

LINKED = "(where links of the weights lead)"


# Of `docker inspect`, what is needed, by Docker's own names.


class _Request(msgspec.Struct, rename="pascal"):
    driver: str | None = None
    count: int | None = None
    devices: list[str] | None = msgspec.field(name="DeviceIDs", default=None)
    capabilities: list[list[str]] | None = None


class _Ulimit(msgspec.Struct, rename="pascal"):
    name: str
    soft: int
    hard: int


class _Binding(msgspec.Struct, rename="pascal"):
    host_ip: str
    host_port: str


class _Host(msgspec.Struct, rename="pascal"):
    device_requests: list[_Request] | None = None
    shm_size: int | None = None
    ipc_mode: str | None = None
    ulimits: list[_Ulimit] | None = None
    memory: int | None = None
    cpuset_cpus: str | None = None
    network_mode: str | None = None
    port_bindings: dict[str, list[_Binding] | None] | None = None
    security_opt: list[str] | None = None
    tmpfs: dict[str, str] | None = None  # of Podman, which lists none among its mounts


class _Mount(msgspec.Struct, rename="pascal"):
    type: str
    destination: str
    writable: bool = msgspec.field(name="RW")
    name: str | None = None


class _User(msgspec.Struct, rename="pascal"):
    user: str | None = None


class _Inspected(msgspec.Struct, rename="pascal"):
    image: str
    config: _User
    host_config: _Host
    mounts: list[_Mount] | None = None


def container_facts(
    attributes: object, box: ContainerSettings, *, own: Collection[str], fixed_port: bool
) -> ContainerFacts:
    """The facts of `docker inspect`'s `attributes` that a session's figures may hang on, in a fixed order.

    `own`: the destinations that the session mounts by itself; any other is a folder of the machine's owner, whose path
    is left out. `fixed_port`: whether the port outside was asked for; one that varies is left out, as are names, times,
    and the key. DataError where Docker says something else than is known of it.
    """
    found = convert(_Inspected, attributes, "docker inspect")
    host = found.host_config
    mounts = [
        ContainerMount(
            at=each.destination if each.destination in own else LINKED,
            type=each.type,
            read_only=not each.writable,
            volume=each.name if each.type == "volume" else None,
        )
        for each in found.mounts or []
    ]
    mounts += [ContainerMount(at=at, type="tmpfs", read_only=False) for at in host.tmpfs or {}]
    at = {each.at: each for each in mounts}
    cache, tuning = at.get(box.cache or ""), at.get(box.tuning or "")
    return ContainerFacts(
        image_id=found.image,
        user=found.config.user or "root",
        device_requests=[
            DeviceRequest(
                driver=each.driver or None,
                count=each.count,
                devices=sorted(each.devices or []),
                capabilities=sorted(sorted(group) for group in each.capabilities or []),
            )
            for each in host.device_requests or []
        ],
        shm_bytes=host.shm_size,
        ipc=host.ipc_mode or None,
        ulimits=[
            Ulimit(name=each.name, soft=each.soft, hard=each.hard)
            for each in sorted(host.ulimits or [], key=lambda each: each.name)
        ],
        memory_bytes=host.memory or None,
        cpus=host.cpuset_cpus or None,
        network=host.network_mode,
        published=sorted(
            f"{each.host_ip}{':' + each.host_port if fixed_port else ''} → {inside}"
            for inside, bindings in (host.port_bindings or {}).items()
            for each in bindings or []
        ),
        security=sorted(host.security_opt or []),
        mounts=sorted(mounts, key=lambda each: (each.at, each.type)),
        compiled_kernels=f"volume {cache.volume}" if cache else None,
        tuning_results=("kept" if tuning.type == "volume" else "fresh") if tuning else None,
    )
