"""Figures that several records hold: shares of positions, rates with intervals, quantiles of noise."""

from __future__ import annotations

from scripts.records.base import Record


class Share(Record, frozen=True, kw_only=True):
    """How many positions something holds for."""

    positions: int
    """How many."""
    share: float | None
    """Of all positions; null where there is none."""


class Rate(Record, frozen=True, kw_only=True):
    """A rate of flips with its exact two-sided 95 % Poisson interval, per 1,000 tokens."""

    events: int
    """Flips seen."""
    exposure: int
    """Tokens at which one could have been seen."""
    rate: float | None
    """1,000 × events / exposure; null where nothing was compared."""
    low: float | None
    """The interval's lower bound."""
    high: float | None
    """The interval's upper bound."""


class Interval(Record, frozen=True, kw_only=True):
    """An interval, per 1,000 tokens."""

    low: float
    """Its lower bound."""
    high: float
    """Its upper bound."""


class Spread(Record, frozen=True, kw_only=True):
    """Quantiles of absolute differences, nat."""

    p50: float
    """The median."""
    p99: float
    """The 99th percentile."""
    max: float
    """The largest."""


class NoiseSpread(Record, frozen=True, kw_only=True):
    """How much one position's logprobs differ between replays or passes. Null where no two could be compared."""

    chosen: Spread | None
    """|Δ logprob of the chosen id|."""
    margin: Spread | None
    """|Δ margin|, the best minus the second best."""
