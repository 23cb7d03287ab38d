"""Speed by kind of input, with and without multi-token prediction, and what each setting costs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from scripts.common.errors import DataError
from scripts.records.cell import Cell
from scripts.records.grid import Grid
from scripts.records.transcript import Turn, TurnTiming
from scripts.report import figures
from scripts.report.entries import Entry, read_entries
from scripts.report.figures import DASH
from scripts.report.markdown import markdown_table
from scripts.verdict.replays import Session, find_replays, find_sessions

BASE, MTP = "base", "mtp"

CANNOT_SAY = (
    "**What this cannot say.** How fast another machine is, or this one with something else on it: seconds are what a "
    "clock said, and every build gives others. A kind of input is what was asked, not what came back: a small model "
    "trained on charts answers in none of these languages, whatever it is asked in, so its rows show what the input's "
    "tokens cost and nothing of how well a language is written or predicted. Requests were sent one at a time: a "
    "server that computes many at once has other figures."
)

LEGEND = """\
- **tokens/s**: tokens generated over the seconds of their generations, the reading of prompts included: median of the
  replays, in brackets the least and the greatest.
- **decode tokens/s**: the same once the reading of prompts is taken out. Seconds of all turns of a cell are fitted as
  (tokens read) × a + (tokens generated) × b, and a × (tokens read) is taken off; a dash where the fit has no meaning.
- **read, generated**: tokens of prompts that were read, tokens that were generated, a replay. What an engine keeps
  between turns is not read again; where it keeps an episode's cache (`prompt-cache`) less is read than is said here.
- **price**: seconds that a replay takes more or less than with the baseline variant, the median of each, over the
  kinds asked of both; tokens generated may differ, so seconds are given a token generated. In brackets the least and
  the greatest ratio of any replay to any of the baseline's. **bits**: whether the variant gave the baseline's bytes.
- **acceptance**: drafted tokens that the model accepted over those drafted, as the server counts them.
"""


@dataclass(frozen=True)
class TimedTurn:
    """A generation: tokens of its prompt that were read, tokens generated, seconds."""

    scenario: str
    read: int
    generated: int
    seconds: float


@dataclass(frozen=True)
class Clocked:
    """A cell's replays, each a list of turns, and what its server counted of drafted tokens, summed over sessions."""

    cell: Cell
    replays: list[list[TimedTurn]]
    drafted: int
    accepted: int

    def rates(self, kind: str | None, *, reading: float = 0.0) -> list[float]:
        """Tokens a second of each replay, over the turns of one scenario or of all; `reading`: seconds a token read."""
        found = []
        for replay in self.replays:
            turns = [turn for turn in replay if kind in (None, turn.scenario)]
            seconds = sum(turn.seconds - reading * turn.read for turn in turns)
            if turns and seconds > 0:
                found.append(sum(turn.generated for turn in turns) / seconds)
        return found

    @property
    def kinds(self) -> list[str]:
        """The scenarios, in the order in which they are asked."""
        return list(dict.fromkeys(turn.scenario for replay in self.replays for turn in replay))

    def amounts(self, kind: str) -> tuple[float, float]:
        """Tokens read and tokens generated a replay."""
        turns = [turn for replay in self.replays for turn in replay if turn.scenario == kind]
        count = len(self.replays)
        return sum(turn.read for turn in turns) / count, sum(turn.generated for turn in turns) / count


def reading_seconds(turns: Sequence[TimedTurn]) -> float | None:
    """Seconds a token read takes, by least squares over the turns; None where it cannot be told from decoding.

    That is below three turns, where the two go together (correlation over 0.99), or where a fit gives no positive cost.
    """
    if len(turns) < 3:
        return None
    amounts = np.array([(turn.read, turn.generated) for turn in turns], dtype=float)
    seconds = np.array([turn.seconds for turn in turns])
    if np.any(np.std(amounts, axis=0) == 0) or abs(np.corrcoef(amounts.T)[0, 1]) > 0.99:
        return None
    (reading, decoding), *_ = np.linalg.lstsq(amounts, seconds, rcond=None)
    return float(reading) if reading > 0 and decoding > 0 else None


def make_speed(grid: Grid, results: Path) -> str:
    """The page speed.md from the timings under `results`."""
    entries = [entry for entry in read_entries(grid, results) if entry.planned.status != "planned"]
    clocked = {each.planned.path: read_clocked(each.summary, results) for each in entries if each.summary}
    parts = [
        "# How fast, on what, and what does determinism cost?",
        grid.heading,
        markdown_table(_kinds(entries, clocked)),
        CANNOT_SAY,
        "## Multi-token prediction",
        _mtp(entries, clocked),
        "## The price of each setting",
        _prices(entries, clocked),
        "## How to read this",
        LEGEND.rstrip(),
    ]
    return "\n\n".join(parts) + "\n"


