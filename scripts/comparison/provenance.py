"""What differs between two cells in what they are, from their session records, the likeliest cause first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from scripts.records.comparison import ProvenanceDifference
from scripts.records.session import SessionRecord

Said = Callable[[SessionRecord], str | None]


def engine_exactly(record: SessionRecord) -> str:
    """A session's engine: its name, its version, and the image, lock or server that it is."""
    found = record.engine_record
    if found is None:
        return record.engine
    exact = found.digest or found.image_id or found.lock_sha256 or found.server_version
    version = record.resolved.version if record.resolved else None
    return " ".join(each for each in (record.engine, version, exact and exact[:19]) if each)


def _tuned(record: SessionRecord) -> dict[str, object]:
    """What auto-tuning chose, parameter by parameter."""
    return {
        f"{each.kernel} {parameter}": value
        for each in record.tuned or []
        for parameter, value in each.config.items()
    }


def _packages(record: SessionRecord) -> Mapping[str, str]:
    """The packages of the engine's environment; none of an image or a server of somebody else's."""
    return (record.engine_record.packages if record.engine_record else None) or {}


def _machine(name: str) -> Said:
    return lambda record: None if record.machine is None else _text(getattr(record.machine, name))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


ORDER: dict[str, Said] = {
    "workload": lambda record: (
        None if record.workload is None else f"{record.workload.name} {record.workload.sha256[:12]}"
    ),
    "weights": lambda record: None if record.weights is None else record.weights.manifest_sha256[:12],
    "precision": lambda record: record.precision,
    "engine": engine_exactly,
    "GPU": lambda record: (
        None if record.machine is None else ", ".join(gpu.name for gpu in record.machine.gpus or []) or "none"
    ),
    "driver": _machine("driver"),
    "CUDA": _machine("cuda"),
    "processor": _machine("cpu"),
    "instruction sets": lambda record: (
        None if record.machine is None else ", ".join(record.machine.instruction_sets or [])
    ),
    "build": lambda record: None if record.resolved is None else record.resolved.build,
    "operating system": _machine("os"),
    "C library": _machine("libc"),
    "code": lambda record: None if record.code is None else record.code.commit,
}
# What a mapping of a record says, key by key: between the engine and the machine it runs on.
MAPPINGS: dict[str, Callable[[SessionRecord], Mapping[str, object]]] = {
    "resolved": lambda record: record.resolved.resolved if record.resolved else {},
    "caches": lambda record: record.caches or {},
    "tuned": lambda record: _tuned(record),
    "argument": lambda record: record.settings.arguments if record.settings else {},
    "environment": lambda record: record.settings.environment if record.settings else {},
    "harness": lambda record: record.settings.harness.as_json() if record.settings else {},
}
AFTER = "engine"
SHOWN = 8  # packages of another version


def differences(a: Iterable[SessionRecord], b: Iterable[SessionRecord]) -> list[ProvenanceDifference]:
    """What differs, in the order in which it is likely to be a cause; of a side whose sessions are unlike, all there
    is. What one of the two does not say is not compared."""
    one, other = list(a), list(b)
    found = []
    for what, said in ORDER.items():
        found += _compare(what, (said(each) for each in one), (said(each) for each in other))
        if what == AFTER:
            found += _compare_packages([_packages(each) for each in one], [_packages(each) for each in other])
            for name, read in MAPPINGS.items():
                found += _compare_keys(name, [read(each) for each in one], [read(each) for each in other])
    return found


def _compare_keys(
    name: str, a: Sequence[Mapping[str, object]], b: Sequence[Mapping[str, object]]
) -> list[ProvenanceDifference]:
    """Key by key; of engines that have few names in common (of two kinds) those names alone."""
    return [
        each
        for key in _keys(a, b)
        for each in _compare(
            f"{name} {key}", *([_text(one.get(key, "not set")) for one in side] for side in (a, b))
        )
    ]


def _keys(a: Sequence[Mapping[str, object]], b: Sequence[Mapping[str, object]]) -> list[str]:
    """The names that are compared: all, or where two sides have few in common these alone."""
    keys_a, keys_b = ({key for each in side for key in each} for side in (a, b))
    common = keys_a & keys_b
    return sorted(keys_a | keys_b if 2 * len(common) >= min(len(keys_a), len(keys_b)) else common)


def _compare_packages(
    a: Sequence[Mapping[str, str]], b: Sequence[Mapping[str, str]]
) -> list[ProvenanceDifference]:
    """In one line the packages of which the two engines' environments hold another version."""
    other = [
        key
        for key in _keys(a, b)
        if {one.get(key) for one in a} != {one.get(key) for one in b} and all(a) and all(b)
    ]
    if not other:
        return []
    more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
    sides = [
        ", ".join(f"{key} {_either({one.get(key, 'none') for one in side})}" for key in other[:SHOWN]) + more
        for side in (a, b)
    ]
    return [ProvenanceDifference(what="packages", a=sides[0], b=sides[1])]


def _compare(what: str, a: Iterable[str | None], b: Iterable[str | None]) -> list[ProvenanceDifference]:
    one, other = ({each for each in side if each is not None} for side in (a, b))
    if not one or not other or one == other:
        return []
    return [ProvenanceDifference(what=what, a=_either(one), b=_either(other))]


def _either(values: set[str]) -> str:
    return " or ".join(sorted(values))
