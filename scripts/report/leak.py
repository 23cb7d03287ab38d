"""What a leaky harness does to a benchmark: the same cells with and without a file's times in a listing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.records.grid import Grid
from scripts.report import figures
from scripts.report.entries import Entry, read_entry
from scripts.report.markdown import markdown_table
from scripts.verdict.replays import Replay, find_replays, find_sessions
from scripts.volatile.compare import Found, Leak, find_volatile
from scripts.volatile.describe import name_kinds, quoted

CANNOT_SAY = (
    "**What this cannot say.** How far these bytes moved these models on these prompts, and no more: another model "
    "may heed them or not, and a swing of so few replays is itself uncertain. State that happens to be equal in two "
    "replays is not seen, and the clean harness is clean as far as these replays go. Of another harness it says "
    "nothing: compare two transcripts of yours with `python -m scripts.find_volatile`."
)

LEGEND = """\
- **leaky, clean**: the same model, weights, engine and prompts. The leaky harness answers `list_files` with what
  `ls -la --time-style=full-iso` prints, times of the model's own files and all; the clean one with names and sizes.
- **swing**: (max − min) / min of the tokens that a replay generated; **CV**: their standard deviation over their mean.
- **text**: k/N, the largest group of N replays that said the same bytes.
- **flips per 1,000**: at contexts that replays share, which after a leak are few: the interval says how few.
- **first leaked bytes**: each replay is compared with the cell's first one, tool result by tool result; shown is the
  earliest place that differs, with what stands there in the two. **volatile**: places of that kind in all comparisons;
  what follows from a value that was found before is not counted again.
"""


@dataclass(frozen=True)
class Compared:
    """The tool results of a cell's replays against those of its first: what was found in each."""

    found: list[Found]

    @property
    def first(self) -> Leak | None:
        """The earliest leak of the first replay that shows one."""
        return next((each.first for each in self.found if each.first is not None), None)

    @property
    def results(self) -> int:
        """Pairs of tool results that were compared."""
        return sum(each.compared for each in self.found)


def make_leak(grid: Grid, results: Path) -> str:
    """The page leak.md from the cells' summaries and transcripts under `results`."""
    names = {path for pair in grid.leaks for path in (pair.clean, pair.leaky)}
    entries = {
        cell.path: read_entry(cell, results, partial=grid.partial)
        for cell in grid.cells
        if cell.path in names
    }
    both = [(entries[pair.clean], entries[pair.leaky]) for pair in grid.leaks]
    compared = {
        name: compare_replays(results / "cells" / name) for name, each in entries.items() if each.summary
    }
    parts = [
        "# What does a leaky harness do?",
        grid.heading,
        *_verdict(both),
        markdown_table(_swings(both)),
        CANNOT_SAY,
        "## What leaked",
        markdown_table(_leaks(list(entries.values()), compared)),
        "## How to read this",
        LEGEND.rstrip(),
    ]
    return "\n\n".join(parts) + "\n"


def compare_replays(cell: Path) -> Compared:
    """Each replay's tool results against those of the cell's first replay; equal transcripts are compared once."""
    first, *others = find_replays(find_sessions(cell))
    known: dict[str, Found] = {}

    def against(other: Replay) -> Found:
        if other.transcript_sha256 not in known:
            known[other.transcript_sha256] = find_volatile(first.transcript, other.transcript)
        return known[other.transcript_sha256]

    return Compared([against(other) for other in others])


def _verdict(pairs: list[tuple[Entry, Entry]]) -> list[str]:
    """One line a pair: what the leak did to the swing."""
    lines = []
    for clean, leaky in pairs:
        if clean.summary is not None and leaky.summary is not None:
            before, after = (figures.percent(each.tokens.swing) for each in (leaky.summary, clean.summary))
            planned = clean.planned
            lines.append(
                f"- {planned.model} {planned.precision} on {planned.engine}, {leaky.summary.replays} and "
                f"{clean.summary.replays} replays: the tokens swing by {before} with the leaky harness, by {after} "
                "with the clean one."
            )
    return ["\n".join(lines)] if lines else []


def _swings(pairs: list[tuple[Entry, Entry]]) -> list[dict[str, str]]:
    rows = []
    for clean, leaky in pairs:
        for harness, entry in (("leaky", leaky), ("clean", clean)):
            row = entry.columns("model", "precision", "engine") | {"harness": harness}
            found = entry.summary
            if found is None:
                rows.append(row | {"tokens a replay": str(entry.not_run)})
                continue
            row["tokens a replay"] = f"{found.tokens.mean:,.0f}"
            row["swing"], row["CV"] = figures.percent(found.tokens.swing), figures.percent(found.tokens.cv)
            row["score"] = figures.score(found.score)
            row["text"] = figures.k_of_n(found.text_identical, found.replays)
            row["divergence"] = found.class_
            row["flips per 1,000 (95 %)"] = figures.flips(found.flips_per_1000_tokens, found.flips_bootstrap)
            rows.append(row)
    return rows


def _leaks(entries: list[Entry], compared: dict[str, Compared]) -> list[dict[str, str]]:
    rows = []
    for entry in entries:
        row = entry.columns("model", "precision", "variant")
        found = compared.get(entry.planned.path)
        if found is None:
            rows.append(row | {"tool": str(entry.not_run)})
            continue
        first = found.first
        row["results compared"] = f"{found.results:,}"
        if first is None:
            row["tool"] = "nothing volatile found"
        else:
            row["tool"] = f"`{first.tool}`"
            row["where"] = f"{first.conversation}, call {first.call}, byte {first.change.byte}"
            row["first leaked bytes"] = (
                f"{first.change.kind}: {quoted(first.change.one)} and {quoted(first.change.other)}"
            )
            row["volatile"] = name_kinds(found.found)
        rows.append(row)
    return rows
