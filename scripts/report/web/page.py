"""The page report.html, whole and by itself: nothing in it is fetched from anywhere.

The same data give the same bytes; between two builds what varies is the speed, and what a session records of its
machine and times.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from scripts.common.files import read_json
from scripts.report import figures, frames
from scripts.report.controls import Reading, banner
from scripts.report.entries import CELL_KEYS, Entry
from scripts.report.figures import DASH
from scripts.report.page import legend
from scripts.report.web import ranks
from scripts.report.web.agreement import State, States, count_other_bits
from scripts.report.web.cells import CellFiles, read_cell_files
from scripts.report.web.markup import render_inline, render_markdown, render_table, title_of
from scripts.report.web.pictures import (
    ROWS,
    WAYS,
    Mark,
    Seen,
    columns_step,
    draw_forced,
    draw_margins,
    draw_strip,
)
from scripts.report.web.provenance import FIGURES, provenance
from scripts.report.web.texts import Candidate, Pair, read_decoder
from scripts.verdict.forced import MODES, modes_run

PAIRS = 30  # pairs of texts shown of a cell at most
READING = "How to read this"  # the heading of the last part of each page in Markdown
HERE = Path(__file__).parent
SORTED: dict[str, Callable[[dict[str, Any]], ranks.Key | None]] = {
    "text": lambda found: ranks.share_key(found["text_identical"], found["replays"]),
    "logprobs": lambda found: ranks.share_key(found["logprobs_identical"], found["replays"]),
    "divergence": lambda found: ranks.class_key(found["class"]),
    "flips per 1,000 (95 %)": lambda found: ranks.flips_key(found["flips_per_1000_tokens"]),
}


@dataclass(frozen=True)
class Section:
    """One cell's part of the page. `free`: positions with other bits than the reference, and positions compared."""

    entry: Entry
    name: str
    context: dict[str, Any]
    free: tuple[int, int] | None


def render_report(
    grid: dict[str, Any],
    entries: Sequence[Entry],
    readings: Sequence[Reading],
    results: Path,
    pages: Sequence[tuple[str, str]],
) -> str:
    """The whole page. `pages`: further pages in Markdown, each with its name, shown as sections of their own."""
    sections = [make_section(number, entry, results) for number, entry in enumerate(entries)]
    script = (HERE / "page.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html.jinja").render(
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        heading=render_inline(str(grid["heading"])),
        banner=render_markdown(banner(readings)) if banner(readings) else "",
        finding=_linked_table(frames.finding(entries), sections, "finding"),
        details=_linked_table(frames.details(entries), sections, "details"),
        readings=[render_inline(reading.line.removeprefix("- ")) for reading in readings],
        legend=render_markdown(legend(grid, entries)),
        forced=_forced_against_free(sections),
        pages=[_page(name, text) for name, text in pages],
        sections=[section.context for section in sections],
        most_pairs=PAIRS,
    )


def _page(name: str, text: str) -> dict[str, Any]:
    """A page in Markdown as a section; its last part, how to read it, is folded away."""
    body, _, legend = text.partition(f"\n## {READING}\n")
    return {
        "name": f"page-{name}",
        "title": title_of(text) or name,
        "body": render_markdown(body, level=2, title=False),
        "legend": render_markdown(legend, level=2),
    }


def make_section(number: int, entry: Entry, results: Path) -> Section:
    """One cell's part, its files read."""
    name = f"cell-{number}"
    context: dict[str, Any] = {
        "name": name,
        "title": f"{entry.planned['model']} {entry.label}",
        "cell": entry.cell,
        "engine": entry.planned["engine"],
        "note": entry.planned.get("note"),
        "not_run": entry.not_run,
        "quantised": entry.quantised,
    }
    summary = entry.summary
    if summary is None:
        return Section(entry, name, context, None)
    model, precision = (str(entry.planned[key]) for key in CELL_KEYS[:2])
    quant = results / "quants" / model / precision
    read = read_cell_files(results / "cells" / entry.cell, summary, read_decoder(quant))
    manifest = read_json(quant / "manifest.json") if (quant / "manifest.json").is_file() else None
    others = [row for index, row in enumerate(read.rows) if index != read.reference]
    free = count_other_bits(others) if read.margins is not None and others else None
    shown = read.pairs[:PAIRS]
    context |= {
        "summary": _in_short(summary),
        "strip": _strip(name, entry, read, shown),
        "strip_words": _strip_words(summary, read, free),
        "states": _states(read.rows),
        "histogram": _histogram(name, entry, summary, read),
        "histogram_words": _histogram_words(summary, read),
        "pairs": [_pair(name, index, pair) for index, pair in enumerate(shown)],
        "all_pairs": len(read.pairs),
        "differences": len(summary["differences"]),
        "provenance": provenance([session.record for session in read.sessions], manifest),
        "figures": [(what, render_inline(source)) for what, source in FIGURES],
        "sessions": [_session(each.number, each.record) for each in read.sessions],
        "hashes": _hashes(summary, read),
    }
    return Section(entry, name, context, free)


