"""Where a cell's figures come from: what its sessions recorded of engine, weights, machine and code, as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scripts.common.files import canonical_json

Row = tuple[str, str]
ENGINE = ("engine", "runtime", "kind")
IMAGE = ("image", "digest", "image_id", "lock", "lock_sha256", "endpoint", "adopted")
FIGURES = (
    ("text, logprobs", "`sha256sum` of the files named below; k is the largest group of equal ones"),
    ("divergence, first difference", "`differences` of cell.json, from the transcripts and logprobs files"),
    ("flips per 1,000", "`flips_per_1000_tokens`: events over exposure, over the tree of contexts of all replays"),
    ("noise, exact ties", "`noise`, `exact_ties`: logprobs of positions that replays share"),
    ("forced, deterministic, near-ties", "`forced`, `ties`: the passes in the folder `forced`"),
    ("score, tokens", "`score`, `tokens`: the transcripts' answers and ids"),
    ("tokens/s", "`tokens` over `seconds` of session.json, summed over sessions"),
)  # fmt: skip


def provenance(
    records: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any] | None
) -> list[tuple[str, list[Row]]]:
    """Titles with rows, from the session.json of each session and the manifest of the weights.

    What sessions share is said once; where they differ each is named.
    """
    engine = [_engine(record) for record in records]
    weights = dict(records[0].get("weights") or {}) if records else {}
    if manifest is not None:
        weights |= {key: manifest.get(key) for key in ("quantised", "bytes", "source")}
    parts = {
        "engine": rows_of(engine),
        "resolved by the engine": rows_of([_part(record, "resolved") for record in records]),
        "settings": rows_of([_settings(record) for record in records]),
        "weights": rows_of([weights]),
        "workload": rows_of([_part(record, "workload") for record in records]),
        "machine": rows_of([_part(record, "machine") for record in records]),
        "environment": rows_of([_part(record, "environment") for record in records]),
        "command": rows_of([{"argv": " ".join(map(str, record.get("argv") or ()))} for record in records]),
        "code": rows_of([_part(record, "code") for record in records]),
        "load": rows_of([_part(record, "load") for record in records]),
    }
    return [(title, rows) for title, rows in parts.items() if rows]


def rows_of(parts: Iterable[Mapping[str, Any]]) -> list[Row]:
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


def flatten(value: Mapping[str, Any], above: str = "") -> list[Row]:
    """Nested mappings as rows, lists of plain values in one line, everything else as JSON; empty ones left out."""
    rows: list[Row] = []
    for key, inner in value.items():
        name = f"{above}{key}"
        if isinstance(inner, Mapping):
            rows += flatten(inner, f"{name}.")
        elif inner not in (None, "", []):
            rows.append((name, _say(inner)))
    return rows


def _say(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(each, list | Mapping) for each in value):
        return ", ".join(_say(each) for each in value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 100_000 else str(value)
    return value if isinstance(value, str) else canonical_json(value)


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = record.get(name)
    return found if isinstance(found, Mapping) else {}


def _engine(record: Mapping[str, Any]) -> dict[str, Any]:
    of = _part(record, "engine_record")
    packages = ", ".join(f"{name} {version}" for name, version in _part(of, "packages").items())
    found = {key: record.get(key, of.get(key)) for key in ENGINE}
    return {**found, **{key: of.get(key) for key in IMAGE}, "packages": packages}


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    settings = _part(record, "settings")
    return {key: settings.get(key) for key in ("arguments", "environment", "harness", "container")} | {
        "top_logprobs": settings.get("top_logprobs")
    }
