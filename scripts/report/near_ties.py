"""Near-ties as a page with a figure: chances of flips against margins, what they foretell, what a flip costs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from scripts.common.files import write_whole
from scripts.records.forced import MODES
from scripts.records.grid import Grid
from scripts.report import figures
from scripts.report.entries import Entry, read_entries
from scripts.report.figures import DASH
from scripts.report.markdown import markdown_table
from scripts.report.svg import BLUE, GOLD, GREEN, ORANGE, PURPLE, SKY, svg_figure
from scripts.verdict.near_ties import (
    Contexts,
    Foretold,
    by_margin,
    by_step,
    forced_contexts,
    foretell,
    free_contexts,
    moved_ties,
)
from scripts.verdict.partings import Partings, read_partings

LOOKS = tuple(
    (colour, marker) for marker in ("o", "s", "^") for colour in (BLUE, ORANGE, GREEN, PURPLE, SKY, GOLD)
)
FREE = "free"

LEGEND = """\
- **context**: all that a request holds up to one generated token, where two or more replays share it (free), or a
  position of a trajectory that was fed back several times (prefill: read at once; decode: token by token). Its
  **margin** is the best logprob minus the second best, nat, as the first replay or pass recorded it.
- **flips per 1,000**: at a context of n replays, n minus the largest group that took one token, over n; per 1,000, with
  the exact 95 % interval. The interval takes flips as independent; flips of one context are not. `0 of 37 (≤ 2.7)`:
  none in an exposure of 37 tokens.
- **exact ties**: contexts whose two best tokens have the same logprob, and at how many of them another token was ever
  taken: a tie that is the same tie every time is no flip. Logits in bf16 make ties: two that differ by less than
  their step are one number. In float32 they hardly occur.
