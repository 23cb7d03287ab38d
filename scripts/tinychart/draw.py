"""Episodes drawn at random for training and for held-out tests: charts that are in no workload."""

from __future__ import annotations

import functools
import multiprocessing
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.records.settings import Listing
from scripts.workload.charts import FIELDS, Chart, ChartSpec, Timeframe, draw_chart
from scripts.workload.chat import ChatForm
from scripts.workload.episode import PlayedTurn, play_episode
from scripts.workload.oracle import CHART_FILE, OracleEngine
from scripts.workload.questions import KINDS, Parameters, ask_text, bar
from scripts.workload.workloads import Question, Scenario, Workload
from scripts.workload.workspace import Limits

# Workloads use chart seeds below 1,000,000.
FIRST_TRAINING_SEED = 1_000_000_000
FIRST_HELD_OUT_SEED = 1_000_000
# Shares of the training episodes whose listings are `ls -la`'s, and of the oracle's turns that are mistakes.
LEAKY_SHARE = 0.1
MISTAKE_SHARE = 0.02
# Questions of a training episode: more than a benchmark's ten, since reading the chart costs the most.
TRAINING_QUESTIONS = 22

SYSTEM = "You read price charts. Use the tools. Answer each question with the tool answer."
TIMEFRAMES: tuple[Timeframe, ...] = ("15min", "4h", "daily")
_WORDS = {"15min": "bars of 15 minutes", "4h": "bars of 4 hours", "daily": "daily bars"}


@dataclass(frozen=True)
class Drawn:
    """A drawn scenario: how its chart was drawn, the chart, its workload, and what the oracle must know."""

    spec: ChartSpec
    chart: Chart
    workload: Workload
    asked: list[tuple[str, Parameters, str]]


def intro(timeframe: Timeframe, bars: int) -> str:
    """How a scenario is introduced."""
    return f"The workspace holds {CHART_FILE}: {bars} {_WORDS[timeframe]}."


def draw_parameters(kind: str, chart: Chart, rng: random.Random) -> Parameters:
    """Random parameters for a question of `kind` about `chart`."""
    size = len(chart.bars)

    def number() -> int:
        return 1 + int(rng.random() * size)

    drawn: Parameters = {}
    wanted = KINDS[kind].parameters
    if "field" in wanted:
        drawn["field"] = FIELDS[int(rng.random() * len(FIELDS))]
    if "bar" in wanted:
        drawn["bar"] = number()
    if "time" in wanted:
        drawn["time"] = bar(chart, number()).time
    if "first" in wanted:
        widest = 8 if kind == "widest_bar" else 14 if kind.startswith("count") else size
        length = 4 + int(rng.random() * (widest - 3))
        drawn["first"] = 1 + int(rng.random() * (size - length + 1))
        drawn["last"] = drawn["first"] + length - 1
    if "a" in wanted:
        a, b = number(), number()
        while a == b or bar(chart, a).close == bar(chart, b).close:
            a, b = number(), number()
        drawn["a"], drawn["b"] = a, b
    if "level" in wanted:
        closes = sorted(each.close for each in chart.bars)
        middle = closes[int(rng.random() * size)] + int(rng.random() * 7) - 3
        drawn["level"] = chart.price(middle)
    return drawn


def draw_scenario(seed: int, *, questions: int = 10) -> Drawn:
    """The scenario of `seed`: a chart of 20 to 26 bars and ten questions of different texts."""
    rng = random.Random(seed)
    timeframe = TIMEFRAMES[int(rng.random() * 3)]
    bars = 20 + int(rng.random() * 7)
    spec = ChartSpec(seed=seed, timeframe=timeframe, bars=bars)
    chart = draw_chart(spec)
    kinds = sorted(KINDS)
    asked: list[tuple[str, Parameters, str]] = []
    texts: dict[str, Question] = {}
    while len(asked) < questions:
        kind = kinds[int(rng.random() * len(kinds))]
        given = draw_parameters(kind, chart, rng)
        text = ask_text(kind, given)
        if text not in texts:
            answer = KINDS[kind].answer(chart, given)
            asked.append((kind, given, answer))
            texts[text] = Question(len(asked), text, answer, "0" if KINDS[kind].is_price else None)
    scenario = Scenario("drawn", intro(timeframe, bars), {CHART_FILE: chart.csv()}, tuple(texts.values()))
    return Drawn(spec, chart, Workload("drawn", SYSTEM, (scenario,), 160, 6, Limits()), asked)


def play_oracle(
    seed: int, chat: ChatForm, parent: Path, *, listing: Listing, mistakes: float, questions: int = 10
) -> tuple[list[PlayedTurn], set[int]]:
    """The oracle's episode of `seed`, and the turns in it that are mistakes."""
    drawn = draw_scenario(seed, questions=questions)
    oracle = OracleEngine(chat, drawn.chart, drawn.asked, random.Random(seed + 1), mistakes=mistakes)
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        scenario = drawn.workload.scenarios[0]
        turns = list(
            play_episode(
                oracle,
                chat,
                drawn.workload,
                scenario,
                folder=folder,
                listing=listing,
                top_logprobs=0,
                context=65_536,
            )
        )
    finally:
        shutil.rmtree(folder)
    return turns, oracle.flawed


def training_ids(turns: list[PlayedTurn], flawed: set[int]) -> tuple[list[int], list[bool]]:
    """An episode as one sequence of ids, and for each id whether it is taught (the model's own, no mistake)."""
    ids: list[int] = []
    taught: list[bool] = []
    for played in turns:
        ids += played.turn.appended_ids + played.turn.output_ids
        taught += [False] * len(played.turn.appended_ids)
        taught += [played.turn.turn not in flawed] * len(played.turn.output_ids)
    return ids, taught


def _draw_one(task: tuple[int, Path, Path]) -> tuple[list[int], list[bool]]:
    seed, tokenizer, parent = task
    chat = _chat_form(tokenizer)
    leaky = random.Random(seed).random() < LEAKY_SHARE
    listing: Listing = "ls" if leaky else "names"
    turns, flawed = play_oracle(
        seed, chat, parent, listing=listing, mistakes=MISTAKE_SHARE, questions=TRAINING_QUESTIONS
    )
    return training_ids(turns, flawed)


@functools.cache
def _chat_form(tokenizer: Path) -> ChatForm:
    return ChatForm(tokenizer)


def draw_episodes(
    count: int, tokenizer: Path, output: Path, *, first_seed: int, length: int, workers: int
) -> None:
    """Draw the episodes of `count` seeds from `first_seed` on and write them into one numpy file.

    Arrays: `ids` [count, length] uint16, cut or padded with 0; `taught` [count, length] bool; `first_seed`.
    """
    ids = np.zeros((count, length), dtype=np.uint16)
    taught = np.zeros((count, length), dtype=bool)
    with tempfile.TemporaryDirectory() as parent, multiprocessing.Pool(workers) as pool:
        tasks = ((first_seed + number, tokenizer, Path(parent)) for number in range(count))
        for row, (row_ids, row_taught) in enumerate(pool.imap(_draw_one, tasks, chunksize=64)):
            size = min(length, len(row_ids))
            ids[row, :size], taught[row, :size] = row_ids[:size], row_taught[:size]
            if row % 10_000 == 0:
                print(f"{row} of {count} episodes drawn", flush=True)
    np.savez(output, ids=ids, taught=taught, first_seed=first_seed)