def _linked_table(frame: pd.DataFrame, sections: Sequence[Section], kind: str) -> Markup:
    """A frame as a sortable table, its rows' names and fractions linked to where they come from."""
    texts = [[str(value) for value in row] for row in frame.to_numpy().tolist()]
    columns, order = [], []
    for index, column in enumerate(map(str, frame.columns)):
        values = [row[index] for row in texts]
        columns.append(
            [_cell(column, value, section) for value, section in zip(values, sections, strict=True)]
        )
        if column in SORTED:
            found = [section.entry.summary for section in sections]
            order.append(ranks.rank([None if each is None else SORTED[column](each) for each in found]))
        else:
            order.append(ranks.ranks_of(values))
    rows = [[column[index] for column in columns] for index in range(len(texts))]
    return render_table([str(column) for column in frame.columns], rows, order, kind)


def _cell(column: str, value: str, section: Section) -> Markup:
    if column == "model":
        return Markup('<a href="#{}">{}</a>').format(section.name, value)
    if column in ("text", "logprobs") and section.entry.summary is not None and value != DASH:
        return Markup('<a href="#{}-from">{}</a>').format(section.name, value)
    if column == "divergence" and section.entry.summary is not None and section.entry.summary["differences"]:
        return Markup('<a href="#{}-texts">{}</a>').format(section.name, value)
    return escape(value)


def _in_short(summary: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("divergence", str(summary["class"])),
        ("text", figures.k_of_n(summary["text_identical"], summary["replays"])),
        ("logprobs", figures.k_of_n(summary["logprobs_identical"], summary["replays"])),
        ("flips per 1,000", figures.flips(summary["flips_per_1000_tokens"])),
        ("score", figures.score(summary["score"])),
    ]


def _place(session: int, replay: int) -> str:
    return f"{session}·{replay}"


def _strip(name: str, entry: Entry, read: CellFiles, shown: Sequence[Pair]) -> str:
    pair_of = {
        (*place, pair.found["scenario"]): f"{name}-pair-{index}"
        for index, pair in enumerate(shown)
        for place in pair.replays
    }
    assert entry.summary is not None
    differences: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for found in entry.summary["differences"]:
        differences.setdefault((found["session"], found["replay"]), []).append(found)
    drawn = _drawn_replays(read, set(differences))
    rows, marks = dict[str, States](), list[Mark]()
    starts = {lane.scenario: (index, lane.start) for index, lane in enumerate(read.lanes)}
    for row, index in enumerate(drawn):
        replay = read.replays[index]
        label = _place(replay.session, replay.number)
        rows[f"reference {label}" if index == read.reference else label] = read.rows[index]
        for found in differences.get((replay.session, replay.number), ()):
            lane, start = starts[found["scenario"]]
            address = pair_of.get((replay.session, replay.number, found["scenario"]))
            marks.append(
                Mark(
                    name=f"{name}-mark-{replay.session}-{replay.number}-{lane}",
                    row=row,
                    column=start + int(found["position"]),
                    kind=str(found["kind"]),
                    title=f"replay {label}, {found['scenario']}: {_difference_words(found)}",
                    address=f"#{address}" if address else None,
                )
            )
    return draw_strip(name, f"Replays of {entry.cell} beside the reference", read.lanes, rows, marks)


def _drawn_replays(read: CellFiles, differing: set[tuple[int, int]]) -> list[int]:
    """The replays that are drawn: all, or of too many the reference and those that differ before the rest."""
    indices = range(len(read.replays))
    wanted = sorted(
        indices,
        key=lambda index: (
            index != read.reference,
            (read.replays[index].session, read.replays[index].number) not in differing,
            index,
        ),
    )
    return sorted(wanted[:ROWS])


