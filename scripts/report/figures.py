"""Numbers as a reader wants them: few digits, units, no false precision."""

from __future__ import annotations

import math
from typing import Any

from scripts.verdict.forced import modes_run
from scripts.verdict.rates import at_most, upper_bound

DASH = "–"


def significant(value: float, digits: int = 2) -> str:
    """A number to so many significant digits, never in scientific notation: 0.0043, 0.21, 48, 1,200."""
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    places = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(places, 0)}f}"


def tiny(value: float) -> str:
    """A number of any size, two significant digits: 0, 0.031, 2.4e-06."""
    return significant(value) if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


def percent(share: float) -> str:
    """A share of 1 in per cent, one decimal at most: 93.3 %, 100 %."""
    return f"{round(100 * share, 1):.4g} %"


def k_of_n(k: int | None, n: int) -> str:
    """k/N, or a dash where k is not known."""
    return DASH if k is None else f"{k}/{n}"


def flips(rate: dict[str, Any]) -> str:
    """Flips per 1,000 tokens with their 95 % interval; without a flip the one-sided bound."""
    if not rate["exposure"]:
        return DASH
    if rate["events"] == 0:
        return f"0 (≤ {significant(1000 * upper_bound(0, rate['exposure']))})"
    low, high = significant(rate["low"]), significant(rate["high"])
    return f"{significant(rate['rate'])} ({low} to {high})"


def at_most_one_in(rate: dict[str, Any]) -> int | None:
    """N of "at most one flip in N tokens, 95 %", one-sided; None where nothing was compared."""
    bound = at_most(rate.get("events", 0), rate["exposure"])
    return None if bound is None else int(bound["one_flip_in_tokens"])


def first_difference(differences: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The difference at the smallest position; the earliest listed of several there."""
    return min(differences, key=lambda each: int(each["position"]), default=None)


def position_and_margin(differences: list[dict[str, Any]]) -> str:
    """Where the first difference is, and how near the tie was there."""
    first = first_difference(differences)
    if first is None:
        return DASH
    if first["kind"] == "harness":
        return f"{first['position']:,}, harness"
    if first["margin"] is None:
        return f"{first['position']:,}, {DASH}"
    return f"{first['position']:,}, {'≥ ' if first['margin_censored'] else ''}{tiny(first['margin'])}"


def noise(found: dict[str, Any] | None) -> str:
    """p99 of the noise: chosen token / margin."""
    if found is None:
        return DASH
    return " / ".join(
        DASH if found[name] is None else tiny(found[name]["p99"]) for name in ("chosen", "margin")
    )


def score(found: dict[str, Any] | None) -> str:
    """The mean score, with least and greatest where replays differ."""
    if found is None:
        return DASH
    if found["min"] == found["max"]:
        return percent(found["mean"])
    return f"{percent(found['mean'])} ({percent(found['min'])} to {percent(found['max'])})"


def tokens(found: dict[str, Any]) -> str:
    """Tokens a replay, with their CV and swing."""
    cv, swing = (DASH if found[key] is None else percent(found[key]) for key in ("cv", "swing"))
    return f"{found['mean']:,.0f} (CV {cv}, swing {swing})"


def forced(found: dict[str, Any] | None) -> str:
    """Positions with unequal bits over forced passes, by mode; a mode that was not run is left out."""
    run = modes_run(found)
    if not run:
        return f"{DASH} not run"
    return "; ".join(
        f"{mode} {each['unequal_bits']['positions']:,} of {each['positions']:,}" for mode, each in run.items()
    )


def yes_or_no(found: bool | None) -> str:
    """yes, no, or a dash where too little was looked at."""
    return {True: "yes", False: "no", None: DASH}[found]


def bootstrap(found: dict[str, Any] | None) -> str:
    """The interval of flips per 1,000 tokens with sessions resampled."""
    return DASH if found is None else f"{significant(found['low'])} to {significant(found['high'])}"


def ties(found: dict[str, Any] | None) -> str:
    """Whether near-ties account for the flips, with the flips per 1,000 tokens they predict."""
    predicted = (found or {}).get("predicted_flips_per_1000_tokens")
    if found is None or predicted is None:
        return DASH
    if found["near_tie_account"] == "not testable":
        return "not testable"
    interval = f"{significant(predicted['low'])} to {significant(predicted['high'])}"
    return f"{found['near_tie_account']}: {significant(predicted['rate'])} ({interval})"


def question(found: dict[str, Any] | None) -> str:
    """The answer to a cell's question, and how many replays it took; a dash where none was asked."""
    if found is None:
        return DASH
    per = "a token" if found["per"] == 1 else f"per {found['per']:,}"
    taken = f"after {found['after']} of {found['replays']} replays"
    if found["answer"] is None:
        return f"open after {found['replays']} replays: ≤ {found['r0']:g} or ≥ {found['r1']:g} {per}"
    said = f"≤ {found['r0']:g}" if found["answer"] == "at most r0" else f"≥ {found['r1']:g}"
    return f"{said} {per}, {taken}"
