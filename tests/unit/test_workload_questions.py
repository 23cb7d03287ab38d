"""Charts and questions: seeds give the same bytes for ever, answers are those a plain reading of the file gives."""

from __future__ import annotations

import io
import random
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.common.errors import ConfigError
from scripts.common.files import sha256_bytes
from scripts.tinychart.draw import draw_parameters
from scripts.workload.charts import Chart, ChartSpec, draw_chart
from scripts.workload.questions import KINDS, ask_text, check_question

SPECS = st.builds(
    ChartSpec,
    seed=st.integers(0, 2**40),
    timeframe=st.sampled_from(["15min", "4h", "daily"]),
    bars=st.integers(20, 60),
    decimals=st.integers(0, 2),
)


def frame(chart: Chart) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(chart.csv()), dtype={"time": str}).set_index("bar")


def plain_answer(kind: str, given: dict[str, Any], data: pd.DataFrame) -> float | str:
    """The answer by pandas from the file's text alone."""
    part = data.loc[given["first"] : given["last"]] if "first" in given else data
    level = float(given.get("level", 0))
    match kind:
        case "value_of_bar":
            return float(data.loc[given["bar"], given["field"]])
        case "value_at_time":
            return float(data[data["time"] == given["time"]][given["field"]].iloc[0])
        case "highest_high":
            return float(part["high"].max())
        case "lowest_low":
            return float(part["low"].min())
        case "bar_of_highest_high":
            return float(part["high"].idxmax())
        case "bar_of_lowest_low":
            return float(part["low"].idxmin())
        case "higher_close":
            return float(max((given["a"], given["b"]), key=lambda bar: data.loc[bar, "close"]))
        case "count_up":
            return float((part["close"] > part["open"]).sum())
        case "count_down":
            return float((part["close"] < part["open"]).sum())
        case "count_closes_above":
            return float((part["close"] > level + 1e-9).sum())
        case "direction":
            return "rise" if data.loc[given["b"], "close"] > data.loc[given["a"], "close"] else "fall"
        case "range_of_bar":
            return float(data.loc[given["bar"], "high"] - data.loc[given["bar"], "low"])
        case "span":
            return float(part["high"].max() - part["low"].min())
        case "change":
            return float(data.loc[given["b"], "close"] - data.loc[given["a"], "close"])
        case "widest_bar":
            return float((part["high"] - part["low"]).round(6).idxmax())
        case "first_close_above":
            found = data.index[data["close"] > level + 1e-9]
        case "first_close_below":
            found = data.index[data["close"] < level - 1e-9]
        case _:
            raise AssertionError(kind)
    return float(found[0]) if len(found) else "none"


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=40, deadline=None)
@given(spec=SPECS, seed=st.integers(0, 2**32))
def test_an_answer_is_what_the_file_says(kind: str, spec: ChartSpec, seed: int) -> None:
    chart = draw_chart(spec)
    given_values = draw_parameters(kind, chart, random.Random(seed))
    check_question(chart, kind, given_values, "here")
    answer = KINDS[kind].answer(chart, given_values)
    expected = plain_answer(kind, given_values, frame(chart))
    assert (
        answer == expected
        if isinstance(expected, str)
        else float(answer) == pytest.approx(expected, abs=1e-6)
    )


@given(SPECS)
def test_a_chart_is_sound(spec: ChartSpec) -> None:
    chart = draw_chart(spec)
    assert len(chart.bars) == spec.bars
    for before, bar in zip(chart.bars, chart.bars[1:], strict=False):
        assert bar.open == before.close
    for bar in chart.bars:
        assert (
            spec.low
            <= bar.low
            <= min(bar.open, bar.close)
            <= max(bar.open, bar.close)
            <= bar.high
            <= spec.high
        )
        assert bar.open != bar.close
    assert len({bar.time for bar in chart.bars}) == len(chart.bars)


def test_a_seed_gives_the_same_bytes_for_ever() -> None:
    chart = draw_chart(ChartSpec(seed=4101, timeframe="15min", bars=24))
    assert (
        sha256_bytes(chart.csv().encode())
        == "858159126f2c7f83d011272e3a66a879207254677b50fd896f5c5c847fd988b2"
    )


def test_prices_are_written_with_their_decimals() -> None:
    chart = Chart((), 2)
    assert [chart.price(ticks) for ticks in (41275, 5, -5, -134470)] == [
        "412.75",
        "0.05",
        "-0.05",
        "-1344.70",
    ]


def test_a_question_that_cannot_be_asked_is_refused() -> None:
    chart = draw_chart(ChartSpec(seed=1, timeframe="daily", bars=24))
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("highest_hihg", {"first": 1, "last": 2}, "did you mean 'highest_high'"),
        ("highest_high", {"first": 1}, "missing ['last']"),
        ("value_of_bar", {"field": "close", "bar": 25}, "1 to 24"),
        ("value_of_bar", {"field": "volume", "bar": 2}, "unknown field"),
        ("count_up", {"first": 9, "last": 9}, "first must come before last"),
    ]
    for kind, given_values, words in cases:
        with pytest.raises(ConfigError, match="here") as caught:
            check_question(chart, kind, given_values, "here")
        assert words in str(caught.value)


def test_every_kind_has_its_text() -> None:
    chart = draw_chart(ChartSpec(seed=1, timeframe="daily", bars=24))
    for kind in KINDS:
        text = ask_text(kind, draw_parameters(kind, chart, random.Random(0)))
        assert "{" not in text and text.endswith((".", "?"))
