"""A comparison as a page: a sentence for each pair of cells, where they part, how far apart, and why that may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.common.words import count
from scripts.comparison.along import as_deployed
from scripts.records.cell import KnownCandidates
from scripts.records.comparison import Along, Comparison, Comparisons, OverPositions, Parting, SideRecord
from scripts.report.figures import DASH, k_of_n, percent, significant
from scripts.report.markdown import markdown_table

LEGEND = """\
## How to read this

- **text, bits**: pairs of one replay of A and one of B that are the same bytes in what was said, in what was computed.
- **B repeats**: k/N of B's own replays: whether it is stable, beside how near it is to A.
- **top-1**: positions with one context at which both hold the same id the most likely. **bits**: at which all that was
  recorded is equal. *Free*: the contexts that the reference replays share, up to their first difference and with it.
  *Forced*: one trajectory that both were fed.
- **KL ≥**: a lower bound of the Kullback-Leibler divergence of B from A in nat, from the candidates that both
  recorded.
- **first difference**: ids that the scenario had generated before; then what each side chose, with its logprob, and by
  how much it preferred that to the other's id.
"""


def render_comparisons(found: Comparisons) -> str:
    """The page of all pairs."""
    parts = ["# Two results side by side", f"A: {found.a}  \nB: {found.b}"]
    if len(found.pairs) > 1:
        parts.append(markdown_table([_row(each) for each in found.pairs]))
    parts += [_pair(each) for each in found.pairs]
    for what, cells in (("A", found.only_a), ("B", found.only_b)):
        if cells:
            parts.append(f"Only {what} has: {', '.join(cells)}.")
    return "\n\n".join([*parts, *_not_compared(found.refused), LEGEND.rstrip()]) + "\n"


def render_pairs(heading: str, pairs: Sequence[Comparison], refused: Mapping[str, str]) -> str:
    """The page of pairs that a grid names, all of one first cell; `refused`: those that were not compared, and why."""
    parts = [f"# Beside {pairs[0].a.name}" if pairs else "# Side by side", heading]
    if pairs:
        parts.append(markdown_table([_row(each) for each in pairs]))
    parts += [*(_pair(each) for each in pairs), *_not_compared(refused), LEGEND.rstrip()]
    return "\n\n".join(parts) + "\n"


def _not_compared(refused: Mapping[str, str]) -> list[str]:
    lines = [f"- {cell}: {why}" for cell, why in refused.items()]
    return ["## Not compared", "\n".join(lines)] if lines else []


def _row(found: Comparison) -> dict[str, str]:
    forced = as_deployed(found.forced)
    near = found.free if forced is None else forced[1]
    return {
        "A": found.a.name,
        "B": DASH if found.b.name == found.a.name else found.b.name,
        "what": found.sameness,
        "B repeats: text, bits": _repeats(found.b),
        "text": _share(found.pairs.equal_text, found.pairs.pairs),
        "bits": DASH if found.pairs.equal_bits is None else _share(found.pairs.equal_bits, found.pairs.pairs),
        "top-1": DASH if near is None else _share(near.top1_equal, near.positions),
        "KL ≥": DASH if near is None or near.divergence is None else significant(near.divergence.mean),
    }


def _repeats(side: SideRecord) -> str:
    bits = DASH if side.logprobs_identical is None else k_of_n(side.logprobs_identical, side.replays)
    return f"{k_of_n(side.text_identical, side.replays)}, {bits}"


def _share(part: int, of: int) -> str:
    return f"{part:,}/{of:,}"


def sentence(found: Comparison) -> str:
    """How equal two cells are, in one sentence."""
    a, b = _said(found.a), _said(found.b)
    looked = f"A: {a}; B: {b}"
    if found.sameness == "same bits":
        return f"**The same bits** in all replays of both ({looked})."
    if found.sameness == "same text":
        why = "other bits" if found.pairs.equal_bits is not None else "bits were not recorded"
        return f"**The same text, {why}**, each side equal in itself ({looked})."
    if found.sameness == "bits vary":
        return f"**The same text**, over bits that differ from replay to replay ({looked})."
    if found.sameness == "other text":
        return f"**Another text**, each side equal in itself ({looked})."
    return (
        f"**The text differs from replay to replay** ({looked}): of {found.pairs.pairs:,} pairs of a replay of A and"
        f" one of B {found.pairs.equal_text:,} are equal in text."
    )


def _said(side: SideRecord) -> str:
    bits = (
        "" if side.logprobs_identical is None else f", bits {k_of_n(side.logprobs_identical, side.replays)}"
    )
    return f"text {k_of_n(side.text_identical, side.replays)}{bits} in {count(side.sessions, 'session')}"


def _pair(found: Comparison) -> str:
    same_name = found.a.name == found.b.name
    lines = [
        f"## {found.a.name}" if same_name else f"## A {found.a.name}, B {found.b.name}",
        "",
        sentence(found),
    ]
    first = min(found.partings, key=lambda each: each.position, default=None)
    if first is not None:
        lines += [
            "",
            f"First difference, of {count(len(found.partings), 'scenario')} that part: {_parting(first)}.",
        ]
    looks = {"Free": found.free, **{f"Forced, {mode}": each for mode, each in found.forced.items()}}
    lines += ["", *(f"- {what}: {_along(each)}." for what, each in looks.items() if each is not None)]
    if found.forced_not and found.sameness != "same bits":
        lines.append(f"- Forced: not compared, {found.forced_not}.")
    lines += ["", _provenance(found)]
    return "\n".join(lines)


def _parting(found: Parting) -> str:
    where = f"`{found.scenario}`, turn {found.turn}, after {count(found.position, 'token')}"
    if found.kind == "harness":
        return f"{where}: the prompts differ before the model does (harness)"
    return f"{where}: {_choice('A', found.a, found.b, found.known_a)}; {_choice('B', found.b, found.a, found.known_b)}"


def _choice(side: str, mine: int | None, other: int | None, known: KnownCandidates | None) -> str:
    if mine is None:
        return f"{side} ended"
    if known is None:
        return f"{side} took id {mine}"
    margin, censored = known.margin_to(other)
    against = "the end" if other is None else f"id {other}"
    by = f"{'≥ ' if censored else ''}{significant(margin)} nat before {against}"
    return f"{side} took id {mine} (logprob {significant(known.chosen, 3)}), {by}"


def _along(found: Along) -> str:
    parts = [
        f"{count(found.positions, 'position')} with one context",
        f"top-1 equal at {_part(found.top1_equal, found.positions)}",
        f"bits equal at {_part(found.equal_bits, found.positions)}",
    ]
    if found.unequal_from is not None:
        parts.append(f"unequal from position {found.unequal_from:,} on")
    if found.unequal_from is not None and found.logprob_change is not None:
        parts.append(f"|Δ logprob| {_spread(found.logprob_change)}")
    if found.unequal_from is not None and found.divergence is not None:
        parts.append(f"KL ≥ {_spread(found.divergence)}")
    return "; ".join(parts)


def _part(part: int, of: int) -> str:
    return f"{part:,} ({percent(part / of)})" if of else str(part)


def _spread(found: OverPositions) -> str:
    return f"{significant(found.mean)} nat in the mean, p99 {significant(found.p99)}, at most {significant(found.max)}"


def _provenance(found: Comparison) -> str:
    if not found.provenance:
        return "Nothing differs in what their sessions recorded of engine, weights, kernels and machine."
    told = "\n".join(f"- {each.what}: A {each.a}; B {each.b}" for each in found.provenance)
    return f"What differs in what they are, the likeliest cause first:\n\n{told}"
