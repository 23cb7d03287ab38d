"""The kinds of question about a chart, each with its text and its answer computed from the data.

Bars are named by number; where several bars are equal the earliest is meant. `ask` names in a workload
file are the keys of `KINDS`, their parameters the fields listed there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

from scripts.common.errors import ConfigError, nearest
from scripts.records.base import Value, convert
from scripts.workload.charts import FIELDS, Bar, Chart, Field

BARS: tuple[Literal["bar", "a", "b", "first", "last"], ...] = ("bar", "a", "b", "first", "last")


class Parameters(TypedDict, total=False):
    """What a question is about, as a workload file names it: bars by number, a price, one of a bar's four prices.

    Each kind of question has those that its `parameters` name.
    """

    field: Field
    bar: int
    time: str
    first: int
    last: int
    a: int
    b: int
    level: int | float | str


@dataclass(frozen=True)
class Kind:
    """A kind of question: the names of its parameters, its text, and its answer on a chart."""

    parameters: tuple[str, ...]
    text: str
    answer: Callable[[Chart, Parameters], str]
    is_price: bool = False


def window(chart: Chart, given: Parameters) -> tuple[Bar, ...]:
    """The bars from `first` to `last`, both included."""
    return chart.bars[given["first"] - 1 : given["last"]]


def bar(chart: Chart, number: int) -> Bar:
    """The bar of that number (from 1)."""
    return chart.bars[number - 1]


def level(chart: Chart, given: Parameters) -> int:
    """The parameter `level`, written as a price, in ticks."""
    ticks: int = round(float(given["level"]) * 10**chart.decimals)
    return ticks


def highest(bars: tuple[Bar, ...]) -> Bar:
    """The earliest bar with the highest high."""
    return max(bars, key=lambda each: (each.high, -each.number))


def lowest(bars: tuple[Bar, ...]) -> Bar:
    """The earliest bar with the lowest low."""
    return min(bars, key=lambda each: (each.low, each.number))


def widest(bars: tuple[Bar, ...]) -> Bar:
    """The earliest bar with the largest high minus low."""
    return max(bars, key=lambda each: (each.high - each.low, -each.number))


def rising(bars: tuple[Bar, ...]) -> list[Bar]:
    """The bars that close above their open."""
    return [each for each in bars if each.close > each.open]


def falling(bars: tuple[Bar, ...]) -> list[Bar]:
    """The bars that close below their open."""
    return [each for each in bars if each.close < each.open]


def _first(bars: list[Bar]) -> str:
    return str(bars[0].number) if bars else "none"


def at_time(chart: Chart, time: str) -> Bar:
    """The bar printed with that time; ConfigError where the chart has none."""
    found = [each for each in chart.bars if each.time == time]
    if not found:
        raise ConfigError(
            f"no bar of the chart has the time {time!r}", remedy=f"the first is {chart.bars[0].time!r}"
        )
    return found[0]


def _direction(chart: Chart, given: Parameters) -> str:
    return "rise" if bar(chart, given["b"]).close > bar(chart, given["a"]).close else "fall"


def _higher(chart: Chart, given: Parameters) -> str:
    a, b = bar(chart, given["a"]), bar(chart, given["b"])
    return str(a.number if a.close >= b.close else b.number)


KINDS: dict[str, Kind] = {
    "value_of_bar": Kind(
        ("field", "bar"),
        "What is the {field} of bar {bar}?",
        lambda c, g: c.price(bar(c, g["bar"]).value(g["field"])),
        is_price=True,
    ),
    "value_at_time": Kind(
        ("field", "time"),
        "What is the {field} of the bar at {time}?",
        lambda c, g: c.price(at_time(c, g["time"]).value(g["field"])),
        is_price=True,
    ),
    "highest_high": Kind(
        ("first", "last"),
        "What is the highest high of bars {first} to {last}?",
        lambda c, g: c.price(highest(window(c, g)).high),
        is_price=True,
    ),
    "lowest_low": Kind(
        ("first", "last"),
        "What is the lowest low of bars {first} to {last}?",
        lambda c, g: c.price(lowest(window(c, g)).low),
        is_price=True,
    ),
    "bar_of_highest_high": Kind(
        ("first", "last"),
        "Which of bars {first} to {last} has the highest high?",
        lambda c, g: str(highest(window(c, g)).number),
    ),
    "bar_of_lowest_low": Kind(
        ("first", "last"),
        "Which of bars {first} to {last} has the lowest low?",
        lambda c, g: str(lowest(window(c, g)).number),
    ),
    "higher_close": Kind(("a", "b"), "Which closes higher, bar {a} or bar {b}?", _higher),
    "count_up": Kind(
        ("first", "last"),
        "How many of bars {first} to {last} close above their open?",
        lambda c, g: str(len(rising(window(c, g)))),
    ),
    "count_down": Kind(
        ("first", "last"),
        "How many of bars {first} to {last} close below their open?",
        lambda c, g: str(len(falling(window(c, g)))),
    ),
    "count_closes_above": Kind(
        ("level", "first", "last"),
        "How many of bars {first} to {last} close above {level}?",
        lambda c, g: str(sum(each.close > level(c, g) for each in window(c, g))),
    ),
    "direction": Kind(("a", "b"), "Does the close rise or fall from bar {a} to bar {b}?", _direction),
    "range_of_bar": Kind(
        ("bar",),
        "What is the range of bar {bar}, high minus low?",
        lambda c, g: c.price(bar(c, g["bar"]).high - bar(c, g["bar"]).low),
        is_price=True,
    ),
    "span": Kind(
        ("first", "last"),
        "What is the highest high minus the lowest low of bars {first} to {last}?",
        lambda c, g: c.price(highest(window(c, g)).high - lowest(window(c, g)).low),
        is_price=True,
    ),
    "change": Kind(
        ("a", "b"),
        "By how much does the close change from bar {a} to bar {b}?",
        lambda c, g: c.price(bar(c, g["b"]).close - bar(c, g["a"]).close),
        is_price=True,
    ),
    "widest_bar": Kind(
        ("first", "last"),
        "Which of bars {first} to {last} has the widest range?",
        lambda c, g: str(widest(window(c, g)).number),
    ),
    "first_close_above": Kind(
        ("level",),
        "Which is the first bar that closes above {level}? Answer none if no bar does.",
        lambda c, g: _first([each for each in c.bars if each.close > level(c, g)]),
    ),
    "first_close_below": Kind(
        ("level",),
        "Which is the first bar that closes below {level}? Answer none if no bar does.",
        lambda c, g: _first([each for each in c.bars if each.close < level(c, g)]),
    ),
}


def ask_text(kind: str, given: Parameters) -> str:
    """The question's text."""
    return KINDS[kind].text.format(**given)


