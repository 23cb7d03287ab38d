"""Where a cell's figures come from: what its sessions recorded of engine, weights, machine and code, as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from scripts.common.files import canonical_json
from scripts.records.base import Record, Value
from scripts.records.manifest import Manifest
from scripts.records.session import SessionRecord
from scripts.verdict.causes import tuned_parameters

Row = tuple[str, str]
Values = dict[str, Value]
ENGINE = ("runtime", "kind", "image", "digest", "image_id", "lock", "lock_sha256", "adopted")
SETTINGS = ("arguments", "environment", "harness", "container", "top_logprobs")
FIGURES = (
    ("text, logprobs", "`sha256sum` of the files named below; k is the largest group of equal ones"),
    ("divergence, first difference", "`differences` of cell.json, from the transcripts and logprobs files"),
    ("flips per 1,000", "`flips_per_1000_tokens`: events over exposure, over the tree of contexts of all replays"),
    ("noise, exact ties", "`noise`, `exact_ties`: logprobs of positions that replays share"),
    ("forced, deterministic, near-ties", "`forced`, `ties`: the passes in the folder `forced`"),
    ("score, tokens", "`score`, `tokens`: the transcripts' answers and ids"),
    ("tokens/s", "`tokens` over `seconds` of session.json, summed over sessions"),
)  # fmt: skip


def provenance(records: Sequence[SessionRecord], manifest: Manifest | None) -> list[tuple[str, list[Row]]]:
    """Titles with rows, from the session.json of each session and the manifest of the weights.

    What sessions share is said once; where they differ each is named.
    """
    weights = [_values(records[0].weights) | _pick(_values(manifest), ("quantised", "bytes", "source"))]
    parts: dict[str, list[Values]] = {
        "engine": [_engine(each) for each in records],
        "resolved by the engine": [_values(each.resolved) for each in records],
        "caches as it began": [dict((each.caches or {}).items()) for each in records],
        "tuned": [_tuned(each) for each in records],
        "settings": [_pick(_values(each.settings), SETTINGS) for each in records],
        "weights": weights,
        "workload": [_values(each.workload) for each in records],
        "machine": [_values(each.machine) for each in records],
        "environment": [dict(sorted((each.environment or {}).items())) for each in records],
        "command": [{"argv": " ".join(each.argv or ())} for each in records],
        "code": [_values(each.code) for each in records],
        "load": [_values(each.load) for each in records],
    }
    return [(title, rows) for title, part in parts.items() if (rows := rows_of(part))]


def rows_of(parts: Iterable[Mapping[str, Value]]) -> list[Row]:
    """Nested values of each session as rows, keys joined by points; unequal ones with the sessions' numbers."""
    flat = [dict(flatten(part)) for part in parts]
    rows = []
    for key in dict.fromkeys(key for each in flat for key in each):
        values = [each.get(key, "") for each in flat]
        if len(set(values)) > 1:
            value = "; ".join(f"session {number}: {value}" for number, value in enumerate(values))
        else:
            value = values[0]
        if value:
            rows.append((key, value))
    return rows


def flatten(values: Mapping[str, Value], above: str = "") -> list[Row]:
    """Nested values as rows, lists of plain ones in one line, everything else as JSON; empty ones left out."""
    rows: list[Row] = []
    for key, inner in values.items():
        name = f"{above}{key}"
        if isinstance(inner, dict):
            rows += flatten(inner, f"{name}.")
        elif inner not in (None, "", []):
            rows.append((name, _say(inner)))
    return rows


def _say(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(each, list | dict) for each in value):
        return ", ".join(_say(each) for each in value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 100_000 else str(value)
    return value if isinstance(value, str) else canonical_json(value)


def _values(record: Record | None) -> Values:
    """A record's plain values, keys sorted at every level; none of a record that is not there."""
    found: Values = {} if record is None else msgspec.to_builtins(record, order="sorted")
    return found


def _pick(values: Values, keys: Sequence[str]) -> Values:
    return {key: values[key] for key in keys if key in values}


def _tuned(record: SessionRecord) -> Values:
    return {" ".join(name): value for name, value in sorted(tuned_parameters(record.tuned or []).items())}


def _engine(record: SessionRecord) -> Values:
    packages = (record.engine_record and record.engine_record.packages) or {}
    listed = ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
    return {
        "engine": record.engine,
        **_pick(_values(record.engine_record), ENGINE),
        "packages": listed,
    }
