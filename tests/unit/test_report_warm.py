"""Cold against warm prefix cache from planted cells: which answers are warm, what they are, and by whose count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cells import Part, PlantedReplay, command, part, write_cell

from scripts.archive.reference import pages
from scripts.archive.rejudge import Counts, make_pages
from scripts.common.errors import ConfigError, DataError
from scripts.engines.vllm_server import prefix_cache
from scripts.grid.configuration import load_configuration
from scripts.grid.resolve import resolve_cells
from scripts.grid.side_tables import WARM, side_tables, warm_pairs
from scripts.records.cell import Cell
from scripts.records.engine import Described, PrefixCacheCount
from scripts.records.grid import Grid, GridCell, WarmPair
from scripts.records.settings import HarnessSettings
from scripts.records.transcript import TurnTiming
from scripts.report.warm import ROWS, make_warm, sentence
from scripts.sessions.play import Player, ReplayWriter
from scripts.verdict.summary import summarise
from scripts.verdict.warm import Reading, compare_cold_and_warm, first_unequal
from scripts.workload.spec import load_workload
from scripts.workload.text_form import TextForm
from tests.engines.serving import kind_settings

ENGINE = "llama-cpp-python-0.3.36"
PROMPT = list(range(50))


def answers(*turns: Part) -> PlantedReplay:
    return {"first": turns}


def plant(folder: Path, sessions: list[list[tuple[PlantedReplay, list[int | None]]]], **record: Any) -> Cell:
    """A cell whose replays come with how many ids of each turn's prompt were cached, and its summary."""
    write_cell(folder, [[replay for replay, _ in each] for each in sessions], **record)
    for number, replays in enumerate(sessions):
        for count, (replay, cached) in enumerate(replays):
            lines = [
                TurnTiming(
                    scenario=scenario, turn=turn, tokens=len(each.ids), seconds=0.1, cached_tokens=kept
                )
                for scenario, parts in replay.items()
                for (turn, each), kept in zip(enumerate(parts), cached, strict=True)
            ]
            path = folder / f"session-{number:02d}/replay-{count:02d}.timing.jsonl"
            path.write_text("".join(line.line() for line in lines))
    found = summarise(folder)
    found.write(folder / "cell.json")
    return found


def plain() -> PlantedReplay:
    return answers(part(PROMPT, [7, 8, 9]))


def shifted(index: int) -> PlantedReplay:
    """The same tokens, other logprobs from `index` on."""
    return answers(part(PROMPT, [7, 8, 9], shifts={index: 1e-6}))


def test_a_warm_answer_with_other_bits_is_found_to_the_token(tmp_path: Path) -> None:
    session: list[tuple[PlantedReplay, list[int | None]]] = [
        (plain(), [0]),
        (shifted(2), [48]),
        (shifted(2), [48]),
    ]
    cell = plant(tmp_path / "kept", [session, session])
    uncached = plant(tmp_path / "plain", [[(plain(), [None])] * 2])
    found = compare_cold_and_warm(tmp_path / "kept", cell, (tmp_path / "plain", uncached))
    (context,) = found.contexts
    assert context.warm_against_cold(bits=True) is Reading.OTHER
    assert context.warm_against_cold(bits=False) is Reading.EQUAL
    assert context.cold_against_uncached(bits=True) is Reading.EQUAL
    assert context.first_difference(bits=True) == 2
    assert context.first_difference(bits=False) is None
    assert sentence(found) == (
        "warm answers have **other bits** than the first ones in 1 of 1 warm context, the same in every repeat of a"
        " session, from token 2 of an answer on; the text is the same in all; first answers have the uncached cell's bits in 1 of 1;"
        " seen in 2 sessions. By the engine's count 0 of 100 prompt tokens of the first answers came from its cache, and"
        " 192 of 200 of the warm ones."
    )


def test_equal_answers_are_equal(tmp_path: Path) -> None:
    cell = plant(tmp_path, [[(plain(), [0]), (plain(), [48])]])
    found = compare_cold_and_warm(tmp_path, cell, None)
    assert found.contexts[0].warm_against_cold(bits=True) is Reading.EQUAL
    assert found.contexts[0].cold_against_uncached(bits=True) is None
    assert "have the bits of the first ones in all 1 warm context;" in sentence(found)


