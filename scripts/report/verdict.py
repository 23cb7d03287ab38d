"""What a cell reads, in a few lines for whoever waits for it."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.records.cell import Cell, CellClass
from scripts.report import figures
from scripts.report.entries import Entry
from scripts.verdict.rates import at_most

READINGS: dict[CellClass, str] = {
    "harness": "the prompts differed before the model did",
    "refusal": "the server answered in some replays and refused in others",
    "not-greedy": "the texts differ where the most likely token was not taken: no tie",
    "unclassified": "the texts differ, and without logprobs nothing says how near a tie it was",
    "wide": "the texts differ where no tie explains it",
    "first-block": "the texts differ among the first tokens",
    "near-tie": "the texts differ where two tokens were about as likely",
    "logits-only": "the texts are equal and the bits under them are not: luck",
    "none observed": "nothing differed",
}


def verdict_lines(entries: Sequence[Entry], results: str = "results") -> list[str]:
    """Four lines a cell and what else is read of its server (one line, where it was not run); where the report is."""
    found = [line for entry in entries for line in _cell_lines(entry)]
    return [*found, f"report: {results}/report.html, every figure in {results}/table.csv"]


def _cell_lines(entry: Entry) -> list[str]:
    found = entry.summary
    if found is None:
        return [f"{entry.name}: {entry.not_run}"]
    unit = "characters" if any(reading.kind == "characters" for reading in found.readings) else "tokens"
    return [
        f"{entry.name}: {found.class_} ({READINGS[found.class_]})",
        f"text: {figures.k_of_n(found.text_identical, found.replays)} replays equal, in "
        f"{figures.count(found.sessions, 'session')}, {found.tokens.mean:,.0f} {unit} a replay",
        "bits: "
        + (
            "not known, without logprobs of the whole"
            if found.logprobs_identical is None
            else f"{figures.bits_k_of_n(found)} replays equal"
        ),
        _first_difference(found),
        *(f"also: {reading.sentence}" for reading in found.readings if reading.kind != "characters"),
    ]


def _first_difference(found: Cell) -> str:
    first = figures.first_difference(found.differences)
    if first is not None:
        margin = f", margin {figures.margin(first)} nat" if first.margin is not None else ""
        return (
            f"first difference: {first.scenario}, after {figures.count(first.position, 'token')} of its answer"
            f"{margin} (session {first.session}, replay {first.replay})"
        )
    rate = found.flips_per_1000_tokens
    bound = None if rate.events else at_most(0, rate.exposure)
    if bound is None:
        return "first difference: none"
    return (
        f"first difference: none; at most one flip in {bound.one_flip_in_tokens:,} tokens (95 %, given "
        f"{figures.count(found.sessions, 'session')})"
    )
