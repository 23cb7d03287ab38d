"""Rates of rare events with exact Poisson intervals (Garwood, Biometrika 28, 1936)."""

from __future__ import annotations

import math

from scipy.special import gammaincinv

from scripts.records.cell import AtMost
from scripts.records.figures import Rate


def poisson_interval(events: int, exposure: float, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of events / exposure, central: each side has (1 - level) / 2.

    The bounds are quantiles of the gamma distribution, which are half those of chi-square with twice the
    degrees of freedom. Without an event the lower bound is 0 and the upper 3.69 / exposure at 95 %.
    """
    _check(events, exposure)
    side = (1 - level) / 2
    low = float(gammaincinv(events, side)) if events else 0.0
    return low / exposure, float(gammaincinv(events + 1, 1 - side)) / exposure


def upper_bound(events: int, exposure: float, level: float = 0.95) -> float:
    """The one-sided upper bound of events / exposure; 3.00 / exposure at 95 % without an event."""
    _check(events, exposure)
    return float(gammaincinv(events + 1, level)) / exposure


def flips_per_1000(events: int, exposure: int) -> Rate:
    """The `flips_per_1000_tokens` of cell.json; rate and bounds None where nothing was compared."""
    if exposure == 0:
        return Rate(events=events, exposure=0, rate=None, low=None, high=None)
    low, high = poisson_interval(events, exposure)
    rate = 1000 * events / exposure
    return Rate(events=events, exposure=exposure, rate=rate, low=1000 * low, high=1000 * high)


def at_most(events: int, exposure: int) -> AtMost | None:
    """The `at_most` of cell.json: the one-sided 95 % bound as a rate, in tokens, and as a sentence."""
    if exposure == 0:
        return None
    bound = upper_bound(events, exposure)
    tokens = math.floor(1 / bound)
    sentence = f"at most one flip in {tokens:,} tokens, with 95 % confidence"
    return AtMost(flips_per_1000_tokens=1000 * bound, one_flip_in_tokens=tokens, sentence=sentence)


def _check(events: int, exposure: float) -> None:
    if events < 0 or exposure <= 0:
        raise ValueError(f"{events} events in an exposure of {exposure} have no rate")
