"""Numbers as a reader wants them: few digits, units, no false precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scripts.common.words import count as count
from scripts.records.cell import Cause, Cell, Difference, Kernels, Predicted, Score, Ties, Tokens
from scripts.records.figures import Interval, NoiseSpread, Rate
from scripts.records.forced import CellForced
from scripts.records.question import QuestionFound
from scripts.verdict.parts import sessions_apart, sessions_within
from scripts.verdict.rates import upper_bound
from scripts.verdict.sessions import replays_differ as replays_that_differ

if TYPE_CHECKING:
    from scripts.comparison.pairs import Distance

DASH = "–"


def significant(value: float | None, digits: int = 2) -> str:
    """A number to so many significant digits, never as 1e3: 0.0043, 0.21, 48, 1,200; a dash for None."""
    if value is None:
        return DASH
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    places = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(places, 0)}f}"


def tiny(value: float) -> str:
    """A number of any size, two significant digits: 0, 0.031, 2.4e-06."""
    return significant(value) if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


def percent(share: float | None) -> str:
    """A share of 1 in per cent, one decimal at most: 93.3 %, 100 %; a dash for None."""
    return DASH if share is None else f"{round(100 * share, 1):.4g} %"


def distance(found: Distance | None) -> str:
    """Where two cells hold the same id the most likely, and how far they are apart at least, in the mean; a dash for
    None."""
    if found is None or not found.along.positions:
        return DASH
    along = found.along
    apart = significant(along.divergence.mean) if along.divergence else DASH
    return f"{percent(along.top1_equal / along.positions)}, {apart}"


def k_of_n(k: int | None, n: int) -> str:
    """k/N, or a dash where k is not known."""
    return DASH if k is None else f"{k}/{n}"


def bits_k_of_n(found: Cell) -> str:
    """k/N in bits, of replays that have any; and of how much, where a part of what was generated has none."""
    bits = found.bits
    if bits is None or found.logprobs_identical is None:
        return k_of_n(found.logprobs_identical, found.replays)
    shares = [(bits.turns_with_bits, bits.turns), (bits.with_bits, bits.positions)]
    least = min(some / all_ for some, all_ in shares if all_)
    return f"{k_of_n(found.logprobs_identical, bits.replays)} of {percent(least)}"


def span(interval: Interval | Predicted | Rate | None) -> str:
    """An interval's bounds, two significant digits each; a dash for None."""
    return DASH if interval is None else f"{significant(interval.low)} to {significant(interval.high)}"


def flips(rate: Rate, resampled: Interval | None = None) -> str:
    """Flips per 1,000 tokens with their 95 % interval; without a flip the one-sided bound.

    `resampled`: the interval with sessions resampled, where there is one; it takes the place of the rate's own.
    """
    if not rate.exposure:
        return DASH
    if rate.events == 0:
        return f"0 (≤ {significant(1000 * upper_bound(0, rate.exposure))})"
    return f"{significant(rate.rate)} ({span(resampled or rate)})"


def flips_basis(found: Cell) -> str:
    """What the interval of the rate of flips rests on; a dash without a flip."""
    if not found.flips_per_1000_tokens.events:
        return DASH
    return "sessions resampled" if found.flips_bootstrap else "taking sessions as alike"


def replays_differ(found: Cell) -> str:
    """The share of replays whose text is not the reference's, with its interval by session."""
    seen = replays_that_differ(found.hashes, found.reference)
    return DASH if seen is None else f"{percent(seen.share)} ({percent(seen.low)} to {percent(seen.high)})"


def parts(found: Cell) -> str:
    """Where replays part: in how many sessions, from session to session; a dash where one replay or an older file is
    all there is."""
    if found.parts is None or found.agreement is None or found.replays == 1:
        return DASH
    if found.parts == "none":
        return "none seen"
    if found.parts == "first-replay":
        return "first replay of each session"
    of = f"of {count(found.sessions, 'session')}"
    if found.parts == "within":
        return f"within {sessions_within(found.hashes)} {of}"
    return (
        f"{'never within, ' if found.agreement.within.pairs else ''}{sessions_apart(found.hashes)} {of} apart"
    )


def cause(found: Cause) -> str:
    """What tells the bits of a cell's sessions, and how likely that is by chance."""
    sides = "; ".join(
        f"{_sessions(side.sessions)} {_did(found, ' or '.join(side.values), index)} "
        f"{'has' if len(side.sessions) == 1 else 'have'} bits {letter(index)}"
        for index, side in enumerate(found.sides)
    )
    others = ""
    if found.equally:
        others = f"; {count(found.equally, 'other fact')} of {found.varied} that vary do so too"
    return f"{sides}{others}; by chance alone one would in {percent(found.chance)} of such cells"