def test_an_engine_that_does_not_count_or_has_no_hit_proves_nothing(tmp_path: Path) -> None:
    unknown = plant(tmp_path / "unknown", [[(plain(), [None]), (shifted(0), [None])]])
    found = compare_cold_and_warm(tmp_path / "unknown", unknown, None)
    assert not found.contexts and "nothing is known to be warm" in sentence(found)
    none = plant(tmp_path / "none", [[(plain(), [0]), (shifted(0), [0])]])
    found = compare_cold_and_warm(tmp_path / "none", none, None)
    assert not found.contexts and "nothing was warm" in sentence(found)


def test_only_contexts_that_both_had_and_that_were_warmer_are_compared(tmp_path: Path) -> None:
    first = answers(part(PROMPT, [7, 8]), part([1], [9]), part([2], [4]))
    same = answers(part(PROMPT, [7, 8]), part([1], [9]), part([2], [4]))
    other = answers(part(PROMPT, [7, 6]), part([1], [5]))
    cell = plant(tmp_path, [[(first, [0, 52, 54]), (same, [48, 52, 55]), (other, [48, 52])]])
    found = compare_cold_and_warm(tmp_path, cell, None)
    assert [(each.turn, len(each.warm)) for each in found.contexts] == [(0, 2), (2, 1)]
    assert found.not_warmer == 1
    assert found.contexts[0].warm_against_cold(bits=False) is Reading.UNSTABLE
    assert found.contexts[0].first_difference(bits=False) == 1
    assert found.contexts[0].cold[0].prompt_tokens == 50
    assert found.contexts[1].cold[0].prompt_tokens == 50 + 2 + 1 + 1 + 1


def test_sessions_that_disagree_are_unstable_though_each_is_clean(tmp_path: Path) -> None:
    cell = plant(tmp_path, [[(plain(), [0]), (plain(), [48])], [(plain(), [0]), (shifted(1), [48])]])
    (context,) = compare_cold_and_warm(tmp_path, cell, None).contexts
    assert context.warm_against_cold(bits=True) is Reading.UNSTABLE
    assert context.first_difference(bits=True) == 1


@pytest.mark.parametrize(
    ("hits", "said"), [(96, "its totals say the same"), (90, "its totals say otherwise")]
)
def test_the_server_s_own_totals_are_held_against_the_turns(tmp_path: Path, hits: int, said: str) -> None:
    described = Described(
        version="1",
        arguments={},
        resolved={},
        context_between_turns="kept",
        prefix_cache=PrefixCacheCount(queries=200, hits=hits),
    )
    replays = [(plain(), [0]), (plain(), [48]), (plain(), [48])]
    cell = plant(tmp_path, [[*replays]], resolved=described.as_json())
    assert said in sentence(compare_cold_and_warm(tmp_path, cell, None))


def test_the_metrics_of_vllm_are_summed_over_its_engines() -> None:
    text = (
        "# TYPE vllm:prefix_cache_queries_total counter\n"
        'vllm:prefix_cache_queries_total{engine="0",model_name="m"} 300.0\n'
        'vllm:prefix_cache_queries_total{engine="1",model_name="m"} 21.0\n'
        'vllm:prefix_cache_queries_created{engine="0"} 1.7e+09\n'
        'vllm:external_prefix_cache_queries_total{engine="0"} 5.0\n'
        'vllm:prefix_cache_hits_total{engine="0",model_name="m"} 256.0\n'
    )
    assert prefix_cache(text) == PrefixCacheCount(queries=321, hits=256)
    assert prefix_cache("") is None


@pytest.mark.parametrize(
    ("one", "other", "index"),
    [([1, 2], [1, 2], None), ([1, 2], [1, 3], 1), ([1], [1, 2], 1), ([], [1], 0), ([], [], None)],
)
def test_an_end_is_a_difference(one: list[int], other: list[int], index: int | None) -> None:
    assert first_unequal(one, other) == index


