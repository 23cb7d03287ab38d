"""Cold against warm prefix cache, as a page: first answers, their repeats, and the cells without a cache."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scripts.records.grid import Grid
from scripts.report import figures
from scripts.report.entries import Entry, read_entry
from scripts.report.figures import DASH
from scripts.report.markdown import markdown_table
from scripts.verdict.warm import Answer, ColdWarm, Reading, WarmCell, alike, compare_cold_and_warm

ROWS = 30  # contexts of a cell that are listed one by one

CANNOT_SAY = (
    "**What this cannot say.** How often an answer changes in use, where the cache holds what others asked: here it "
    "holds what the same conversation left. A reading is of these prompts on this machine, and of so many sessions as "
    "the table says; what the start of an engine decides is one for all answers of a session."
)

LEGEND = """\
- **context**: all that a request holds. All replays of a scenario are played one after the other, and the engine's
  cache is emptied before the first alone: that gives the **first answer**, which is cold, the others are **repeats**.
- **from the cache**: tokens of prompts that the engine, by its own count, took from its cache, of all that it was
  sent. At later turns of an episode a first answer finds its own conversation there.
- **warm contexts**: those of which a repeat found more in the cache than the first answer. The others are left out.
- **equal bits, equal text**: in so many of the warm contexts all warm repeats have the first answer's logprobs to the
  last bit, its tokens; compared inside each session.
- **from token**: the first generated token of an answer, from 0, in which a repeat has other bits, other text.
- **cold alike, warm alike**: in so many contexts the first answers of all sessions, all warm repeats, are equal in
  bits.
- **cold = uncached**: in so many contexts the first answers have the bits of the cell that is the same without a
  cache.
"""


def make_warm(grid: Grid, results: Path) -> str:
    """The page warm.md from the cells' summaries and replays under `results`."""
    cells = {cell.path: cell for cell in grid.cells}

    def entry(path: str) -> Entry:
        return read_entry(cells[path], results, partial=grid.partial)

    found: list[tuple[Entry, WarmCell | None]] = []
    for pair in grid.warm:
        kept, plain = entry(pair.kept), entry(pair.uncached) if pair.uncached else None
        uncached = (
            (results / "cells" / plain.planned.path, plain.summary) if plain and plain.summary else None
        )
        folder = results / "cells" / pair.kept
        found.append((kept, compare_cold_and_warm(folder, kept.summary, uncached) if kept.summary else None))
    parts = [
        "# Is a warm answer the cold one?",
        grid.heading,
        "\n".join(f"- {_name(kept)}: {sentence(warm)}" for kept, warm in found if warm),
        markdown_table([_row(kept, warm) for kept, warm in found]),
        CANNOT_SAY,
    ]
    rows = [row for kept, warm in found if warm for row in _contexts(kept, warm)]
    if rows:
        parts += ["## Contexts in which something differs", markdown_table(rows)]
    return "\n\n".join([*filter(None, parts), "## How to read this", LEGEND.rstrip()]) + "\n"


def sentence(found: WarmCell) -> str:
    """What was read of a cell, and by which count warm was warm."""
    if not found.counted:
        return "the engine does not say what it took from its cache, so nothing is known to be warm."
    if not found.contexts:
        return (
            "no repeat found more in the cache than the first answer: nothing was warm, and nothing is said."
        )
    contexts, bits = found.contexts, found.bits
    unit = "bits" if bits else "text (no logprobs recorded)"
    total = figures.count(len(contexts), "warm context")
    readings = [each.warm_against_cold(bits=bits) for each in contexts]
    equal, other, unstable = (readings.count(each) for each in Reading)
    if equal == len(contexts):
        said = [f"warm answers have the {unit} of the first ones in all {total}"]
    else:
        said = []
        if other:
            said.append(
                f"warm answers have **other {unit}** than the first ones in {other:,} of {total}, the same in every"
                f" repeat of a session{_from_token(contexts, bits=bits)}"
            )
        if unstable:
            said.append(
                f"in {unstable:,} of {total} warm answers differ among themselves, or do what they do in some sessions"
                " only"
            )
        if equal:
            said.append(f"they are the same in {equal:,}")
    if bits and equal < len(contexts):
        changed = sum(each.warm_against_cold(bits=False) is not Reading.EQUAL for each in contexts)
        said.append(
            f"the text is another in {changed:,}{_from_token(contexts, bits=False)}"
            if changed
            else "the text is the same in all"
        )
    held = [each.cold_against_uncached(bits=bits) for each in contexts]
    if known := [each for each in held if each is not None]:
        said.append(
            f"first answers have the uncached cell's {'bits' if bits else 'text'} in"
            f" {known.count(Reading.EQUAL):,} of {len(known):,}"
        )
    said.append(f"seen in {figures.count(found.sessions, 'session')}")
    cold = [answer for each in contexts for answer in each.cold]
    warm = [answer for each in contexts for answer in each.warm]
    return (
        f"{'; '.join(said)}. By the engine's count {_cached(cold)} prompt tokens of the first answers came from its"
        f" cache, and {_cached(warm)} of the warm ones{_server(found)}."
    )