- **steps**: the margin in steps of bf16 logits of that size, where the recorded candidates tell the step (9 in 10
  sure, what share of a cell's positions has which step being estimated from all of them).
- **foretold**: the chance by class of margins is taken from every other stretch of 64 tokens, and the events on the
  rest are foretold, with a 95 % interval; `one rate` is what a single rate for all margins foretells.
- **parted**: scenarios of replays (not the reference's) that a flip parted from the reference. **further tokens**: what
  the replay still generated more (+) or less (-) than the reference after it: median, least to most. **other answers**:
  questions with another answer, of those that either answered in these scenarios; lost: the reference alone was right,
  won: the replay alone.
- **swing**: of tokens generated a replay, (most - least) / least. **score**: mean, least to most of the replays.
"""

CANNOT_SAY = (
    "**What this cannot say.** Margins are the workload's as much as the model's: another workload has another share "
    "of near-ties. What is foretold is foretold for this cell, from half of its own contexts."
)


@dataclass(frozen=True)
class Looked:
    """A cell with its contexts by how they were looked at: free, prefill, decode."""

    entry: Entry
    name: str
    contexts: dict[str, Contexts]
    partings: Partings


def read_looked(grid: Grid, results: Path) -> list[Looked]:
    """The cells of the grid that were run and recorded logprobs; DataError where files are missing or torn."""
    found = []
    entries = [entry for entry in read_entries(grid, results) if entry.summary]
    engines = len({entry.planned.engine for entry in entries}) > 1
    for entry in entries:
        cell = results / "cells" / entry.planned.path
        looked = {FREE: free_contexts(cell)} | {mode: forced_contexts(cell, mode) for mode in MODES}
        contexts = {
            mode: each for mode, each in looked.items() if each is not None and each.known.margins.size
        }
        if contexts:
            name = f"{entry.name} ({entry.planned.engine})" if engines else entry.name
            found.append(Looked(entry, name, contexts, read_partings(cell)))
    return found


def write_near_ties(grid: Grid, results: Path, target: Path) -> None:
    """Write the page, and the figure beside it, from the cells under `results`; DataError as `read_looked`."""
    looked, figure = read_looked(grid, results), target.with_suffix(".svg")
    draw_near_ties(looked, figure)
    write_whole(target, make_near_ties(looked, grid.heading, figure.name))


def make_near_ties(looked: Sequence[Looked], heading: str, figure: str) -> str:
    """The page; `figure`: the name of the figure beside it."""
    parts = ["# What do near-ties predict, and what does one cost?", heading]
    if not looked:
        return "\n\n".join([*parts, "No cell recorded logprobs: there is no margin to look at."]) + "\n"
    parts += [
        "\n".join(_sentences(looked)),
        f"![Flips per 1,000 tokens against the margin]({figure})",
        "## The chance of a flip against the margin",
        markdown_table([row for each in looked for row in _margin_rows(each)]),
        "## Exact ties, and what margins foretell",
        markdown_table([row for each in looked for row in _tie_rows(each)]),
    ]
    if steps := [row for each in looked for row in _step_rows(each)]:
        parts += ["## The same in steps of bf16 logits", markdown_table(steps)]
    parts += [
        "## What a flip costs",
        markdown_table([_cost_row(each) for each in looked]),
        CANNOT_SAY,
        f"## How to read this\n\n{LEGEND.rstrip()}",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _sentences(looked: Sequence[Looked]) -> list[str]:
    """What was seen of the cells that flip, each in words, then of the others together."""
    lines, still = [], []
    for each in looked:
        said = [
            f"{mode} {figures.flips(known.rate())}, at {np.count_nonzero(known.events):,} of"
            f" {figures.count(known.margins.size, 'context')}, the widest margin"
            f" {known.margins[known.events > 0].max():.3f} nat"
            for mode, contexts in each.contexts.items()
            if (known := contexts.known).events.any()
        ]
        if said:
            lines.append(f"- {each.name}: flips per 1,000 tokens {'; '.join(said)}")
        else:
            exposure = sum(int(contexts.known.replays.sum()) for contexts in each.contexts.values())
            still.append(f"{each.name} ({exposure:,})")
    if still:
        lines.append(
            f"- no flip at all, in an exposure of so many tokens, free and forced: {', '.join(still)}"
        )
    return lines


def _margin_rows(looked: Looked) -> list[dict[str, str]]:
    rows = []
    for mode, contexts in looked.contexts.items():
        known = contexts.known
        row = {"cell": looked.name, "looked at": mode, "contexts": f"{known.margins.size:,}"}
        for each in by_margin(known):
            share = figures.percent(each.contexts / known.margins.size)
            row[f"{each.label} nat"] = f"{share}: {_rate(each.rate.events, each.rate.exposure)}"
        rows.append(row)
    return rows


def _step_rows(looked: Looked) -> list[dict[str, str]]:
    if FREE not in looked.contexts:
        return []
    contexts = looked.contexts[FREE].known
    classes = by_step(contexts)
    if not any(each.contexts for each in classes[1:]):
        return []
    row = {"cell": looked.name}
    for each in classes:
        row[f"{each.label} steps"] = f"{each.contexts:,}: {_rate(each.rate.events, each.rate.exposure)}"
    return [row]


def _rate(events: int, exposure: int) -> str:
    """Events over exposure, per 1,000."""
    if not exposure:
        return DASH
    if not events:
        return f"0 of {exposure:,}"
    return f"{figures.significant(1000 * events / exposure)} ({events:,} of {exposure:,})"


def _tie_rows(looked: Looked) -> list[dict[str, str]]:
    rows = []
    for mode, contexts in looked.contexts.items():
        tied, moved = moved_ties(contexts)
        row = {
            "cell": looked.name,
            "looked at": mode,
            "exact ties": f"{tied:,} of {contexts.known.margins.size:,}",
            "ties that flipped": figures.k_of_n(moved, tied) if tied else DASH,
        }
        rows.append({**row, **_foretold(foretell(contexts))})
    return rows


def _foretold(found: Foretold | None) -> dict[str, str]:
    if found is None:
        return dict.fromkeys(("foretold", "one rate", "seen", "as foretold"), DASH)
    return {
        "foretold": f"{found.expected:.1f} ({found.low:.0f} to {found.high:.0f})",
        "one rate": f"{found.constant:.1f}",
        "seen": f"{found.observed:,}",
        "as foretold": figures.yes_or_no(found.consistent if found.observed or found.fitted else None),
    }


def _cost_row(looked: Looked) -> dict[str, str]:
    parted, summary = looked.partings.found, looked.entry.summary
    assert summary is not None
    further = [each.further for each in parted]
    questions = sum(each.questions for each in parted)
    return {
        "cell": looked.name,
        "parted": figures.k_of_n(len(parted), looked.partings.episodes),
        "after token": _span([each.position for each in parted]),
        "further tokens": _span(further, signed=True),
        "other answers": figures.k_of_n(sum(each.changed for each in parted), questions)
        if questions
        else DASH,
        "lost, won": f"{sum(each.lost for each in parted)}, {sum(each.won for each in parted)}"
        if questions
        else DASH,
        "tokens a replay": figures.tokens(summary.tokens),
        "score": figures.score(summary.score),
    }


def _span(values: Iterable[int], *, signed: bool = False) -> str:
    """Median, least to most."""
    found, form = list(values), "+,.0f" if signed else ",.0f"
    if not found:
        return DASH
    return f"{statistics.median(found):{form}} ({min(found):{form}} to {max(found):{form}})"


def draw_near_ties(looked: Sequence[Looked], target: Path) -> None:
    """Write the figure as SVG to `target`: flips against the margin of each cell that flips, by how it was looked at.

    The same bytes from the same records.
    """
    with svg_figure(target, width=7, height=4) as figure:
        axes = figure.subplots()
        looks = cycle(LOOKS)
        labels: list[str] = []
        for each in looked:
            for mode, contexts in each.contexts.items():
                classes = by_margin(contexts.known)
                labels = [found.label for found in classes]
                if not any(found.rate.events for found in classes):
                    continue
                colour, marker = next(looks)
                seen = [
                    (index, found.rate)
                    for index, found in enumerate(classes)
                    if found.rate.events and found.rate.rate is not None
                ]
                rates = [rate.rate or 0.0 for _, rate in seen]
                low = [value - (rate.low or 0.0) for value, (_, rate) in zip(rates, seen, strict=True)]
                high = [(rate.high or 0.0) - value for value, (_, rate) in zip(rates, seen, strict=True)]
                axes.errorbar(
                    [index for index, _ in seen],
                    rates,
                    yerr=[low, high],
                    fmt=f"{marker}-",
                    color=colour,
                    markersize=4,
                    linewidth=1,
                    label=f"{each.name}, {mode}",
                )
        axes.set_ylabel("flips per 1,000 tokens")
        axes.set_xlabel("margin, nat")
        axes.set_xticks(range(len(labels)), labels)
        axes.grid(linewidth=0.3)
        if axes.has_data():
            axes.set_yscale("log")
            axes.legend(loc="best", fontsize=6)
        else:
            axes.text(0.5, 0.5, "no flip in any cell", ha="center", transform=axes.transAxes)
