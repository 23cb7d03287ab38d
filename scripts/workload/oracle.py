"""An oracle that plays an episode right, in its own words: the teacher of the small models.

It stands behind the `Engine` protocol and is played by the same loop as any model, so that what a model
is trained on is to the byte what it meets later. Its words vary (two ways to say a thing, drawn at
random) and now and then it makes a mistake and mends it; the mistakes are not taught.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from scripts.common.protocol import Generation, Scores
from scripts.records.engine import Described
from scripts.records.settings import GREEDY, Sampling
from scripts.workload.charts import Bar, Chart
from scripts.workload.chat import ChatForm
from scripts.workload.questions import Parameters, bar, falling, highest, level, lowest, rising, window
from scripts.workload.toolcalls import render_tool_call

CHART_FILE = "chart.csv"
NOTES_FILE = "notes.md"


def _numbers(bars: Sequence[Bar]) -> str:
    return " ".join(str(each.number) for each in bars) or "none"


def wordings(chart: Chart, kind: str, given: Parameters, answer: str) -> tuple[str, str]:
    """What the oracle says before it answers: the steps a small model needs, in two wordings."""
    price = chart.price
    match kind:
        case "value_of_bar":
            field, number = given["field"], given["bar"]
            return f"Bar {number}: {field} {answer}.", f"The {field} of bar {number} is {answer}."
        case "value_at_time":
            time = given["time"]
            number = next(each.number for each in chart.bars if each.time == time)
            return f"Bar {number} is at {time}: {answer}.", f"That is bar {number}: {answer}."
        case "highest_high" | "bar_of_highest_high":
            top = highest(window(chart, given))
            return (
                f"The top is {price(top.high)} at bar {top.number}.",
                f"Bar {top.number} is highest: {price(top.high)}.",
            )
        case "lowest_low" | "bar_of_lowest_low":
            low = lowest(window(chart, given))
            return (
                f"The bottom is {price(low.low)} at bar {low.number}.",
                f"Bar {low.number} is lowest: {price(low.low)}.",
            )
        case "higher_close" | "direction" | "change":
            a, b = bar(chart, given["a"]), bar(chart, given["b"])
            return (
                f"{price(a.close)} and {price(b.close)}.",
                f"Bar {a.number} closes at {price(a.close)}, bar {b.number} at {price(b.close)}.",
            )
        case "count_up" | "count_down" | "count_closes_above":
            bars = window(chart, given)
            if kind == "count_closes_above":
                found = [each for each in bars if each.close > level(chart, given)]
            else:
                found = rising(bars) if kind == "count_up" else falling(bars)
            return f"Bars {_numbers(found)}.", f"These do: {_numbers(found)}."
        case "range_of_bar" | "span":
            bars = (bar(chart, given["bar"]),) if kind == "range_of_bar" else window(chart, given)
            high, low_price = price(highest(bars).high), price(lowest(bars).low)
            return f"High {high}, low {low_price}.", f"{high} minus {low_price}."
        case "widest_bar":
            ranges = " ".join(price(each.high - each.low) for each in window(chart, given))
            return f"Ranges: {ranges}.", f"The ranges are {ranges}."
        case "first_close_above" | "first_close_below":
            if answer == "none":
                return "None of them.", "No bar does."
            each = bar(chart, int(answer))
            return (
                f"The first is bar {each.number}, {price(each.close)}.",
                f"Bar {each.number} closes at {price(each.close)}.",
            )
    raise ValueError(f"the oracle knows no question of kind {kind!r}")


def notes(chart: Chart) -> str:
    """The notes that the oracle writes after reading the chart."""
    top, low = highest(chart.bars), lowest(chart.bars)
    return (
        f"{len(chart.bars)} bars\n"
        f"high {chart.price(top.high)} bar {top.number}\n"
        f"low {chart.price(low.low)} bar {low.number}\n"
        f"close {chart.price(chart.bars[0].close)} to {chart.price(chart.bars[-1].close)}"
    )


class OracleEngine:
    """Plays one episode by script. `flawed` holds the turns that are mistakes, not to be taught."""

    def __init__(
        self,
        chat: ChatForm,
        chart: Chart,
        asked: Sequence[tuple[str, Parameters, str]],
        rng: random.Random,
        *,
        mistakes: float = 0.0,
    ) -> None:
        """`asked`: kind, parameters and answer of each question; `mistakes`: their share of the turns."""
        self._chat, self._rng, self._mistakes = chat, rng, mistakes
        self.flawed: set[int] = set()
        self._script = [
            self._say("First I look at the files.", "Let me see the files.", "list_files", {}),
            self._say("", "I read the chart.", "read_file", {"path": CHART_FILE}),
            self._say(
                "I take notes.",
                "I note what matters.",
                "write_file",
                {"path": NOTES_FILE, "content": notes(chart)},
            ),
            self._say("", "Are they there?", "list_files", {}),
        ]
        for number, (kind, given, answer) in enumerate(asked, start=1):
            words = wordings(chart, kind, given, answer)[rng.random() < 0.55]
            call = render_tool_call("answer", {"question": str(number), "value": answer})
            self._script.append(f"{words}\n{call}")
        self._step = self._turn = 0

    def _say(self, one: str, other: str, tool: str, arguments: dict[str, str]) -> str:
        words = one if self._rng.random() < 0.55 else other
        call = render_tool_call(tool, arguments)
        return f"{words}\n{call}" if words else call

    def _mistake(self, right: str) -> str:
        wrong = [
            right.replace("</function>\n", ""),
            right.replace("<function=", "<function=my_", 1),
            render_tool_call("read_file", {"path": "../" + CHART_FILE}),
            render_tool_call("read_file", {"path": "prices.txt"}),
            render_tool_call("answer", {"question": "99", "value": "0"}),
            right.partition("<tool_call>")[0].strip() or "I am thinking.",
        ]
        return wrong[int(self._rng.random() * len(wrong))]

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_tokens: int,
        stop_ids: Sequence[int],
        top_logprobs: int,
        sampling: Sampling = GREEDY,
    ) -> Generation:
        """The next line of the script, or a mistake before it."""
        text = self._script[self._step]
        if (
            self._rng.random() < self._mistakes
            and self._turn not in self.flawed
            and self._turn - 1 not in self.flawed
        ):
            self.flawed.add(self._turn)
            text = self._mistake(text)
        else:
            self._step += 1
        self._turn += 1
        return Generation([*self._chat.encode(text), stop_ids[0]], "stop", None, None)

    def score(self, ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """An oracle has no distribution: nothing is scored."""
        return Scores(1, [], [], [])

    def force(self, prompt_ids: Sequence[int], output_ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """As `score`."""
        return Scores(len(prompt_ids), [], [], [])

    def reset(self) -> None:
        """Begin the script anew."""
        self._step = self._turn = 0

    def describe(self) -> Described:
        """Nothing: it is no engine that anything is measured of."""
        return Described(version=None, arguments={}, resolved={}, context_between_turns="kept")
