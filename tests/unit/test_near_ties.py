"""Near-ties: contexts counted as the rate counts them, steps of many positions, what is foretold, what a flip costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.archive.reference import pack_reference, verify_reference, write_pages
from scripts.records.cell import KnownCandidates
from scripts.records.grid import Grid
from scripts.report.near_ties import draw_near_ties, make_near_ties, read_looked, write_near_ties
from scripts.verdict.near_ties import (
    Contexts,
    by_margin,
    by_step,
    forced_contexts,
    foretell,
    free_contexts,
    moved_ties,
)
from scripts.verdict.partings import read_partings
from scripts.verdict.steps import logit_step, pooled_steps, step_likelihoods
from scripts.verdict.summary import summarise
from tests.unit.cells import answered, part, write_cell
from tests.unit.grids import write_grid


def contexts(margins: np.ndarray, events: np.ndarray, replays: int = 6) -> Contexts:
    """Contexts of as many replays each, a stretch every 64."""
    stretches = np.arange(margins.size) // 64
    return Contexts(stretches, margins, np.full(margins.size, np.nan), np.full(margins.size, replays), events)


def two_ways(tmp_path: Path) -> Path:
    """Four replays: three say 1 2 3, one says 1 9 9 9 at an exact tie, and answers otherwise."""
    tie = {1: [(2, -0.7), (9, -0.7), (3, -4.0)]}
    usual = {"s": [part([5], [1, 2, 3], tops=tie, answer=answered(1, True)), part([6], [4])]}
    other = {
        "s": [
            part([5], [1, 9, 9, 9], tops={1: [(9, -0.7), (2, -0.7), (3, -4.0)]}, answer=answered(1, False)),
            part([6], [4]),
        ]
    }
    return write_cell(tmp_path / "cell", [[usual, usual], [usual, other]])


def test_contexts_are_those_of_the_rate(tmp_path: Path) -> None:
    cell = two_ways(tmp_path)
    found = free_contexts(cell)
    assert found is not None
    rate = summarise(cell).flips_per_1000_tokens
    assert (found.rate().events, found.rate().exposure) == (rate.events, rate.exposure) == (1, 4 + 4 + 3 + 3)
    flipped = found.where(found.events > 0)
    assert flipped.margins.tolist() == [0.0] and flipped.steps.tolist() == [0.0]
    assert next((each.label, each.contexts, each.flipped) for each in by_margin(found)) == ("0", 1, 1)
    assert moved_ties(found) == (1, 1)


def test_without_logprobs_there_is_no_margin(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cell", [[{"s": [part([5], [1])]}] * 2], logprobs=False)
    assert free_contexts(cell) is None and forced_contexts(cell, "decode") is None


def test_what_a_flip_cost(tmp_path: Path) -> None:
    found = read_partings(two_ways(tmp_path))
    assert found.episodes == 3
    (only,) = found.found
    assert (only.session, only.replay, only.position, only.tokens, only.other_tokens) == (1, 1, 1, 3, 4)
    assert (only.further, only.questions, only.changed, only.lost, only.won) == (1, 1, 0, 1, 0)


@pytest.mark.parametrize("sizes", [(8.0, 15.0), (16.0, 31.0)])
def test_many_positions_tell_the_step_where_one_does_not(sizes: tuple[float, float]) -> None:
    generator = np.random.default_rng(3)
    step = 2.0 ** (np.floor(np.log2(sizes[0])) - 7)
    records = [
        KnownCandidates(chosen=-1.0, top=[(index, float(logit)) for index, logit in enumerate(logits)])
        for logits in -np.sort(-np.round(generator.uniform(*sizes, (40, 3)) / step) * step, axis=1)
    ]
    likely = [each for record in records if (each := step_likelihoods(0, [record])) is not None]
    alone = [logit_step(0, [record]) for record in records]
    told = pooled_steps(np.array(likely))
    assert np.nanmax(told) == np.nanmin(told) == step
    assert np.count_nonzero(~np.isnan(told)) > sum(each is not None for each in alone)


def test_of_no_position_no_step_is_told() -> None:
    assert pooled_steps(np.empty((0, 10))).size == 0


def test_classes_hold_margins_up_to_their_edge() -> None:
    margins = np.array([0.0, 1 / 32, 1 / 16, 0.07, 1.0, 1.01, np.nan])
    found = by_margin(contexts(margins, np.zeros(7, dtype=np.int64)))
    assert [each.contexts for each in found] == [1, 1, 1, 1, 0, 0, 1, 1]
    assert found[-1].label == "above 1" and found[2].label == "to 1/16"
    steps = by_step(
        Contexts(
            np.zeros(4, dtype=np.int64),
            margins[:4],
            np.array([0.0, 1.0, 2.0, 7.0]),
            np.full(4, 2),
            np.ones(4),
        )
    )
    assert [(each.label, each.contexts) for each in steps if each.contexts] == [
        ("0", 1),
        ("1", 1),
        ("2", 1),
        ("5 to 8", 1),
    ]


@pytest.mark.parametrize("scale", [0.0, 0.02, 0.2])
def test_what_is_foretold_is_seen(scale: float) -> None:
    """Flips by a noise of that scale: the other half has as many as foretold, in 95 of 100 cells or so."""
    generator = np.random.default_rng(7)
    seen = []
    for _ in range(60):
        margins = np.round(generator.exponential(0.9, 1280) * 16) / 16
        chance = np.exp(-margins / scale) / 2 if scale else np.zeros(margins.size)
        others = generator.binomial(6, chance)
        found = foretell(contexts(margins, np.minimum(others, 6 - others)))
        assert found is not None
        seen.append(found.consistent)
        if scale == 0.02:  # exact ties alone flip, and a flip elsewhere was not to be expected
            assert found.low <= found.expected <= found.high
    assert sum(seen) >= 54


def test_one_stretch_foretells_nothing() -> None:
    assert foretell(contexts(np.zeros(10), np.zeros(10, dtype=np.int64))) is None


def test_margins_foretell_more_than_one_rate() -> None:
    """Where the halves have unlike shares of near-ties, a rate for all margins is wrong and the classes are not."""
    near, far = np.full(64, 0.0), np.full(64, 5.0)
    margins = np.concatenate([near, far, near, far, near, near, near, near, far, near])
    order = np.arange(margins.size)
    found = foretell(contexts(margins, np.where((margins == 0) & (order % 4 == 0), 2, 0)))
    assert found is not None and found.consistent
    assert abs(found.observed - found.expected) < abs(found.observed - found.constant)


def test_a_page_says_what_was_seen_and_is_judged_again(tmp_path: Path) -> None:
    root = write_grid(tmp_path / "made")
    grid = Grid.read(root / "results/grid.json")
    page = root / "results/near-ties.md"
    write_near_ties(grid, root / "results", page)
    looked = read_looked(grid, root / "results")
    text = page.read_text(encoding="utf-8")
    assert text == make_near_ties(looked, grid.heading, "near-ties.svg")
    assert "## What a flip costs" in text and "**What this cannot say.**" in text
    assert page.with_suffix(".svg").read_text(encoding="utf-8").startswith("<?xml")
    kept = tmp_path / "kept"
    pack_reference(root, kept)
    assert [str(each) for each in verify_reference(kept)[1]] == []
    (kept / "near-ties.md").write_text(text.replace("one rate", "two rates"), encoding="utf-8")
    assert any("near-ties.md" in str(each) for each in verify_reference(kept)[1])
    write_pages(kept)
    assert [str(each) for each in verify_reference(kept)[1]] == []


def test_of_no_cell_a_page_says_so(tmp_path: Path) -> None:
    assert "there is no margin to look at" in make_near_ties([], "grid", "x.svg")
    draw_near_ties([], tmp_path / "x.svg")
    assert (tmp_path / "x.svg").is_file()
