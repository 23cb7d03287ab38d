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

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from scripts.records.cell import Cell, Difference
from scripts.records.figures import Spread
from scripts.records.forced import MODES, Mode, ModeForced
from scripts.records.grid import ControlReading, Grid
from scripts.records.manifest import Manifest
from scripts.report import figures, frames
from scripts.report.controls import banner, in_words
from scripts.report.entries import Entry
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
from scripts.report.web.provenance import FIGURES, Row, provenance
from scripts.report.web.texts import Pair, read_decoder
from scripts.verdict.replays import Session

PAIRS = 30  # pairs of texts shown of a cell at most
NOT_FORCED = f"{DASH} not run"
READING = "How to read this"  # the heading of the last part of each page in Markdown
HERE = Path(__file__).parent
SORTED: dict[str, Callable[[Cell], ranks.Key | None]] = {
    "text": lambda found: ranks.share_key(found.text_identical, found.replays),
    "logprobs": lambda found: ranks.share_key(found.logprobs_identical, found.replays),
    "divergence": lambda found: ranks.class_key(found.class_),
    "flips per 1,000 (95 %)": lambda found: ranks.flips_key(found.flips_per_1000_tokens),
}


@dataclass(frozen=True)
class Page:
    """A page in Markdown as a section; its last part, how to read it, is folded away."""

    name: str
    title: str
    body: Markup
    legend: Markup


@dataclass(frozen=True)
class Section:
    """One cell's part of the page; `behind`: what is behind its figures, None where it was not run."""

    name: str
    entry: Entry
    behind: Behind | None


@dataclass(frozen=True)
class Behind:
    """What is behind the figures of a cell that was run, for its section `name`.

    `quant`: the folder of its weights. `read`: what the files of its replays say.
    """

    name: str
    cell: Cell
    quant: Path
    read: CellFiles

    @property
    def free(self) -> tuple[int, int] | None:
        """Positions with other bits than the reference, and positions compared; None where none could be."""
        others = [row for index, row in enumerate(self.read.rows) if index != self.read.reference]
        return count_other_bits(others) if self.read.margins is not None and others else None

    @property
    def modes(self) -> dict[Mode, ModeForced]:
        """The modes in which it was forced."""
        return self.cell.forced.run() if self.cell.forced else {}

    @property
    def margin_noise(self) -> Spread | None:
        """How much margins differ between replays in one context."""
        return self.cell.noise.margin if self.cell.noise else None

    @property
    def short(self) -> list[Row]:
        """Its verdict in short."""
        cell = self.cell
        return [
            ("divergence", cell.class_),
            (frames.KERNELS, figures.kernels(cell).replace("**", "")),
            ("parts", figures.parts(cell)),
            *([("tells the bits of sessions", figures.cause(cell.cause))] if cell.cause else []),
            ("text", figures.k_of_n(cell.text_identical, cell.replays)),
            ("logprobs", figures.bits_k_of_n(cell)),
            ("flips per 1,000", figures.flips(cell.flips_per_1000_tokens, cell.flips_bootstrap)),
            ("score", figures.score(cell.score)),
        ]

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of texts that are shown."""
        return self.read.pairs[:PAIRS]

    @property
    def states(self) -> list[str]:
        """The states that occur, as the legend names them."""
        there = {int(each) for row in self.read.rows for each in set(row.tolist())}
        return [
            state.name.lower().replace("_", "-") for state in State if state in there and state != State.OVER
        ]

    @property
    def provenance(self) -> list[tuple[str, list[Row]]]:
        """What its sessions recorded, titles with rows."""
        path = self.quant / "manifest.json"
        manifest = Manifest.read(path) if path.is_file() else None
        return provenance([session.record for session in self.read.sessions], manifest)

    @property
    def strip(self) -> str:
        """Its replays beside the reference, drawn."""
        pair_of = {
            (*place, pair.found.scenario): f"#{self.name}-pair-{index}"
            for index, pair in enumerate(self.pairs)
            for place in pair.replays
        }
        read, rows, marks = self.read, dict[str, States](), list[Mark]()
        drawn = _drawn_replays(read)
        starts = {lane.scenario: (index, lane.start) for index, lane in enumerate(read.lanes)}
        for row, index in enumerate(drawn):
            place = (read.replays[index].session, read.replays[index].number)
            label = said_place(place)
            rows[f"reference {label}" if index == read.reference else label] = read.rows[index]
            for found in read.differences.get(place, ()):
                lane, start = starts[found.scenario]
                marks.append(
                    Mark(
                        name=f"{self.name}-mark-{place[0]}-{place[1]}-{lane}",
                        row=row,
                        column=start + found.position,
                        kind=found.kind,
                        title=f"replay {label}, {found.scenario}: {said_difference(found)}",
                        address=pair_of.get((*place, found.scenario)),
                    )
                )
        label = f"Replays of {self.cell.path} beside the reference"
        sessions = [read.replays[index].session for index in drawn]
        starts_of_sessions = [row for row in range(1, len(drawn)) if sessions[row] != sessions[row - 1]]
        return draw_strip(self.name, label, read.lanes, rows, marks, starts_of_sessions)

    @property
    def strip_words(self) -> str:
        """What stands under that drawing."""
        read, free = self.read, self.free
        columns = sum(lane.width for lane in read.lanes)
        step = columns_step(columns)
        replays = figures.count(len(read.replays), "replay")
        words = [f"{replays} over {figures.count(columns, 'token')} of the longest."]
        if step > 1:
            words.append(f"A column stands for {step} tokens and shows the gravest of them.")
        if len(read.sessions) > 1:
            words.append("A line parts the sessions.")
        if len(read.replays) > ROWS:
            words.append(f"Drawn are {ROWS} of them, those that differ first of all.")
        if free is not None:
            share = f" ({figures.percent(free[0] / free[1])})" if free[0] else ""
            words.append(
                f"Before the first differences {free[0]:,} of {free[1]:,} positions{share} have other bits than the"
                " reference."
            )
        elif read.margins is None:
            words.append("No logprobs were recorded: equal means equal tokens.")
        else:
            words.append("One replay alone.")
        return " ".join(words)

    @property
    def histogram(self) -> str:
        """The reference's margins over the noise, drawn; empty without logprobs."""
        if self.read.margins is None or not len(self.read.margins):
            return ""
        margins = [each.margin for each in self.cell.differences if each.margin is not None]
        label = f"Margins of the reference of {self.cell.path} over the noise"
        return draw_margins(f"{self.name}-margins", label, self.read.margins, self.margin_noise, margins)

    @property
    def histogram_words(self) -> str:
        """What stands under that drawing, or in its place."""
        margins, noise = self.read.margins, self.margin_noise
        if margins is None or not len(margins):
            return "No logprobs were recorded, so there are no margins."
        ties = int((margins == 0).sum())
        positions = figures.count(len(margins), "position")
        if noise is None:
            words = f"{positions}; no two replays share one, so there is no noise to compare with."
        elif noise.max == 0:
            words = f"{positions}; the margins of replays in one context are all equal: no noise."
        else:
            under = int((margins < noise.p99).sum())
            words = (
                f"{under:,} of {positions} ({figures.percent(under / len(margins))}) have a margin under the noise"
                f" of margins (p99 {figures.tiny(noise.p99)}, max {figures.tiny(noise.max)} nat)."
            )
        if any(each.margin is not None for each in self.cell.differences):
            words += " Triangles: the margins at first differences."
        return words + (f" {figures.count(ties, 'exact tie')} in the leftmost bar." if ties else "")


