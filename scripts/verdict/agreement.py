"""The sessions of one cell must have measured one thing: same GPU, digest, weights and workload."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from scripts.common.errors import DataError
from scripts.records.machine import Machine
from scripts.records.session import SessionRecord
from scripts.verdict.replays import Session


def _compared(record: SessionRecord) -> list[tuple[str, object]]:
    """What sessions must have in common, by name; of GPUs not which cards of their machine they were."""
    machine = record.machine or Machine()
    return [
        ("model", record.model),
        ("precision", record.precision),
        ("engine", record.engine),
        ("variant", record.variant),
        ("machine.gpus", machine.gpus and [replace(gpu, uuid=None, index=None) for gpu in machine.gpus]),
        ("machine.cpu", machine.cpu),
        ("machine.driver", machine.driver),
        ("machine.instruction_sets", machine.instruction_sets),
        # What a server can be asked was found out anew where its record was: what it answered counts.
        (
            "engine_record",
            record.engine_record and msgspec.structs.replace(record.engine_record, abilities=None),
        ),
        ("weights", record.weights),
        ("workload", record.workload),
        ("questions", record.questions),
    ]


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
    for column in zip(*(_compared(session.record) for session in sessions), strict=True):
        known = [
            (session, msgspec.to_builtins(value))
            for session, (_, value) in zip(sessions, column, strict=True)
            if value is not None
        ]
        for session, value in known[1:]:
            first, expected = known[0]
            found = first_unequal(expected, value, column[0][0])
            if found:
                path, left, right = found
                raise DataError(
                    f"the sessions disagree on {path}: {left!r} in session {first.number}, "
                    f"{right!r} in session {session.number}",
                    where=session.where,
                    remedy="a cell is measured on one machine with one build: run all its sessions again",
                )