def check_question(chart: Chart, kind: str, raw: Mapping[str, Value], where: str) -> Parameters:
    """A question's parameters; ConfigError for an unknown kind, missing or unknown ones, and bars the chart has not."""
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of question {kind!r}", where=where, remedy=nearest(kind, KINDS))
    wanted = set(KINDS[kind].parameters)
    if set(raw) != wanted:
        unknown, missing = sorted(set(raw) - wanted), sorted(wanted - set(raw))
        raise ConfigError(
            f"the question {kind!r} has the wrong parameters (missing {missing}, unknown {unknown})",
            where=where,
            remedy="it takes " + ", ".join(KINDS[kind].parameters),
        )
    if "field" in raw and raw["field"] not in FIELDS:
        raise ConfigError(
            f"unknown field {raw['field']!r}", where=where, remedy=nearest(str(raw["field"]), FIELDS)
        )
    given = convert(Parameters, raw, where)
    for name in BARS:
        if name in given and not 1 <= given[name] <= len(chart.bars):
            raise ConfigError(
                f"{name} {given[name]!r} is not a bar of the chart",
                where=where,
                remedy=f"1 to {len(chart.bars)}",
            )
    if "first" in given and given["first"] >= given["last"]:
        raise ConfigError("first must come before last", where=where)
    if kind in ("higher_close", "direction") and bar(chart, given["a"]).close == bar(chart, given["b"]).close:
        raise ConfigError(
            "both bars close at the same price: the question has no answer",
            where=where,
            remedy="name another bar",
        )
    return given