def render_report(
    grid: Grid,
    entries: Sequence[Entry],
    readings: Sequence[ControlReading],
    results: Path,
    pages: Sequence[tuple[str, str]],
) -> str:
    """The whole page. `pages`: further pages in Markdown, each with its name, shown as sections of their own."""
    sections = [read_section(f"cell-{number}", entry, results) for number, entry in enumerate(entries)]
    done = [(each.entry, each.behind) for each in sections if each.behind is not None]
    script = (HERE / "page.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "difference": said_difference,
        "place": said_place,
        "probability": said_probability,
        "session_row": session_row,
    }
    return environment.get_template("page.html.jinja").render(
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        heading=render_inline(grid.heading),
        banner=render_markdown(banner(readings)),
        finding=_linked_table(frames.finding(entries), sections, "finding"),
        details=_linked_table(frames.details(entries), sections, "details"),
        readings=[render_inline(in_words(reading)) for reading in readings],
        legend=render_markdown(legend(grid, entries)),
        forced=_forced_against_free(done),
        pages=[_page(name, text) for name, text in pages],
        sections=sections,
        sources=[(what, render_inline(source)) for what, source in FIGURES],
        most_pairs=PAIRS,
    )


def _page(name: str, text: str) -> Page:
    body, _, legend = text.partition(f"\n## {READING}\n")
    return Page(
        name=f"page-{name}",
        title=title_of(text) or name,
        body=render_markdown(body, level=2, title=False),
        legend=render_markdown(legend, level=2),
    )


def read_section(name: str, entry: Entry, results: Path) -> Section:
    """One cell's part, its files read."""
    if entry.summary is None:
        return Section(name, entry, None)
    quant = results / "quants" / entry.planned.model / entry.planned.precision
    read = read_cell_files(results / "cells" / entry.planned.path, entry.summary, read_decoder(quant))
    return Section(name, entry, Behind(name, entry.summary, quant, read))


def _linked_table(frame: pd.DataFrame, sections: Sequence[Section], kind: str) -> Markup:
    """A frame as a sortable table, its rows' names and fractions linked to where they come from."""
    names = [str(column) for column in frame.columns]
    texts = [[str(value) for value in row] for row in frame.to_numpy().tolist()]
    rows = [
        [_cell(name, value, section) for name, value in zip(names, row, strict=True)]
        for row, section in zip(texts, sections, strict=True)
    ]
    order = [
        ranks.rank([SORTED[name](each.behind.cell) if each.behind else None for each in sections])
        if name in SORTED
        else ranks.ranks_of(row[column] for row in texts)
        for column, name in enumerate(names)
    ]
    return render_table(names, rows, order, kind)


