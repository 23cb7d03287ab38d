"""The sessions of one cell must have measured one thing: same GPU, digest, weights and workload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scripts.common.errors import DataError
from scripts.verdict.replays import Session

# What may differ between two like devices of one machine.
_OWN_TO_A_DEVICE = {"uuid", "serial", "index", "bus", "bus_id", "pci", "minor"}


def _devices(record: dict[str, Any]) -> object:
    machine = record.get("machine")
    gpus = machine.get("gpus") if isinstance(machine, dict) else None
    if not isinstance(gpus, list):
        return gpus
    return [
        {key: value for key, value in gpu.items() if key not in _OWN_TO_A_DEVICE}
        if isinstance(gpu, dict)
        else gpu
        for gpu in gpus
    ]


def _processor(record: dict[str, Any]) -> object:
    machine = record.get("machine")
    cpu = machine.get("cpu") if isinstance(machine, dict) else None
    return cpu.get("model", cpu) if isinstance(cpu, dict) else cpu


def _of_machine(name: str) -> Callable[[dict[str, Any]], object]:
    def read(record: dict[str, Any]) -> object:
        machine = record.get("machine")
        return machine.get(name) if isinstance(machine, dict) else None

    return read


def _key(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda record: record.get(name)


_COMPARED: tuple[tuple[str, Callable[[dict[str, Any]], object]], ...] = (
    *((name, _key(name)) for name in ("model", "precision", "engine", "variant")),
    ("machine.gpus", _devices),
    ("machine.cpu", _processor),
    *((f"machine.{name}", _of_machine(name)) for name in ("driver", "instruction_sets")),
    *((name, _key(name)) for name in ("engine_record", "weights", "workload", "questions")),
)


def first_unequal(one: object, other: object, path: str) -> tuple[str, object, object] | None:
    """Where two JSON values first differ: the key path and both values there, or None."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            found = first_unequal(one.get(key), other.get(key), f"{path}.{key}")
            if found:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            found = first_unequal(left, right, f"{path}[{index}]")
            if found:
                return found
        return None
    return None if one == other else (path, one, other)


def check_agreement(sessions: list[Session]) -> None:
    """Refuse (DataError, naming the difference) sessions that did not measure one thing.

    Compared wherever two sessions have it: the cell's names, GPUs and their driver, processor, engine
    record (digest or lock), weights, workload and number of questions.
    """
    for name, read in _COMPARED:
        known = [(session, value) for session in sessions if (value := read(session.record)) is not None]
        for session, value in known[1:]:
            first, expected = known[0]
            found = first_unequal(expected, value, name)
            if found:
                path, left, right = found
                raise DataError(
                    f"the sessions disagree on {path}: {left!r} in session {first.number}, "
                    f"{right!r} in session {session.number}",
                    where=session.where,
                    remedy="a cell is measured on one machine with one build: run all its sessions again",
                )