def read_clocked(cell: Cell, results: Path) -> Clocked:
    """A cell's turns with their seconds; DataError where a replay's timing is missing or not of its transcript."""
    sessions = find_sessions(results / "cells" / cell.path)
    kept = {each.number: _kept(each) for each in sessions}
    replays = [_turns(each.transcript, kept=kept[each.session]) for each in find_replays(sessions)]
    counted = [said.speculation for each in sessions if (said := each.record.resolved) and said.speculation]
    return Clocked(
        cell, replays, sum(each.drafted for each in counted), sum(each.accepted for each in counted)
    )


def _kept(session: Session) -> bool:
    """Whether the engine keeps what it has read from one turn to the next."""
    said = session.record.resolved
    return said is not None and said.context_between_turns.startswith("kept")


def _turns(transcript: Path, *, kept: bool) -> list[TimedTurn]:
    path = Path(str(transcript).replace(".transcript.", ".timing."))
    turns, prompt, scenario = [], 0, None
    for turn, line in zip(Turn.read_lines(transcript), TurnTiming.read_lines(path), strict=False):
        if (turn.scenario, turn.turn, len(turn.output_ids)) != (line.scenario, line.turn, line.tokens):
            raise DataError("the timing is of another replay than its transcript", where=str(path))
        if turn.scenario != scenario:
            prompt, scenario = 0, turn.scenario
        prompt += len(turn.appended_ids)
        read = len(turn.appended_ids) if kept else prompt
        turns.append(TimedTurn(turn.scenario, read, len(turn.output_ids), line.seconds))
        prompt += len(turn.output_ids)
    return turns


def _kinds(entries: Sequence[Entry], clocked: dict[str, Clocked]) -> list[dict[str, str]]:
    rows = []
    for entry in entries:
        row = entry.columns("model", "precision", "variant")
        cell = clocked.get(entry.planned.path)
        if cell is None:
            rows.append(row | {"kind of input": str(entry.not_run)})
            continue
        reading = reading_seconds([turn for replay in cell.replays for turn in replay])
        for kind in cell.kinds:
            decoded = DASH if reading is None else _spread(cell.rates(kind, reading=reading))
            read, generated = cell.amounts(kind)
            rows.append(
                row
                | {
                    "kind of input": kind,
                    "read, generated": f"{read:,.0f}, {generated:,.0f}",
                    "tokens/s": _spread(cell.rates(kind)),
                    "decode tokens/s": decoded,
                }
            )
    return rows


def _mtp(entries: Sequence[Entry], clocked: dict[str, Clocked]) -> str:
    on = [entry for entry in entries if entry.planned.variant == MTP]
    if not on:
        return "Not run: no cell of this grid has multi-token prediction on."
    rows = []
    for entry in on:
        row = entry.columns("model", "precision", "engine")
        off, mine = clocked.get(_base(entry)), clocked.get(entry.planned.path)
        either = mine or off
        for kind in either.kinds if either else [DASH]:
            rows.append(
                row
                | {
                    "kind of input": kind,
                    "off, tokens/s": "not run" if off is None else _spread(off.rates(kind)),
                    "on, tokens/s": str(entry.not_run) if mine is None else _spread(mine.rates(kind)),
                    "acceptance (all kinds)": _acceptance(mine),
                }
            )
    return markdown_table(rows)


def _acceptance(cell: Clocked | None) -> str:
    if cell is None:
        return "not run"
    return figures.percent(cell.accepted / cell.drafted) if cell.drafted else "not counted by the engine"


def _base(entry: Entry) -> str:
    return msgspec.structs.replace(entry.planned, variant=BASE).path


def _prices(entries: Sequence[Entry], clocked: dict[str, Clocked]) -> str:
    rows = []
    for entry in entries:
        base, mine = clocked.get(_base(entry)), clocked.get(entry.planned.path)
        if entry.planned.variant == BASE or base is None:
            continue
        row = entry.columns("model", "precision", "engine", "variant")
        if mine is None:
            rows.append(row | {"price": str(entry.not_run)})
            continue
        before, after = ([1 / rate for rate in cell.rates(None)] for cell in (base, mine))
        ratio = statistics.median(after) / statistics.median(before) - 1
        least, most = min(after) / max(before) - 1, max(after) / min(before) - 1
        row["price"] = f"{100 * ratio:+.0f} % ({100 * least:+.0f} to {100 * most:+.0f})"
        row["bits"] = _same_bits(base.cell, mine.cell)
        row["logprobs"] = figures.k_of_n(mine.cell.logprobs_identical, mine.cell.replays)
        rows.append(row)
    if not rows:
        return "This grid has no variant beside a baseline."
    return markdown_table(rows)


def _same_bits(one: Cell, other: Cell) -> str:
    hashes = [{(each.transcript, each.logprobs) for each in cell.hashes} for cell in (one, other)]
    if any(len(each) != 1 for each in hashes):
        return "differ from replay to replay"
    return "the baseline's" if hashes[0] == hashes[1] else "others than the baseline's"


def _spread(rates: Sequence[float]) -> str:
    if not rates:
        return DASH
    middle, least, most = (figures.significant(f(rates), 3) for f in (statistics.median, min, max))
    return f"{middle} ({least} to {most})"