def _cell(column: str, value: str, section: Section) -> Markup:
    found = section.entry.summary
    if column == "model":
        return _link(section.name, value)
    if column in ("text", "logprobs") and found is not None and value != DASH:
        return _link(f"{section.name}-from", value)
    if column == "divergence" and found is not None and found.differences:
        return _link(f"{section.name}-texts", value)
    return escape(value)


def _link(name: str, value: str) -> Markup:
    return Markup('<a href="#{}">{}</a>').format(name, value)


def _drawn_replays(read: CellFiles) -> list[int]:
    """The replays that are drawn: all, or of too many the reference and those that differ before the rest."""
    wanted = sorted(
        range(len(read.replays)),
        key=lambda index: (
            index != read.reference,
            (read.replays[index].session, read.replays[index].number) not in read.differences,
            index,
        ),
    )
    return sorted(wanted[:ROWS])


def said_place(place: tuple[int, int]) -> str:
    """A replay by the numbers of its session and of itself."""
    return f"{place[0]}·{place[1]}"


def said_difference(found: Difference) -> str:
    """A first difference in words."""
    words = f"{found.class_} at token {found.position:,}, turn {found.turn}"
    return (
        words
        if found.margin is None
        else f"{words}, margin {figures.margin(found)} nat{figures.steps(found)}"
    )


def said_probability(share: float | None) -> str:
    """A probability in per cent to four digits: near-ties are told apart by no fewer."""
    return "not listed" if share is None else f"{100 * share:.4g} %"


def session_row(session: Session) -> list[str]:
    """A session's number, when it began and ended, its tokens, seconds, and tokens a second."""
    record = session.record
    return [
        str(session.number),
        record.started or DASH,
        record.ended or DASH,
        f"{record.tokens:,}",
        figures.significant(record.seconds, 3),
        figures.significant(record.tokens / record.seconds if record.seconds else None),
    ]


def _forced_against_free(done: Sequence[tuple[Entry, Behind]]) -> tuple[str, Markup] | None:
    """The picture and table of what free replays and forced passes show; None where no cell was run."""
    if not done:
        return None
    several = len({entry.planned.engine for entry, _ in done}) > 1
    labels = [f"{each.name}, {each.planned.engine}" if several else each.name for each, _ in done]
    seen = [_seen(label, behind) for label, (_, behind) in zip(labels, done, strict=True)]
    names = ["cell", "free: other bits", *(f"{mode}: other bits" for mode in MODES)]
    names += ["free: flips per 1,000", *(f"{mode}: another token per 1,000" for mode in MODES)]
    names += [f"margin noise p99, {way}" for way in ("free", *MODES)]
    rows = [[label, *_forced_row(behind)] for label, (_, behind) in zip(labels, done, strict=True)]
    order = [ranks.ranks_of(row[column] for row in rows) for column in range(len(names))]
    cells: list[list[str | Markup]] = [
        [_link(behind.name, row[0]), *row[1:]] for (_, behind), row in zip(done, rows, strict=True)
    ]
    picture = draw_forced("forced", "Forced passes against free replays, cell by cell", seen)
    return picture, render_table(names, cells, order)


def _seen(label: str, behind: Behind) -> Seen:
    free, rate = behind.free, behind.cell.flips_per_1000_tokens
    bits: dict[str, float | None] = dict.fromkeys(WAYS)
    tokens: dict[str, float | None] = dict.fromkeys(WAYS)
    interval = None
    if free is not None and free[1]:
        bits["free"] = free[0] / free[1]
    if rate.rate is not None and rate.low is not None and rate.high is not None:
        tokens["free"], interval = rate.rate / 1000, (rate.low / 1000, rate.high / 1000)
    for mode, each in behind.modes.items():
        bits[mode], tokens[mode] = each.unequal_bits.share, each.other_argmax.share
    return Seen(label=label, bits=bits, tokens=tokens, interval=interval)


def _forced_row(behind: Behind) -> list[str]:
    """The row's figures; its label goes before them."""
    free, noise = behind.free, behind.margin_noise
    modes = [behind.modes.get(mode) for mode in MODES]
    p99 = [
        None if noise is None else noise.p99,
        *(None if each is None else each.noise_p99.margin for each in modes),
    ]
    return [
        DASH if free is None else _of(*free),
        *(NOT_FORCED if each is None else _of(each.unequal_bits.positions, each.positions) for each in modes),
        figures.flips(behind.cell.flips_per_1000_tokens, behind.cell.flips_bootstrap),
        *(NOT_FORCED if each is None else _per_1000(each.other_argmax.share) for each in modes),
        *(DASH if each is None else figures.tiny(each) for each in p99),
    ]


def _of(count: int, total: int) -> str:
    return f"{figures.percent(count / total)} ({count:,} of {total:,})" if total else DASH


def _per_1000(share: float | None) -> str:
    return figures.significant(None if share is None else 1000 * share)
