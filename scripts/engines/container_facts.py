"""What Docker really gave a container, read back from Docker: the same for every session that was given the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

LINKED = "(where links of the weights lead)"


def container_facts(
    attributes: Mapping[str, Any], box: Mapping[str, Any], *, own: Collection[str], fixed_port: bool
) -> dict[str, Any]:
    """The facts of `docker inspect`'s `attributes` that a session's figures may hang on, in a fixed order.

    `box`: the engine's `container` in its settings. `own`: the destinations that the session mounts by itself; any
    other is a folder of the machine's owner, whose path is left out. `fixed_port`: whether the port outside was asked
    for; one that varies is left out, as are names, times, and the key. Sizes in bytes.
    """
    host = attributes["HostConfig"]
    mounts = [_mount(each, own) for each in attributes.get("Mounts") or []]
    cache, tuning = (_at(mounts, box.get(key)) for key in ("cache", "tuning"))
    return {
        "image_id": attributes["Image"],
        "user": attributes["Config"].get("User") or "root",
        "device_requests": [
            {
                "driver": each.get("Driver") or None,
                "count": each.get("Count"),
                "devices": sorted(each.get("DeviceIDs") or []),
                "capabilities": sorted(sorted(group) for group in each.get("Capabilities") or []),
            }
            for each in host.get("DeviceRequests") or []
        ],
        "shm_bytes": host.get("ShmSize"),
        "ipc": host.get("IpcMode") or None,
        "ulimits": sorted(
            (
                {"name": each["Name"], "soft": each["Soft"], "hard": each["Hard"]}
                for each in host["Ulimits"] or []
            ),
            key=lambda each: str(each["name"]),
        ),
        "memory_bytes": host.get("Memory") or None,
        "cpus": host.get("CpusetCpus") or None,
        "network": host.get("NetworkMode"),
        "published": sorted(
            f"{each['HostIp']}{':' + each['HostPort'] if fixed_port else ''} → {inside}"
            for inside, bindings in (host.get("PortBindings") or {}).items()
            for each in bindings or []
        ),
        "security": sorted(host.get("SecurityOpt") or []),
        "mounts": sorted(mounts, key=lambda each: (each["at"], each["type"])),
        "compiled_kernels": f"volume {cache['volume']}" if cache else None,
        "tuning_results": ("kept" if tuning["type"] == "volume" else "fresh") if tuning else None,
    }


def _mount(given: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    named = {"volume": given["Name"]} if given["Type"] == "volume" else {}
    at = given["Destination"] if given["Destination"] in own else LINKED
    return {"at": at, "type": given["Type"], "read_only": not given["RW"], **named}


def _at(mounts: list[dict[str, Any]], destination: str | None) -> dict[str, Any] | None:
    return next((each for each in mounts if each["at"] == destination), None)