def _from_token(contexts: Iterable[ColdWarm], *, bits: bool) -> str:
    """From which token of an answer on they differ: the first over all contexts."""
    found = [index for each in contexts if (index := each.first_difference(bits=bits)) is not None]
    return f", from token {min(found):,} of an answer on" if found else ""


def _cached(answers: list[Answer]) -> str:
    if not answers:
        return DASH
    cached = sum(each.cached_tokens or 0 for each in answers)
    return f"{cached:,} of {sum(each.prompt_tokens for each in answers):,}"


def _server(found: WarmCell) -> str:
    """Whether the server's own totals are those of the turns; nothing where it has none."""
    if found.server is None:
        return ""
    if found.server.hits == found.turns.hits:
        return f"; its totals say the same ({found.server.hits:,} hits in {found.server.queries:,} tokens looked up)"
    return f"; **its totals say otherwise**: {found.server.hits:,} hits, against {found.turns.hits:,} by the answers"


def _name(entry: Entry) -> str:
    planned = entry.planned
    return f"{planned.model} {planned.precision} on {planned.engine}, `{planned.variant}`"


def _row(entry: Entry, found: WarmCell | None) -> dict[str, str]:
    row = entry.columns("model", "precision", "engine", "variant")
    if found is None or entry.summary is None:
        return row | {"sessions × replays": str(entry.not_run)}
    contexts, bits = found.contexts, found.bits
    first = [answer for each in contexts if each.turn == 0 for answer in each.cold]
    later = [answer for each in contexts if each.turn > 0 for answer in each.cold]
    held = [each.cold_against_uncached(bits=bits) for each in contexts]
    known = [each for each in held if each is not None]

    def share(holds: Iterable[bool]) -> str:
        return figures.k_of_n(sum(holds), len(contexts))

    return row | {
        "sessions × replays": f"{found.sessions} × {entry.summary.replays // found.sessions}",
        "from the cache: first, turn 0": _cached(first),
        "first, later turns": _cached(later),
        "warm": _cached([answer for each in contexts for answer in each.warm]),
        "warm contexts": f"{len(contexts):,} of {len(contexts) + found.not_warmer:,}",
        "equal bits": share(each.warm_against_cold(bits=True) is Reading.EQUAL for each in contexts)
        if bits
        else DASH,
        "equal text": share(each.warm_against_cold(bits=False) is Reading.EQUAL for each in contexts),
        "cold alike": share(alike(each.cold, bits=bits) for each in contexts),
        "warm alike": share(alike(each.warm, bits=bits) for each in contexts),
        "cold = uncached": figures.k_of_n(known.count(Reading.EQUAL), len(known)) if known else DASH,
    }


def _contexts(entry: Entry, found: WarmCell) -> list[dict[str, str]]:
    """A row for each context in which warm and cold differ, the first `ROWS` of them."""
    bits = found.bits
    differing = [each for each in found.contexts if each.warm_against_cold(bits=bits) is not Reading.EQUAL]
    rows = []
    for each in differing[:ROWS]:
        held = each.cold_against_uncached(bits=bits)
        rows.append(
            entry.columns("model", "precision", "variant")
            | {
                "scenario": each.scenario,
                "turn": str(each.turn),
                "prompt tokens": f"{each.cold[0].prompt_tokens:,}",
                "from the cache: first, warm": f"{_spread(each.cold)}, {_spread(each.warm)}",
                "bits from token": _index(each, bits=True) if bits else DASH,
                "text from token": _index(each, bits=False),
                "cold alike": figures.yes_or_no(alike(each.cold, bits=bits)),
                "warm alike": figures.yes_or_no(alike(each.warm, bits=bits)),
                "cold = uncached": figures.yes_or_no(None if held is None else held is Reading.EQUAL),
            }
        )
    if len(differing) > ROWS:
        rows.append(
            entry.columns("model", "precision", "variant")
            | {"scenario": f"and {len(differing) - ROWS:,} more"}
        )
    return rows


def _index(found: ColdWarm, *, bits: bool) -> str:
    index = found.first_difference(bits=bits)
    return "the same" if index is None else f"{index:,}"


def _spread(answers: list[Answer]) -> str:
    counts = {each.cached_tokens or 0 for each in answers}
    return f"{min(counts):,}" if len(counts) == 1 else f"{min(counts):,} to {max(counts):,}"
