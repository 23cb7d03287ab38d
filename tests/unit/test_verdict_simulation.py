"""The instrument tested on cells whose truth is known: thousands, written as sessions write them, read by the
code that reads real ones. All draws are seeded.

What the interval is about: the expected events over the expected exposure, were the same cell measured again.
With flips that come alike everywhere that is their rate; where they come at a few near-ties it is the rate of
these contexts at this N (half of n replays off a fair tie are fewer than n / 2 at small n), and says nothing
of other prompts, over which flips come in clumps of n.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from scripts.records.figures import NoiseSpread, Rate, Spread
from scripts.records.question import Budget, QuestionAsked
from scripts.records.transcript import Turn
from scripts.verdict.classes import difference_class
from scripts.verdict.summary import look, summarise
from tests.unit.cells import Part, Top, part, write_cell

SCENARIOS = ("daily", "hourly", "short")
ENDS = 9
Stream = tuple[int, ...]


def write_streams(folder: Path, replays: Sequence[Sequence[Stream]], sessions: int = 2) -> None:
    """A text-only cell: of each replay one stream a scenario, cut into two turns, an end id after each."""
    shutil.rmtree(folder, ignore_errors=True)
    known: dict[tuple[str, Stream], str] = {}
    homes = [folder / f"session-{number:02d}" for number in range(sessions)]
    for number, home in enumerate(homes):
        home.mkdir(parents=True)
        record = {"model": "m", "precision": "p", "engine": "e", "variant": "base", "session": number}
        (home / "session.json").write_text(json.dumps(record | {"tokens": 1, "seconds": 1}))
    counts = [0] * sessions
    for number, streams in enumerate(replays):
        lines = []
        for scenario, ids in zip(SCENARIOS, streams, strict=False):
            if (scenario, ids) not in known:
                cut = len(ids) // 2
                turns = [
                    Turn(
                        scenario=scenario,
                        turn=turn,
                        appended_ids=[turn, 7],
                        output_ids=[*some, ENDS],
                        finish_reason="stop",
                        text="",
                        tool_calls=[],
                        tool_results=[],
                        answer=None,
                    )
                    for turn, some in enumerate((ids[:cut], ids[cut:]))
                ]
                known[scenario, ids] = "".join(turn.line() for turn in turns)
            lines.append(known[scenario, ids])
        session = number % sessions
        path = homes[session] / f"replay-{counts[session]:02d}.transcript.jsonl"
        path.write_text("".join(lines))
        counts[session] += 1


Drawn = tuple[list[Stream], int, int]
Process = Callable[[int, int, np.random.Generator], Drawn]


def steady(rate: float, alternatives: int) -> Process:
    """Every replay takes another id with chance `rate` at each token: one of so many alternatives."""

    def draw(replays: int, length: int, generator: np.random.Generator) -> Drawn:
        usual = [10] * length
        streams = [list(usual) for _ in range(replays)]
        for replay, at in np.argwhere(generator.random((replays, length)) < rate).tolist():
            streams[replay][at] = 11 + int(generator.integers(0, alternatives))
        return [tuple(each) for each in streams], 0, 0

    return draw


@dataclass(frozen=True)
class Ties:
    """Near-ties at fixed contexts: the share of contexts, and the chance of each id there."""

    share: float
    chances: tuple[float, ...]
    seed: int

    def draw(self, replays: int, length: int, generator: np.random.Generator) -> Drawn:
        """Streams, and by the way, counted as they are drawn, events and exposure."""
        streams = [[10] * length for _ in range(replays)]
        events = exposure = 0
        stack = [(self.seed, 0, np.arange(replays))]
        while stack:
            branch, at, members = stack.pop()
            for tie in self._places(branch, length):
                if tie < at:
                    continue
                if len(members) < 2:
                    break
                exposure += len(members) * (tie - at + 1)
                at = tie + 1
                taken = generator.choice(len(self.chances), len(members), p=self.chances)
                groups = [members[taken == number] for number in range(len(self.chances))]
                events += len(members) - max(map(len, groups))
                for number, group in enumerate(groups[1:], start=1):
                    for member in group.tolist():
                        streams[member][tie] = 10 + number
                    if len(group) >= 2:
                        stack.append((hash((branch, tie, number)), at, group))
                members = groups[0]
            exposure += len(members) * (length - at) if len(members) >= 2 else 0
        return [tuple(each) for each in streams], events, exposure

    def _places(self, branch: int, length: int) -> Iterator[int]:
        rng, at = random.Random(branch), -1
        while True:
            at += 1 + int(math.log(1 - rng.random()) / math.log(1 - self.share))
            if at >= length:
                return
            yield at


def measure(
    folder: Path, processes: Sequence[Process], replays: int, length: int, generator: np.random.Generator
) -> Rate:
    """Draw a cell, one process a scenario, write it, and read its rate."""
    drawn = [draw(replays, length, generator)[0] for draw in processes]
    write_streams(folder, [[streams[n] for streams in drawn] for n in range(replays)])
    return summarise(folder).flips_per_1000_tokens


def covers(found: Rate, rate: float) -> bool:
    """Whether the interval holds that rate."""
    assert found.low is not None
    assert found.high is not None
    return found.low <= rate <= found.high


LENGTHS = {0.1: 1500, 1.0: 500, 10.0: 150, 30.0: 100, 100.0: 50}
"""Tokens a scenario, by flips per 1,000 tokens."""


@pytest.mark.parametrize("rate", LENGTHS)
def test_intervals_cover_a_steady_rate(tmp_path: Path, rate: float) -> None:
    covered, ratios = [], []
    for replays, alternatives in itertools.product((3, 6, 12, 30), (1, 40)):
        generator = np.random.default_rng([round(10 * rate), replays, alternatives])
        processes = [steady(rate / 1000, alternatives)] * len(SCENARIOS)
        found = [measure(tmp_path / "cell", processes, replays, LENGTHS[rate], generator) for _ in range(50)]
        covered += [covers(each, rate) for each in found]
        events, exposure = sum(each.events for each in found), sum(each.exposure for each in found)
        ratios.append(1000 * events / exposure / rate)
    assert len(covered) == 400
    assert np.mean(covered) >= 0.935
    # At 100 flips per 1,000 a majority of few replays flips now and then, and the others are then counted.
    assert np.mean(ratios) == pytest.approx(1.0 if rate < 100 else 0.96, abs=0.1)


@pytest.mark.parametrize(("rate", "length"), [(1.0, 500), (10.0, 150), (100.0, 50)])
@pytest.mark.parametrize("chances", [(0.9, 0.1), (0.5, 0.5), (0.34, 0.33, 0.33)])
def test_intervals_cover_the_rate_of_near_ties(
    tmp_path: Path, rate: float, length: int, chances: tuple[float, ...]
) -> None:
    covered = []
    share = min(0.5, rate / 1000 / (1 - chances[0]))
    for replays, seed in itertools.product((3, 6, 30), range(4)):
        generator = np.random.default_rng([round(rate), replays, seed])
        scenarios = [Ties(share, chances, 100 * seed + number).draw for number in range(len(SCENARIOS))]
        again = np.array(
            [np.sum([draw(replays, length, generator)[1:] for draw in scenarios], axis=0) for _ in range(150)]
        )
        truth = 1000 * again[:, 0].sum() / again[:, 1].sum()
        for _ in range(10):
            found = measure(tmp_path / "cell", scenarios, replays, length, generator)
            covered.append(covers(found, truth))
    assert len(covered) == 120
    assert np.mean(covered) >= 0.935


@pytest.mark.parametrize("seed", range(20))
def test_events_and_exposure_are_those_drawn(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    process = Ties(0.05, (0.5, 0.3, 0.2), seed)
    streams, events, exposure = process.draw(8, 150, generator)
    write_streams(tmp_path / "cell", [[each] for each in streams])
    found = summarise(tmp_path / "cell").flips_per_1000_tokens
    # The end id of the second turn is shared by those whose streams are equal, that of the first by those
    # whose first halves are.
    ends = [each[:75] for each in streams], streams
    shared = sum(n for each in ends for n in (each.count(one) for one in set(each)) if n >= 2)
    assert (found.events, found.exposure) == (events, exposure + shared)


@pytest.mark.parametrize("rate", [0.1, 2.0])
def test_the_sequential_test_keeps_its_error_rates(tmp_path: Path, rate: float) -> None:
    question = QuestionAsked(r0=0.1, r1=2.0, budget=Budget(sessions=8))
    wrong, cells = 0, 250
    generator = np.random.default_rng(round(10 * rate))
    for _ in range(cells):
        drawn = [steady(rate / 1000, 3)(16, 330, generator)[0] for _ in SCENARIOS]
        write_streams(tmp_path / "cell", [[streams[n] for streams in drawn] for n in range(16)], sessions=8)
        looks = (look(tmp_path / "cell", question, sessions) for sessions in range(1, 9))
        answer = next(each.answer for each in looks if not each.wants_more)
        wrong += answer == ("at least r1" if rate == 0.1 else "at most r0")
    assert wrong / cells <= 0.05


LISTED = 5


@dataclass(frozen=True)
class Plant:
    """A first difference as planted: what the summary must say of it.

    `ties`: exact ties in contexts that only the other replay had.
    """

    kind: str
    turn: int
    position: int
    margin: float | None
    censored: bool
    ties: int = 0


def exact_ties(parts: Sequence[Part]) -> int:
    """Positions whose best two are equal."""
    return sum(top[0][1] == top[1][1] for each in parts for top in each.top)


def plant(rng: random.Random, turns: list[Part], what: str) -> tuple[list[Part], Plant]:
    """Another replay of the episode `turns`, with one difference planted, and other words after it."""
    number = rng.randrange(len(turns))
    if what == "last token":
        number = len(turns) - 1
    here, before = turns[number], sum(len(each.ids) for each in turns[:number])
    after = [part([900 + n], [901 + n] * rng.randint(1, 4)) for n in range(rng.randint(0, 2))]
    if what == "harness":
        other = Part([*here.prompt, 55], here.ids, here.chosen, here.top)
        return [*turns[:number], other, *after], Plant(
            "harness", number, before, None, False, exact_ties([here])
        )
    if what == "end":
        at = rng.randrange(1, len(here.ids))
        cut = part(here.prompt, here.ids[:at], tops=dict(enumerate(here.top)), reason="length")
        margin = here.chosen[at] - here.top[at][-1][1]
        return [*turns[:number], cut, *after], Plant("model", number, before + at, margin, True)
    at = len(here.ids) - 1 if what == "last token" else rng.randrange(len(here.ids))
    rank = rng.randrange(1, LISTED)
    token, margin, censored = here.top[at][rank][0], here.chosen[at] - here.top[at][rank][1], False
    if what == "censored":
        token, margin, censored = 77_777, here.chosen[at] - here.top[at][-1][1], True
    tops: dict[int, Top] = dict(enumerate(here.top))
    tops[at] = [(token, -0.25), *[each for each in here.top[at] if each[1] < -0.25 and each[0] != token]]
    length = at + 1 if what == "last token" else at + rng.randint(1, 6)
    ids = [*here.ids[:at], token, *[800] * (length - at - 1)]
    other = part(here.prompt, ids, tops={n: top for n, top in tops.items() if n <= at})
    return [*turns[:number], other, *after], Plant("model", number, before + at, margin, censored)


def episode(rng: random.Random) -> list[Part]:
    """An episode with margins in eighths of a nat, exact ties among them."""
    turns = []
    for turn in range(rng.randint(1, 4)):
        ids = [rng.randrange(10, 500) for _ in range(rng.randint(2, 14))]
        tops = {}
        for index, token in enumerate(ids):
            steps = [rng.choice((0, 0.125, 0.25, 0.5, 1, 2)) for _ in range(LISTED - 1)]
            lower = itertools.accumulate(steps, initial=0.0)
            tops[index] = [(token if n == 0 else 1000 + n, -0.25 - down) for n, down in enumerate(lower)]
        turns.append(part([turn, 5], ids, tops=tops))
    return turns


def louder(turns: list[Part], shift: float) -> list[Part]:
    """The same words with the best candidate's logprob raised everywhere."""
    return [
        part(
            each.prompt,
            each.ids,
            tops=dict(enumerate(each.top)),
            shifts=dict.fromkeys(range(len(each.ids)), shift),
        )
        for each in turns
    ]


