"""The three tables as data frames: the finding's columns, the rest, and everything with full precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from scripts.report import figures
from scripts.report.entries import CELL_KEYS, Entry
from scripts.report.figures import DASH
from scripts.verdict.forced import MODES
from scripts.verdict.rates import upper_bound

SPEED = "tokens/s, varies"
QUESTION = "question: flips"


def finding(entries: Sequence[Entry]) -> pd.DataFrame:
    """The finding's own columns; the engine among them only where the grid has several.

    What is quantised comes last: it is as long as it must be, and the figures before it fit a screen.
    """
    rows = []
    for entry in entries:
        row = {"model": entry.planned["model"], "precision": entry.label, "engine": entry.planned["engine"]}
        found = entry.summary
        if found is None:
            row |= {"text": DASH, "logprobs": DASH, "divergence": str(entry.not_run)}
            row["flips per 1,000 (95 %)"] = DASH
        else:
            row["text"] = figures.k_of_n(found["text_identical"], found["replays"])
            row["logprobs"] = figures.k_of_n(found["logprobs_identical"], found["replays"])
            row["divergence"] = found["class"]
            row["flips per 1,000 (95 %)"] = figures.flips(found["flips_per_1000_tokens"])
        row["quantised"] = entry.quantised or DASH
        rows.append(row)
    frame = pd.DataFrame(rows, dtype=object)
    several = len({entry.planned["engine"] for entry in entries}) > 1
    return frame if several or frame.empty else frame.drop(columns="engine")


def details(entries: Sequence[Entry]) -> pd.DataFrame:
    """The rest, one row a cell; the speed in the last column, since it alone varies from build to build."""
    rows = []
    for entry in entries:
        planned, found = entry.planned, entry.summary
        row = {key: planned[key] for key in ("model", "precision", "variant", "architecture", "engine")}
        if found is None:
            row["sessions × replays"] = "not run"
        else:
            row["sessions × replays"] = _sessions_times_replays(found)
            row["first difference: position, margin"] = figures.position_and_margin(found["differences"])
            row["noise p99: chosen / margin"] = figures.noise(found["noise"])
            row["exact ties"] = DASH if found["exact_ties"] is None else f"{found['exact_ties']:,}"
            row["score"] = figures.score(found["score"])
            row["tokens a replay"] = figures.tokens(found["tokens"])
            row["forced: unequal bits"] = figures.forced(found.get("forced"))
            row["deterministic"] = figures.yes_or_no(found.get("deterministic"))
            row["near-ties explain: predicted flips"] = figures.ties(found.get("ties"))
            row["flips, sessions resampled"] = figures.bootstrap(found.get("flips_bootstrap"))
            if any(each.planned.get("question") for each in entries):
                row[QUESTION] = figures.question(found.get("question"))
            speed = found["tokens_per_second"]
            row[SPEED] = DASH if speed is None else figures.significant(speed)
        rows.append(row)
    frame = pd.DataFrame(rows, dtype=object)
    return frame.fillna(DASH)


def _sessions_times_replays(found: dict[str, Any]) -> str:
    sessions, replays = found["sessions"], found["replays"]
    if replays % sessions == 0:
        return f"{sessions} × {replays // sessions}"
    return f"{sessions}, {replays} in all"


def everything(entries: Sequence[Entry]) -> pd.DataFrame:
    """What table.csv holds: every figure with full precision, tokens_per_second last."""
    asked = any(entry.planned.get("question") for entry in entries)
    return pd.DataFrame([_full_row(entry, asked=asked) for entry in entries], dtype=object)


def _full_row(entry: Entry, *, asked: bool) -> dict[str, Any]:
    planned = entry.planned
    found: dict[str, Any] = entry.summary or {}
    row = {key: planned[key] for key in CELL_KEYS}
    row["architecture"] = planned["architecture"]
    row["quantised"] = entry.quantised
    row["status"] = "done" if entry.summary else "not run"
    row["reason"] = entry.not_run
    row["note"] = planned.get("note")
    for key in ("sessions", "replays", "text_identical", "logprobs_identical", "class"):
        row[key] = found.get(key)
    rate = found.get("flips_per_1000_tokens") or {}
    for key in ("events", "exposure", "rate", "low", "high"):
        row[f"flips_per_1000_tokens_{key}"] = rate.get(key)
    exposed = bool(rate.get("exposure"))
    row["flips_per_1000_tokens_at_most"] = (
        1000 * upper_bound(rate["events"], rate["exposure"]) if exposed else None
    )
    row["at_most_one_flip_in_tokens"] = figures.at_most_one_in(rate) if exposed else None
    row["differences"] = len(found["differences"]) if found else None
    first = figures.first_difference(found.get("differences", [])) or {}
    for key in (
        "session",
        "replay",
        "scenario",
        "turn",
        "kind",
        "position",
        "margin",
        "margin_censored",
        "class",
    ):
        row[f"first_difference_{key}"] = first.get(key)
    noise = found.get("noise") or {}
    for name in ("chosen", "margin"):
        for key in ("p50", "p99", "max"):
            row[f"noise_{name}_{key}"] = (noise.get(name) or {}).get(key)
    row["exact_ties"] = found.get("exact_ties")
    row["deterministic"] = found.get("deterministic")
    for key in ("low", "high"):
        row[f"flips_bootstrap_{key}"] = (found.get("flips_bootstrap") or {}).get(key)
    row |= _forced_columns(found.get("forced") or {})
    ties = found.get("ties") or {}
    for key in ("near_tie_account", "reason", "mode"):
        row[f"ties_{key}"] = ties.get(key)
    for name in ("predicted", "observed"):
        for key in ("rate", "low", "high"):
            row[f"ties_{name}_{key}"] = (ties.get(f"{name}_flips_per_1000_tokens") or {}).get(key)
    for name, keys in (("score", ("mean", "min", "max")), ("tokens", ("mean", "cv", "swing"))):
        for key in keys:
            row[f"{name}_{key}"] = (found.get(name) or {}).get(key)
    if asked:
        question = found.get("question") or {}
        for key in ("r0", "r1", "per", "alpha", "beta", "answer", "after", "flipped", "evidence", "spent"):
            row[f"question_{key}"] = question.get(key)
    row["tokens_per_second"] = found.get("tokens_per_second")
    return row


def _forced_columns(forced: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for mode in MODES:
        found = forced.get(mode) or {}
        row[f"forced_{mode}_not_run"] = found.get("not_run", None if found else "no forced.json")
        for key in ("passes", "positions"):
            row[f"forced_{mode}_{key}"] = found.get(key)
        for key in ("unequal_bits", "other_argmax", "under_noise"):
            row[f"forced_{mode}_{key}"] = (found.get(key) or {}).get("share")
        for key in ("chosen", "margin"):
            row[f"forced_{mode}_noise_{key}_p99"] = (found.get("noise_p99") or {}).get(key)
    return row