def _difference_words(found: dict[str, Any]) -> str:
    words = f"{found['class']} at token {found['position']:,}, turn {found['turn']}"
    if found["margin"] is None:
        return words
    return f"{words}, margin {'≥ ' if found['margin_censored'] else ''}{figures.tiny(found['margin'])} nat"


def _states(rows: Sequence[States]) -> list[str]:
    """The states that occur, as the legend names them."""
    there = {int(each) for row in rows for each in set(row.tolist())}
    return [state.name.lower().replace("_", "-") for state in State if state in there and state != State.OVER]


def _strip_words(summary: dict[str, Any], read: CellFiles, free: tuple[int, int] | None) -> str:
    columns = sum(lane.width for lane in read.lanes)
    step = columns_step(columns)
    words = [f"{_count(len(read.replays), 'replay')} over {_count(columns, 'token')} of the longest."]
    if step > 1:
        words.append(f"A column stands for {step} tokens and shows the gravest of them.")
    if len(read.replays) > ROWS:
        words.append(f"Drawn are {ROWS} of them, those that differ first of all.")
    if free is None:
        words.append(
            "No logprobs were recorded: equal means equal tokens."
            if read.margins is None
            else "One replay alone."
        )
    else:
        share = f" ({figures.percent(free[0] / free[1])})" if free[0] else ""
        words.append(
            f"Before the first differences {free[0]:,} of {free[1]:,} positions{share} have other bits than the"
            " reference."
        )
    return " ".join(words)


def _noise(summary: dict[str, Any]) -> dict[str, float] | None:
    found: dict[str, float] | None = (summary["noise"] or {}).get("margin")
    return found


def _histogram(name: str, entry: Entry, summary: dict[str, Any], read: CellFiles) -> str:
    if read.margins is None or not len(read.margins):
        return ""
    margins = [each["margin"] for each in summary["differences"] if each["margin"] is not None]
    label = f"Margins of the reference of {entry.cell} over the noise"
    return draw_margins(f"{name}-margins", label, read.margins, _noise(summary), margins)


def _histogram_words(summary: dict[str, Any], read: CellFiles) -> str:
    if read.margins is None or not len(read.margins):
        return "No logprobs were recorded, so there are no margins."
    noise = _noise(summary)
    total = len(read.margins)
    ties = int((read.margins == 0).sum())
    if noise is None:
        words = (
            f"{_count(total, 'position')}; no two replays share one, so there is no noise to compare with."
        )
    elif noise["max"] == 0:
        words = f"{_count(total, 'position')}; the margins of replays in one context are all equal: no noise."
    else:
        under = int((read.margins < noise["p99"]).sum())
        words = (
            f"{under:,} of {_count(total, 'position')} ({figures.percent(under / total)}) have a margin under the noise"
            f" of margins (p99 {figures.tiny(noise['p99'])}, max {figures.tiny(noise['max'])} nat)."
        )
    if any(each["margin"] is not None for each in summary["differences"]):
        words += " Triangles: the margins at first differences."
    return words + (f" {_count(ties, 'exact tie')} in the leftmost bar." if ties else "")


def _pair(name: str, index: int, pair: Pair) -> dict[str, Any]:
    found = pair.found
    return {
        "name": f"{name}-pair-{index}",
        "scenario": found["scenario"],
        "words": _difference_words(found),
        "what": pair.what,
        "replays": ", ".join(_place(*each) for each in pair.replays),
        "several": len(pair.replays) > 1,
        "kind": found["kind"],
        "reference": pair.reference,
        "other": pair.other,
        "candidates": [_candidate(each) for each in pair.candidates],
    }


def _candidate(candidate: Candidate) -> tuple[str, str, str]:
    shares = (
        "not listed" if each is None else _probability(each)
        for each in (candidate.reference, candidate.other)
    )
    reference, other = shares
    return candidate.text, reference, other


def _probability(share: float) -> str:
    """A probability in per cent to four digits: near-ties are told apart by no fewer."""
    return f"{100 * share:.4g} %"