@pytest.mark.parametrize("what", ["harness", "model", "last token", "end", "censored"])
def test_what_is_planted_is_read(tmp_path: Path, what: str) -> None:
    for seed in range(80):
        rng = random.Random(f"{what}-{seed}")
        turns = episode(rng)
        other, expected = plant(rng, turns, what)
        shifts = [0.0, 0.0, rng.choice((0.125, 0.5)), 1.0 if rng.random() < 0.1 else 0.25]
        replays = [{"a": louder(turns, shift)} for shift in shifts]
        place = rng.randrange(1, 5)
        replays.insert(place, {"a": other})
        found = summarise(write_cell(tmp_path / f"cell-{seed}", [replays[:3], replays[3:]]))
        assert found.text_identical == 4
        # A leak before the last turn's prompt leaves all that was computed as it was.
        assert found.logprobs_identical in ((2, 3) if what == "harness" else (2,))
        assert len(found.differences) == 1
        first = found.differences[0]
        assert 3 * first.session + first.replay == place
        assert (first.kind, first.turn, first.position) == (
            expected.kind,
            expected.turn,
            expected.position,
        )
        assert (first.margin, first.margin_censored) == (expected.margin, expected.censored)
        tokens = sum(len(each.ids) for each in turns)
        noise = [abs(shift) for shift in shifts[1:] for _ in range(tokens)] + [0.0] * expected.position
        spread = Spread(
            p50=pytest.approx(np.quantile(noise, 0.5)),
            p99=pytest.approx(np.quantile(noise, 0.99)),
            max=max(noise),
        )
        assert found.noise == NoiseSpread(chosen=spread, margin=spread)
        assert found.exact_ties == exact_ties(turns) + expected.ties
        assert first.class_ == difference_class(
            "harness" if what == "harness" else "model",
            expected.position,
            expected.margin,
            margin_noise_p99=float(np.quantile(noise, 0.99)),
        )
        assert found.class_ == first.class_
