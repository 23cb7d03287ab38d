"""Sweeps: thresholds found to the token on an engine whose edge is known, and what the page says of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.common.errors import ConfigError
from scripts.common.protocol import Generation, Scores
from scripts.engines.answers import digest
from scripts.grid.configuration import load_configuration
from scripts.grid.describe import describe_grid, describe_rest
from scripts.grid.resolve import resolve_cells
from scripts.grid.sweeps import curves
from scripts.make_report import read_page
from scripts.records.engine import Described
from scripts.records.machine import Code, Machine
from scripts.records.session import WeightsSum, WorkloadSum
from scripts.records.settings import Settings
from scripts.records.sweep import SweepAsked, SweepMode, SweepPoint, SweepRecord
from scripts.report.curves import describe, draw_curve, make_page, read_curves
from scripts.sessions.progress import Progress
from scripts.sessions.sweep import Pass, Sweeper, compare
from scripts.verdict.edges import chance_of_split, changes, share_at_most
from tests.unit.cells import ROOT, command
from tests.unit.test_grid_configuration import EMBEDDED, edit, tree  # noqa: F401 (fixtures)
from tests.unit.test_sessions_load import settings as cell_settings

LISTED = [1 << power for power in range(5, 12)]
Chance = Callable[[int], float]
"""How likely one pass over a prompt of so many ids has other bits than usual."""


class Edged:
    """An engine at the level of the protocol whose bits differ at random with a chance that its length has."""

    def __init__(self, chance: Chance, seed: int) -> None:
        self._chance, self._random = chance, random.Random(seed)
        self.asked = 0

    def _noise(self, length: int) -> float:
        self.asked += 1
        return self._random.random() * 1e-4 if self._random.random() < self._chance(length) else 0.0

    def score(self, ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """As a prefill, of which only the last two positions are told: the noise is on the last alone."""
        noise = self._noise(len(ids))
        chosen = [-0.5, -0.5 - noise]
        top = [[(7, each), (9, -1.0)] for each in chosen]
        return Scores(1, [digest(*each) for each in zip(chosen, top, strict=True)], chosen, top)

    def force(self, prompt_ids: Sequence[int], output_ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """As decode steps after the prompt."""
        noise = self._noise(len(prompt_ids))
        chosen = [-0.5 - noise for _ in output_ids]
        top = [[(7, each), (9, -1.0)] for each in chosen]
        return Scores(len(prompt_ids), [digest(*each) for each in zip(chosen, top, strict=True)], chosen, top)

    def generate(
        self, prompt_ids: Sequence[int], *, max_tokens: int, stop_ids: Sequence[int], top_logprobs: int
    ) -> Generation:
        """A generation whose second id flips with the noise."""
        noise = self._noise(len(prompt_ids))
        ids = [7, 9 if noise else 7, *[7] * (max_tokens - 2)]
        chosen = [-0.5 - noise for _ in ids]
        return Generation(ids, "length", chosen, [[(each, -0.5)] for each in ids])

    def reset(self) -> None:
        """Nothing is kept."""


class Shared:
    """A server whose bits differ at random while it answers so many clients or more; further clients are slow."""

    def __init__(self, edge: int) -> None:
        self._edge, self._random, self._clients = edge, random.Random(1), 1
        self._quiet, self._noisy = Edged(step(10**6), 0), Edged(step(1), 1)

    def generate(self, prompt_ids: Sequence[int], **asked: Any) -> Generation:
        """With noise or without."""
        engine = self._noisy if self._clients >= self._edge else self._quiet
        return engine.generate(prompt_ids, **asked)

    @contextmanager
    def another(self) -> Iterator[Slow]:
        """One client more."""
        self._clients += 1
        yield Slow()
        self._clients -= 1

    def reset(self) -> None:
        """Nothing is kept."""


class Slow:
    """A further client, whose answers nobody looks at."""

    def generate(self, prompt_ids: Sequence[int], *, max_tokens: int, **asked: Any) -> Generation:
        """After a while."""
        time.sleep(0.002)
        return Generation([1] * max_tokens, "length", None, None)


def sweep_of(**given: object) -> SweepAsked:
    return msgspec.convert({"name": "curve", "values": LISTED, "prompts": 1, **given}, SweepAsked)


def run(chance: Chance, *, seed: int = 0, sweep: SweepAsked | None = None) -> list[SweepPoint]:
    return sweeping(Edged(chance, seed), sweep or sweep_of())


def sweeping(engine: Edged | Shared, sweep: SweepAsked) -> list[SweepPoint]:
    prompts = [list(range(sweep.longest)) for _ in range(sweep.prompts)]
    with open("/dev/null", "w", encoding="utf-8") as nowhere:
        return Sweeper(engine, cell_settings(1), sweep, prompts).run(Progress("", 1, nowhere))  # type: ignore[arg-type]  # as much of an engine as is used


def step(edge: int, above: float = 0.9) -> Chance:
    return lambda length: above if length >= edge else 0.0


@settings(max_examples=25, deadline=None)
@given(
    st.integers(33, 2048),
    st.floats(0.6, 1),
    st.integers(0, 10**6),
    st.sampled_from(["prefill", "decode", "free"]),
)
def test_an_edge_is_found_to_the_token(edge: int, above: float, seed: int, mode: SweepMode) -> None:
    found = changes(run(step(edge, above), seed=seed, sweep=sweep_of(mode=mode)))
    assert [(each.equal, each.unequal) for each in found] == [(edge - 1, edge)]
    assert found[0].is_sharp


def test_a_difference_that_the_passes_at_first_missed_moves_the_threshold_down() -> None:
    """A tenth of the passes differ from 100 on, all from 400 on: in most sessions some length between reads equal at
    first, and the further passes beside it say otherwise."""
    chance: Chance = lambda length: 1.0 if length >= 400 else 0.1 if length >= 100 else 0.0  # noqa: E731
    wide = sweep_of(looks=100, confirm=60)
    first = [
        min(changes(run(chance, seed=seed, sweep=wide)), key=lambda each: each.span) for seed in range(40)
    ]
    assert all(each.equal >= 99 for each in first)
    assert sum((each.equal, each.unequal) == (99, 100) for each in first) >= 34
    assert not any(each.is_sharp and each.equal != 99 for each in first)


def test_over_requests_in_flight_each_value_has_its_own_load() -> None:
    sweep = sweep_of(axis="in_flight", values=[1, 2, 4, 8, 16], mode="free", prompt_tokens=40, confirm=20)
    points = sweeping(Shared(edge=6), sweep)
    (found,) = changes(points)
    assert (found.equal, found.unequal, found.is_sharp) == (5, 6, True)
    assert {each.value for each in points} == {1, 2, 4, 5, 6, 7, 8, 16}


def test_a_band_has_two_thresholds() -> None:
    found = changes(run(lambda length: 0.9 * (200 <= length < 700), sweep=sweep_of()))
    assert [(each.equal, each.unequal, each.is_sharp) for each in found] == [
        (199, 200, True),
        (700, 699, True),
    ]


def test_a_slope_is_no_threshold_and_ends() -> None:
    """The chance grows bit by bit: no sharp threshold is claimed in more than one of twenty sessions."""
    slope: Chance = lambda length: min(1.0, length / 40_000)  # noqa: E731
    claims = 0
    for seed in range(40):
        points = run(slope, seed=seed)
        assert len(points) <= len(LISTED) + sweep_of().looks
        claims += any(each.is_sharp for each in changes(points))
    assert claims <= 2


def test_equal_and_unequal_everywhere_have_no_threshold() -> None:
    assert changes(run(step(10**6))) == [] and changes(run(step(1))) == []
    assert {each.purpose for each in run(step(10**6))} == {"listed"}


def test_a_chance_and_a_bound_are_what_they_say() -> None:
    assert chance_of_split(2, 1, 2) == 0.5 and chance_of_split(2, 2, 2) == pytest.approx(1 / 6)
    assert chance_of_split(30, 0, 30) == 1 and share_at_most(59) < 0.05 < share_at_most(57)


def test_passes_are_compared_while_their_ids_agree() -> None:
    one, other = (
        Pass([1, 2, 3], ["a", "b", "c"], [-1.0, -2.0, -3.0]),
        Pass([1, 5, 3], ["a", "x", "c"], [-1.0, -2.5, -3.0]),
    )
    free = compare([one, one, other], prompt=0, value=9, purpose="listed", free=True, seconds=1.0)
    assert (free.positions, free.unequal, free.flips, free.first, free.largest) == (2, 1, 1, 1, 0.0)
    assert (free.passes, free.differing) == (3, 1) and free.usual == free.digests[0]
    loaded = compare([other, other], prompt=0, value=9, purpose="listed", free=True, seconds=1.0, alone=one)
    assert (loaded.passes, loaded.unlike, loaded.differing, loaded.unequal) == (2, 2, 2, 1)
    forced = compare([one, one, other], prompt=0, value=9, purpose="listed", free=False, seconds=1.0)
    assert (forced.positions, forced.unequal, forced.flips, forced.largest) == (3, 1, 1, 0.5)


# Pages


def record(
    points: list[SweepPoint], sweep: SweepAsked, *, session: int = 0, **changed: object
) -> SweepRecord:
    given: Settings = msgspec.structs.replace(cell_settings(1), **changed)
    return SweepRecord(
        session=session,
        sweep=sweep,
        points=points,
        settings=given,
        workload=WorkloadSum(name="w", sha256="0"),
        weights=WeightsSum(manifest_sha256="0"),
        engine_record=None,
        resolved=Described(version=None, arguments={}, resolved={}, context_between_turns="kept"),
        argv=[],
        environment={},
        machine=Machine(cpu="a processor", gpus=[], memory_bytes=1),
        code=Code(commit=None, dirty=None),
        started="2026-01-02T03:04:05+00:00",
        ended="2026-01-02T03:04:05+00:00",
    )


def words(sessions: Sequence[Chance], sweep: SweepAsked) -> str:
    made = [
        record(run(each, seed=seed, sweep=sweep), sweep, session=seed) for seed, each in enumerate(sessions)
    ]
    (curve,) = read_curves(made)
    return describe(curve, sweep)


def test_a_page_names_the_threshold_that_all_sessions_and_prompts_agree_on(tmp_path: Path) -> None:
    sweep = sweep_of(prompts=2)
    made = [record(run(step(129), seed=seed, sweep=sweep), sweep, session=seed) for seed in (0, 1)]
    made += [record(run(step(9999), sweep=sweep), sweep, session=seed, precision="int4") for seed in (0, 1)]
    page = make_page(made, "curve.svg")
    assert "- **m bf16**: **equal to 128, unequal from 129**, in all 2 sessions and all 2 prompts" in page
    assert (
        "- **m int4**: no difference at 7 values from 32 to 2,048 (2 sessions of 2 prompts, 10 passes each"
        in page
    )
    assert page.count("| equal to 128, unequal from 129 | yes") == 4 and "![Unequal bits" in page
    draw_curve(made, tmp_path / "curve.svg")
    (tmp_path / "curve.md").write_text(page, encoding="utf-8")
    assert "](data:image/svg+xml;base64," in read_page(tmp_path / "curve.md")
    drawn = (tmp_path / "curve.svg").read_bytes()
    draw_curve(made, tmp_path / "curve.svg")
    assert drawn == (tmp_path / "curve.svg").read_bytes() and b"tokens of the prompt" in drawn


def test_sessions_that_part_give_a_range_and_one_session_its_own_threshold() -> None:
    sweep = sweep_of()
    assert "equal to 128, unequal from 149, sessions part between" in words([step(129), step(149)], sweep)
    assert "another start of the engine was not looked at" in words([step(129)], sweep)
    assert "unequal at every value that was looked at, 32 to 2,048" in words([step(1), step(1)], sweep)
    rare = msgspec.structs.replace(sweep, passes=40, confirm=2)
    assert "so rarely that the place may be chance" in words([step(129, 0.4)], rare)
    some = words([step(129), step(9999)], sweep)
    assert "equal to 128, not always unequal at 2,048 either" in some
    assert "unequal to 299, equal from 300" in words([lambda length: 0.9 * (length < 300)] * 2, sweep)


def test_over_gpus_cells_of_several_engines_are_one_curve() -> None:
    sweep = sweep_of(axis="gpus", values=[], prompt_tokens=64)
    made = []
    for gpus, chance in ((1, 0.0), (2, 0.9), (4, 0.9)):
        for session in (0, 1):
            points = [
                msgspec.structs.replace(each, value=gpus)
                for each in run(step(1, chance), seed=session, sweep=sweep)
            ]
            made.append(record(points, sweep, session=session, engine=f"e-tp{gpus}", gpus=gpus))
    (curve,) = read_curves(made)
    assert "equal to 1, unequal in all sessions from 2" in describe(curve, sweep)
    assert "passes with the bits of 1" in make_page(made, "curve.svg")


# Grids


def test_a_sweep_that_cannot_be_is_refused_with_its_place(
    tree: Path,  # noqa: F811
    edit: Callable[[str, str, str], None],  # noqa: F811
) -> None:
    variants = "    variants: [prompt-cache]\n"

    def refusal(asked: str, block: int = 2) -> str:
        edit(EMBEDDED, variants, f"{variants}    sweep: {asked}\n")
        configuration = load_configuration(tree, {"grid": "embedded"})
        with pytest.raises(ConfigError) as error:
            curves(configuration, resolve_cells(configuration))
        edit(EMBEDDED, f"    sweep: {asked}\n", "")
        assert f"blocks[{block}].sweep" in str(error.value)
        return error.value.what

    assert "not in ascending order" in refusal("{name: a, axis: prompt_tokens, values: [8, 4]}")
    assert "asks 4,097 ids" in refusal("{name: a, axis: prompt_tokens, values: [8, 4096]}")
    assert "one request at a time" in refusal("{name: a, axis: in_flight, values: [1, 2]}")
    assert "takes no GPU" in refusal("{name: a, axis: gpus}")
    other = "    variants: [leaky]\n"
    edit(EMBEDDED, other, f"{other}    sweep: {{name: a, axis: prompt_tokens, values: [8]}}\n")
    assert "an unlike sweep 'a'" in refusal("{name: a, axis: prompt_tokens, values: [4]}", block=3)


def test_the_curves_of_hopper_are_two_cells_of_one_page(root: Path, tmp_path: Path) -> None:
    configuration = load_configuration(root, {"grid": "hopper-curves"})
    found = curves(configuration, resolve_cells(configuration))
    assert [cell.precision for cell in found["prompt-tokens"]] == ["int4", "bf16"]
    cells = resolve_cells(configuration)
    assert "4 sessions of sweeps, about 16 minutes more" in describe_grid(configuration, cells)
    assert describe_rest(tmp_path, cells, configuration.engines).startswith(
        "8 of 8 sessions are not there yet"
    )


def test_the_published_curve_follows_from_what_its_sessions_looked_at(tmp_path: Path) -> None:
    kept = ROOT / "results/reference/hopper-curves"
    sessions = [
        str(kept / f"random-moe-{precision}" / f"session-{number:02d}.json")
        for precision in ("int4", "bf16")
        for number in range(2)
    ]
    page = tmp_path / "prompt-tokens.md"
    assert command("make_curve", *sessions, "--output", str(page)).returncode == 0
    assert page.read_text() == (kept / "prompt-tokens.md").read_text()
    assert "random-moe int4**: **equal to 127, unequal from 128**" in page.read_text()
