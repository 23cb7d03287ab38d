"""The three tables as data frames: the finding's columns, the rest, and everything with full precision."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from scripts.comparison.pairs import Distance
from scripts.records.base import Record
from scripts.records.cell import Kernels
from scripts.records.forced import MODES, ModeForced, ModeNotRun
from scripts.report import figures
from scripts.report.ablation import flag_verdict
from scripts.report.entries import CELL_KEYS, Entry
from scripts.report.figures import DASH
from scripts.verdict.rates import at_most
from scripts.verdict.sessions import replays_differ, sessions_differ, share_at_most

Row = dict[str, bool | float | str | None]

SPEED = "tokens/s, varies"
QUESTION = "question: flips"
PARTS = "parts"
VOLATILE = "volatile in the harness"
KERNELS = "computed by"
FLAGS = "flags of the variant"
DISTANCE = "distance from {}: top-1, KL ≥ nat"


def finding(entries: Sequence[Entry]) -> pd.DataFrame:
    """The finding's own columns; the engine among them only where the grid has several.

    What computed them comes last: it is as long as it must be, and the figures before it fit a screen.
    """
    rows = []
    for entry in entries:
        row = {"model": entry.planned.model, "precision": entry.planned.label, "engine": entry.planned.engine}
        row |= agreement(entry)
        row[KERNELS] = figures.kernels(entry.summary) if entry.summary else DASH
        rows.append(row)
    frame = pd.DataFrame(rows, dtype=object)
    several = len({entry.planned.engine for entry in entries}) > 1
    return frame if several or frame.empty else frame.drop(columns="engine")


def agreement(entry: Entry) -> dict[str, str]:
    """How much of a cell agrees, of which class it is, and how often it flips; dashes where it was not run."""
    found = entry.summary
    if found is None:
        divergence = "refused" if entry.refused else str(entry.not_run)
        text, logprobs, flips = DASH, DASH, DASH
    else:
        text = figures.k_of_n(found.text_identical, found.replays)
        logprobs = figures.bits_k_of_n(found)
        divergence = found.class_
        flips = figures.flips(found.flips_per_1000_tokens, found.flips_bootstrap)
    return {"text": text, "logprobs": logprobs, "divergence": divergence, "flips per 1,000 (95 %)": flips}


def parted(entries: Sequence[Entry]) -> bool:
    """Whether any cell says where its replays part; those judged before that was looked at do not."""
    return any(entry.summary and entry.summary.parts for entry in entries)


def caused(entries: Sequence[Entry]) -> bool:
    """Whether any cell names what a start decided and tells the bits of its sessions."""
    return any(entry.summary and entry.summary.cause for entry in entries)


def leaked(entries: Sequence[Entry]) -> bool:
    """Whether any cell names what of its harness is volatile."""
    return any(entry.summary and entry.summary.volatile for entry in entries)


def distance_column(entries: Sequence[Entry]) -> str | None:
    """The name of the column that says how far cells are from those whose trajectories they were fed: their precision,
    where they are of one; None where no cell was fed any."""
    sources = {entry.distance.source.split("/")[1] for entry in entries if entry.distance}
    return DISTANCE.format(sources.pop() if len(sources) == 1 else "another cell") if sources else None


def details(entries: Sequence[Entry]) -> pd.DataFrame:
    """The rest, one row a cell; the speed in the last column, since it alone varies from build to build."""
    rows = []
    said = flag_verdicts(entries)
    distance = distance_column(entries)
    for entry in entries:
        row = entry.columns("model", "precision", "variant", "architecture", "engine")
        row["quantised"] = entry.quantised or DASH
        if distance is not None:
            row[distance] = figures.distance(entry.distance)
        found = entry.summary
        if any(said.values()):
            row[FLAGS] = said[entry.planned.path] or DASH
        if found is None:
            row["sessions × replays"] = "not run"
        else:
            even = found.replays % found.sessions == 0
            row["sessions × replays"] = (
                f"{found.sessions} × {found.replays // found.sessions}"
                if even
                else f"{found.sessions}, {found.replays} in all"
            )
            if parted(entries):
                row[PARTS] = figures.parts(found)
            row["first difference: position, margin"] = figures.position_and_margin(found.differences)
            if leaked(entries):
                row[VOLATILE] = found.volatile or DASH
            row["noise p99: chosen / margin"] = figures.noise(found.noise)
            row["exact ties"] = DASH if found.exact_ties is None else f"{found.exact_ties:,}"
            row["score"] = figures.score(found.score)
            row["tokens a replay"] = figures.tokens(found.tokens)
            row["forced: unequal bits"] = figures.forced(found.forced)
            row["deterministic"] = figures.yes_or_no(found.deterministic)
            row["near-ties explain: predicted flips"] = figures.ties(found.ties)
            row["replays that differ (95 %, by session)"] = figures.replays_differ(found)
            row["interval of flips"] = figures.flips_basis(found)
            if any(each.planned.question for each in entries):
                row[QUESTION] = figures.question(found.question)
            row[SPEED] = figures.significant(found.tokens_per_second)
        rows.append(row)
    return pd.DataFrame(rows, dtype=object).fillna(DASH)


def everything(entries: Sequence[Entry]) -> pd.DataFrame:
    """What table.csv holds: every figure with full precision, tokens_per_second last."""
    asked = any(entry.planned.question for entry in entries)
    rows = [_full_row(entry, asked=asked, parted=parted(entries)) for entry in entries]
    if distance_column(entries) is not None:
        for row, entry in zip(rows, entries, strict=True):
            row |= _distance_columns(entry.distance)
    if resolved(entries):
        said = flag_verdicts(entries)
        for row, entry in zip(rows, entries, strict=True):
            row["flags"] = said[entry.planned.path]
    if caused(entries):
        for row, entry in zip(rows, entries, strict=True):
            row["cause"] = (
                figures.cause(entry.summary.cause) if entry.summary and entry.summary.cause else None
            )
    return pd.DataFrame(rows, dtype=object)


def resolved(entries: Sequence[Entry]) -> bool:
    """Whether any cell says what computed it, or that its engine refused to start."""
    return any(entry.refused or (entry.summary and entry.summary.kernels) for entry in entries)


def flag_verdicts(entries: Sequence[Entry]) -> dict[str, str | None]:
    """By cell: what became of the arguments and variables that its variant sets, against `base` of its deployment."""
    names = ("model", "precision", "engine")
    bases = {
        tuple(entry.columns(*names).values()): entry for entry in entries if entry.planned.variant == "base"
    }
    return {
        entry.planned.path: flag_verdict(bases.get(tuple(entry.columns(*names).values())), entry)
        for entry in entries
    }


def _full_row(entry: Entry, *, asked: bool, parted: bool) -> Row:
    found, planned = entry.summary, entry.planned
    row = _fields("", planned, *CELL_KEYS, "architecture")
    row["quantised"] = entry.quantised
    row["status"] = "done" if found else "not run"
    row["reason"] = entry.not_run
    row["note"] = planned.note
    row |= _fields("", found, "sessions", "replays", "text_identical", "logprobs_identical", "class_")
    if parted:
        row |= _fields("", found, "volatile")
        agreed = found.agreement if found else None
        row |= _fields("", found, "parts")
        row |= _fields("within_", agreed and agreed.within, "pairs", "equal_text", "equal_bits")
        row |= _fields("between_", agreed and agreed.between, "pairs", "equal_text", "equal_bits")
        row |= _fields("first_replay_", agreed and agreed.first_replay, "sessions", "odd")
    rate = found.flips_per_1000_tokens if found else None
    row |= _fields("flips_per_1000_tokens_", rate, "events", "exposure", "rate", "low", "high")
    bound = at_most(rate.events, rate.exposure) if rate else None
    row["flips_per_1000_tokens_at_most"] = bound.flips_per_1000_tokens if bound else None
    row["at_most_one_flip_in_tokens"] = bound.one_flip_in_tokens if bound else None
    row["differences"] = len(found.differences) if found else None
    first = figures.first_difference(found.differences) if found else None
    place = ("session", "replay", "scenario", "turn", "kind", "position")
    row |= _fields("first_difference_", first, *place, "margin", "margin_censored", "class_")
    noise = found.noise if found else None
    row |= _fields("noise_chosen_", noise and noise.chosen, "p50", "p99", "max")
    row |= _fields("noise_margin_", noise and noise.margin, "p50", "p99", "max")
    row |= _fields("", found, "exact_ties", "deterministic")
    row |= _fields("first_difference_", first, "margin_steps")
    row |= _fields("kernels_", found and found.kernels, *Kernels.__struct_fields__)
    differently = found.resolved_differently if found else None
    row["resolved_differently"] = "; ".join(differently) if differently else None
    row |= _fields("flips_bootstrap_", found and found.flips_bootstrap, "low", "high")
    differ = replays_differ(found.hashes, found.reference) if found else None
    for name in ("share", "low", "high"):
        row[f"replays_differ_{name}"] = None if differ is None else getattr(differ, name)
    row["sessions_differ_at_most"] = (
        share_at_most(sessions_differ(found.hashes), found.sessions) if found and found.hashes else None
    )
    forced = found.forced if found else None
    for mode in MODES:
        row |= _forced_columns(f"forced_{mode}_", getattr(forced, mode) if forced else None)
    ties = found.ties if found else None
    row |= _fields("ties_", ties, "near_tie_account", "reason", "mode")
    row |= _fields("ties_predicted_", ties and ties.predicted_flips_per_1000_tokens, "rate", "low", "high")
    row |= _fields("ties_observed_", ties and ties.observed_flips_per_1000_tokens, "rate", "low", "high")
    row |= _fields("score_", found and found.score, "mean", "min", "max")
    row |= _fields("tokens_", found and found.tokens, "mean", "cv", "swing")
    if asked:
        answered = ("answer", "after", "flipped", "evidence", "spent")
        row |= _fields("question_", found and found.question, "r0", "r1", "per", "alpha", "beta", *answered)
    return row | _fields("", found, "tokens_per_second")


def _fields(prefix: str, found: Record | None, *names: str) -> Row:
    """These fields of a record as columns; empty ones where there is no record."""
    return {f"{prefix}{name.rstrip('_')}": None if found is None else getattr(found, name) for name in names}


def _distance_columns(found: Distance | None) -> Row:
    along = found.along if found else None
    apart, change = (along.divergence, along.logprob_change) if along else (None, None)
    return {
        "distance_from": found.source if found else None,
        "distance_mode": found.mode if found else None,
        **_fields("distance_", along, "positions", "top1_equal", "equal_bits"),
        **_fields("distance_kl_at_least_", apart, "mean", "p50", "p99", "max"),
        **_fields("distance_logprob_change_", change, "mean", "p50", "p99", "max"),
    }


def _forced_columns(prefix: str, found: ModeForced | ModeNotRun | None) -> Row:
    run = found if isinstance(found, ModeForced) else None
    row: Row = {f"{prefix}not_run": found.not_run if isinstance(found, ModeNotRun) else None}
    if found is None:
        row[f"{prefix}not_run"] = "no forced.json"
    row |= _fields(prefix, run, "passes", "positions")
    for name in ("unequal_bits", "other_argmax", "under_noise"):
        row[f"{prefix}{name}"] = getattr(run, name).share if run else None
    for name in ("chosen", "margin"):
        row[f"{prefix}noise_{name}_p99"] = getattr(run.noise_p99, name) if run else None
    return row