def _session(number: int, record: dict[str, Any]) -> list[str]:
    tokens, seconds = record["tokens"], record["seconds"]
    return [
        str(number),
        str(record.get("started") or DASH),
        str(record.get("ended") or DASH),
        f"{tokens:,}",
        figures.significant(seconds, 3),
        figures.significant(tokens / seconds) if seconds else DASH,
    ]


def _hashes(summary: dict[str, Any], read: CellFiles) -> list[tuple[str, str, str]]:
    """Each replay's name and the sha256 of its two files; those of the reference are marked."""
    return [
        (
            f"session-{replay.session:02d}/replay-{replay.number:02d}"
            + (" (reference)" if index == read.reference else ""),
            replay.transcript_sha256,
            replay.logprobs_sha256 or DASH,
        )
        for index, replay in enumerate(read.replays)
    ]


def _forced_against_free(sections: Sequence[Section]) -> dict[str, Any] | None:
    """The picture and table of what free replays and forced passes show; None where no cell was run."""
    done = [section for section in sections if section.entry.summary is not None]
    if not done:
        return None
    several = len({section.entry.planned["engine"] for section in done}) > 1
    seen = [_seen(section, several=several) for section in done]
    names = ["cell", "free: other bits", *(f"{mode}: other bits" for mode in MODES)]
    names += ["free: flips per 1,000", *(f"{mode}: another token per 1,000" for mode in MODES)]
    names += [f"margin noise p99, {way}" for way in ("free", *MODES)]
    rows = [_forced_row(section, each.label) for section, each in zip(done, seen, strict=True)]
    order = [ranks.ranks_of(str(row[column]) for row in rows) for column in range(len(names))]
    cells: list[list[str | Markup]] = [
        [Markup('<a href="#{}">{}</a>').format(section.name, row[0]), *row[1:]]
        for section, row in zip(done, rows, strict=True)
    ]
    return {
        "picture": draw_forced("forced", "Forced passes against free replays, cell by cell", seen),
        "table": render_table(names, cells, order),
    }


def _modes(section: Section) -> dict[str, dict[str, Any]]:
    assert section.entry.summary is not None
    return modes_run(section.entry.summary.get("forced"))


def _seen(section: Section, *, several: bool) -> Seen:
    assert section.entry.summary is not None
    modes, rate = _modes(section), section.entry.summary["flips_per_1000_tokens"]
    bits: dict[str, float | None] = dict.fromkeys(WAYS)
    tokens: dict[str, float | None] = dict.fromkeys(WAYS)
    if section.free is not None and section.free[1]:
        bits["free"] = section.free[0] / section.free[1]
    if rate["exposure"]:
        tokens["free"] = rate["rate"] / 1000
    for mode, each in modes.items():
        bits[mode], tokens[mode] = each["unequal_bits"]["share"], each["other_argmax"]["share"]
    name = f"{section.entry.planned['model']} {section.entry.label}"
    return Seen(
        label=f"{name}, {section.entry.planned['engine']}" if several else name,
        bits=bits,
        tokens=tokens,
        interval=(rate["low"] / 1000, rate["high"] / 1000) if rate["exposure"] else None,
    )


def _forced_row(section: Section, label: str) -> list[str]:
    summary, modes = section.entry.summary, _modes(section)
    assert summary is not None
    free = section.free
    row = [label, DASH if free is None else _of(free[0], free[1])]
    row += [_of_mode(modes.get(mode), "unequal_bits") for mode in MODES]
    row.append(figures.flips(summary["flips_per_1000_tokens"]))
    for mode in MODES:
        share = modes[mode]["other_argmax"]["share"] if mode in modes else None
        row.append(f"{DASH} not run" if mode not in modes else DASH if share is None else _per_1000(share))
    noise = _noise(summary)
    row.append(DASH if noise is None else figures.tiny(noise["p99"]))
    for mode in MODES:
        p99 = modes[mode]["noise_p99"]["margin"] if mode in modes else None
        row.append(DASH if p99 is None else figures.tiny(p99))
    return row


def _of_mode(mode: dict[str, Any] | None, key: str) -> str:
    return f"{DASH} not run" if mode is None else _of(mode[key]["positions"], mode["positions"])


def _of(count: int, total: int) -> str:
    if not total:
        return DASH
    return f"{figures.percent(count / total)} ({count:,} of {total:,})"


def _per_1000(share: float) -> str:
    return figures.significant(1000 * share)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