def _did(found: Cause, value: str, index: int) -> str:
    """What the sessions of the index-th side have in common; the kernel is named once."""
    if found.kind == "tuned":
        chosen = f"{value} warps" if found.parameter == "num_warps" else f"{found.parameter} {value}"
        return f"that chose {chosen}" + ("" if index else f" for `{found.name}`")
    return (
        f"with {found.name} {value}" if found.kind == "resolved" else f"that began with {found.name} {value}"
    )


def _sessions(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers))
    return f"session {listed}" if len(numbers) == 1 else f"the {len(numbers)} sessions ({listed})"


def letter(index: int) -> str:
    """A, B, … Z, AA, AB, …: what stands for the bits of the index-th group."""
    return (letter(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


def first_difference(differences: Sequence[Difference]) -> Difference | None:
    """The difference at the smallest position; the earliest listed of several there."""
    return min(differences, key=lambda each: each.position, default=None)


def margin(found: Difference) -> str:
    """How near the tie was at a difference, nat; a dash without logprobs."""
    return DASH if found.margin is None else f"{'≥ ' if found.margin_censored else ''}{tiny(found.margin)}"


def steps(found: Difference) -> str:
    """The margin in steps of the logits, in brackets; nothing where no step is known."""
    if found.margin_steps is None:
        return ""
    word = "step" if found.margin_steps == 1 else "steps"
    return f" ({'≥ ' if found.margin_censored else ''}{found.margin_steps:g} {word})"


def named_kernels(found: Cell) -> dict[str, str]:
    """What is computed → what computed it, of a cell; what does not apply is left out."""
    return {} if found.kernels is None else kernel_words(found.kernels)


def kernel_words(found: Kernels) -> dict[str, str]:
    """What is computed → what computed it; what does not apply is left out."""
    named = {
        "experts": found.experts,
        "dense": found.dense,
        "attention": found.attention,
        "linear attention": found.linear_attention,
        "all-reduce": found.all_reduce,
        "runner": found.runner,
    }
    return {name: word for name, word in named.items() if word is not None}


def kernels(found: Cell) -> str:
    """What computed a cell, in short words; a dash where its sessions recorded nothing of it."""
    if found.kernels is None:
        return DASH
    said = "; ".join(f"{name} {word}" for name, word in named_kernels(found).items())
    return f"{said} (**sessions differ**)" if found.resolved_differently else said


def position_and_margin(differences: Sequence[Difference]) -> str:
    """Where the first difference is, and how near the tie was there."""
    first = first_difference(differences)
    if first is None:
        return DASH
    return f"{first.position:,}, {'harness' if first.kind == 'harness' else margin(first) + steps(first)}"


def noise(found: NoiseSpread | None) -> str:
    """p99 of the noise: chosen token / margin."""
    if found is None:
        return DASH
    return " / ".join(DASH if each is None else tiny(each.p99) for each in (found.chosen, found.margin))


def score(found: Score | None) -> str:
    """The mean score, with least and greatest where replays differ."""
    if found is None:
        return DASH
    if found.min == found.max:
        return percent(found.mean)
    return f"{percent(found.mean)} ({percent(found.min)} to {percent(found.max)})"


def tokens(found: Tokens) -> str:
    """Tokens a replay, with their CV and swing."""
    return f"{found.mean:,.0f} (CV {percent(found.cv)}, swing {percent(found.swing)})"


def forced(found: CellForced | None) -> str:
    """Positions with unequal bits over forced passes, by mode; a mode that was not run is left out."""
    run = found.run() if found else {}
    if not run:
        return f"{DASH} not run"
    return "; ".join(
        f"{mode} {each.unequal_bits.positions:,} of {each.positions:,}" for mode, each in run.items()
    )


def yes_or_no(found: bool | None) -> str:
    """yes, no, or a dash where too little was looked at."""
    return {True: "yes", False: "no", None: DASH}[found]


def ties(found: Ties | None) -> str:
    """Whether near-ties account for the flips, with the flips per 1,000 tokens they predict."""
    if found is None or found.predicted_flips_per_1000_tokens is None:
        return DASH
    predicted = found.predicted_flips_per_1000_tokens
    if found.near_tie_account == "not testable":
        return "not testable"
    return f"{found.near_tie_account}: {significant(predicted.rate)} ({span(predicted)})"


def question(found: QuestionFound | None) -> str:
    """The answer to a cell's question, and how many replays it took; a dash where none was asked."""
    if found is None:
        return DASH
    per = "a token" if found.per == 1 else f"per {found.per:,}"
    if found.answer is None:
        return f"open after {found.replays} replays: ≤ {found.r0:g} or ≥ {found.r1:g} {per}"
    said = f"≤ {found.r0:g}" if found.answer == "at most r0" else f"≥ {found.r1:g}"
    return f"{said} {per}, after {found.after} of {found.replays} replays"