def test_a_timing_of_another_replay_is_refused(tmp_path: Path) -> None:
    cell = plant(tmp_path, [[(plain(), [0]), (plain(), [48])]])
    path = tmp_path / "session-00/replay-01.timing.jsonl"
    path.write_text(path.read_text().replace('"tokens":3', '"tokens":4'))
    with pytest.raises(DataError, match="another replay"):
        compare_cold_and_warm(tmp_path, cell, None)


def wrong(root: Path, grid: Grid) -> list[str]:
    """What is said of the page where a reference table is verified."""
    return [str(each) for each in make_pages(root, grid, Counts()) if WARM in str(each)]


def test_the_page_has_a_sentence_a_row_and_the_first_contexts(tmp_path: Path) -> None:
    kept, base, broken = (
        GridCell(model="m", precision="p", engine=ENGINE, variant=name)
        for name in ("warm-prefix-cache", "base", "gone")
    )
    turns, names = ROWS + 3, {"model": "m", "precision": "p", "engine": ENGINE}
    cold = answers(*(part([1], [7]) for _ in range(turns)))
    warm = answers(*(part([1], [7], shifts={0: 1e-6}) for _ in range(turns)))
    session: list[tuple[PlantedReplay, list[int | None]]] = [(cold, [0] * turns), (warm, [1] * turns)]
    results = tmp_path / "results"
    plant(results / "cells" / kept.path, [session], variant="warm-prefix-cache", **names)
    plant(results / "cells" / base.path, [[(cold, [0] * turns)]], variant="base", **names)
    pairs = [WarmPair(kept=kept.path, uncached=base.path), WarmPair(kept=broken.path, uncached=None)]
    grid = Grid(heading="g", cells=[kept, base, broken], controls=[], warm=pairs, partial=True)
    grid.write(tmp_path / "grid.json")
    page = results / "warm.md"
    done = command(
        "make_warm", "--grid", str(tmp_path / "grid.json"), "--results", str(results), "--output", str(page)
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert text == make_warm(grid, results)
    assert WARM in pages(grid, tmp_path) and not wrong(tmp_path, grid)
    page.write_text(text.replace("other bits", "the same bits"), encoding="utf-8")
    assert wrong(tmp_path, grid), "a page in a reference table is made again and compared"
    assert f"in {turns} of {turns} warm contexts" in text
    assert "and 3 more" in text and "not run: no cell.json" in text
    assert "**What this cannot say.**" in text


def test_pairs_differ_in_their_cache_and_its_counter_alone(root: Path) -> None:
    configuration = load_configuration(root, {"grid": "hopper-warm"})
    cells = resolve_cells(configuration)
    pairs = warm_pairs(configuration, cells)
    assert pairs and {cell.path for pair in pairs for cell in pair if cell} == {
        cell.path for cell in side_tables(configuration, cells)[WARM]
    }
    for kept, uncached in pairs:
        assert uncached is not None
        assert (kept.variant, uncached.variant) == ("warm-prefix-cache", "base")
        assert kept.names[:3] == uncached.names[:3]


def test_one_replay_cannot_be_warm(root: Path) -> None:
    configuration = load_configuration(root, {"grid": "hopper-warm"})
    grid = msgspec.structs.replace(configuration.grid, replays=1)
    with pytest.raises(ConfigError, match="keeps the prefix cache for one replay"):
        resolve_cells(replace(configuration, grid=grid))


def test_all_replays_of_a_scenario_follow_one_another_where_the_cache_is_kept(root: Path) -> None:
    workload = load_workload(root / "config/workloads/chartist-mini.yaml")
    replays = [ReplayWriter(root, number) for number in range(2)]

    def order(harness: HarnessSettings) -> list[tuple[str, int, bool]]:
        player = Player(TextForm(), workload, kind_settings("vllm", harness=harness))
        return [(scenario.name, each.number, cold) for scenario, each, cold in player.episodes(replays)]

    names = [scenario.name for scenario in workload.scenarios]
    assert order(HarnessSettings(prefix_cache="kept")) == [
        (name, number, number == 0) for name in names for number in range(2)
    ]
    assert order(HarnessSettings()) == [(name, number, True) for number in range(2) for name in names]
