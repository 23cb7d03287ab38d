"""Seeded synthetic price charts: open, high, low and close in whole ticks.

Only `random.Random.random()` is drawn from, the one generator that Python promises not to change, so a
seed gives the same chart on every version and machine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Field = Literal["open", "high", "low", "close"]
Timeframe = Literal["15min", "4h", "daily"]
TimeFormat = Literal["short", "iso"]

FIELDS: tuple[Field, ...] = ("open", "high", "low", "close")
_STEP = {"15min": timedelta(minutes=15), "4h": timedelta(hours=4), "daily": timedelta(days=1)}
_SHORT = {"15min": "%H:%M", "4h": "%m-%dT%H", "daily": "%m-%d"}
_ISO = {"15min": "%Y-%m-%dT%H:%M", "4h": "%Y-%m-%dT%H:%M", "daily": "%Y-%m-%d"}
_START = datetime(2024, 1, 2, 0, 0)


@dataclass(frozen=True)
class ChartSpec:
    """How a chart is drawn.

    `bars`: how many. `decimals`: digits after the point; a tick is 10**-decimals. `low`, `high`: the
    prices between which the walk stays, in ticks. `move`: the largest step of a bar, in ticks.
    """

    seed: int
    timeframe: Timeframe
    bars: int
    decimals: int = 0
    low: int = 100
    high: int = 320
    move: int = 10
    time_format: TimeFormat = "short"


@dataclass(frozen=True)
class Bar:
    """One bar: its number from 1, its time as printed, its prices in ticks."""

    number: int
    time: str
    open: int
    high: int
    low: int
    close: int

    def value(self, field: Field) -> int:
        """The price of one field, in ticks."""
        return int(getattr(self, field))


@dataclass(frozen=True)
class Chart:
    """A chart as drawn: its bars in order of time, and how many decimals a price has."""

    bars: tuple[Bar, ...]
    decimals: int

    def price(self, ticks: int) -> str:
        """A price, or a difference of prices, in ticks as text: 41275 with two decimals is '412.75'."""
        if self.decimals == 0:
            return str(ticks)
        sign, size = ("-" if ticks < 0 else ""), abs(ticks)
        whole, part = divmod(size, 10**self.decimals)
        return f"{sign}{whole}.{part:0{self.decimals}d}"

    def csv(self) -> str:
        """The file the agent reads: a header, then one line a bar."""
        lines = ["bar,time,open,high,low,close"]
        for bar in self.bars:
            prices = ",".join(self.price(bar.value(field)) for field in FIELDS)
            lines.append(f"{bar.number},{bar.time},{prices}")
        return "\n".join(lines) + "\n"


def draw_chart(spec: ChartSpec) -> Chart:
    """Draw the chart of `spec`: a bounded random walk with a drift that changes now and then."""
    rng = random.Random(spec.seed)

    def whole(first: int, last: int) -> int:
        return first + int(rng.random() * (last - first + 1))

    margin = spec.move * 2
    price = whole(spec.low + margin, spec.high - margin)
    names = _SHORT if spec.time_format == "short" else _ISO
    time = _START + timedelta(days=whole(0, 250)) + _STEP[spec.timeframe] * whole(0, 48)
    drift, bars = 0, []
    for number in range(1, spec.bars + 1):
        if rng.random() < 0.2:
            drift = whole(-spec.move // 2, spec.move // 2)
        step = max(-spec.move, min(spec.move, whole(-spec.move, spec.move) // 2 + drift))
        if step == 0:
            step = 1 if rng.random() < 0.5 else -1
        close = price + step
        if not spec.low + margin <= close <= spec.high - margin:
            drift, close = -drift, price - step
        high = max(price, close) + whole(0, spec.move // 2)
        low = min(price, close) - whole(0, spec.move // 2)
        stamp = (time + _STEP[spec.timeframe] * (number - 1)).strftime(names[spec.timeframe])
        bars.append(Bar(number, stamp, price, high, low, close))
        price = close
    return Chart(tuple(bars), spec.decimals)
