"""Near-ties: chances by hand, and predictions from known noise."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from scripts.records.cell import Ties
from scripts.verdict import ties
from scripts.verdict.forced import Passes


def passes_of(signed: np.ndarray) -> Passes:
    """Forced passes with those margins of id 1 over id 2."""
    count = signed.shape[1]
    argmax = np.where(signed >= 0, 1, 2)
    return Passes([("a", 0, count)], signed.view(np.uint64), np.abs(signed), argmax, -np.abs(signed))


def jitter(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """The difference of two logits' noise, each uniform within 0.05 nat."""
    found: np.ndarray = generator.uniform(-0.05, 0.05, shape) - generator.uniform(-0.05, 0.05, shape)
    return found


def test_chance_is_the_share_of_noise_beyond_the_margin() -> None:
    residuals = np.array([[-0.3, -0.1], [0.1, 0.3]])
    assert ties.chance(np.array([0.0, 0.2, 0.3, 1.0, -0.2]), residuals).tolist() == [
        0.5,
        0.25,
        0.0,
        0.0,
        0.75,
    ]


def test_fit_scales_residuals_for_the_mean_they_are_around() -> None:
    model = ties.fit(np.array([[3.0, 1.0], [3.0, 2.0]]))
    assert model.margins.tolist() == [3.0, 1.5]
    # The smallest margin first: half of the difference either way, times the root of two.
    assert np.sort(model.residuals[0]).tolist() == pytest.approx([-(0.5**0.5)] * 2 + [0.5**0.5] * 2)
    assert model.residuals[1].tolist() == [0, 0, 0, 0]
    assert model.reach == pytest.approx(0.5**0.5)


def test_fit_needs_two_passes() -> None:
    with pytest.raises(ValueError, match="two passes"):
        ties.fit(np.ones((1, 3)))


def test_half_of_two_replays_at_an_exact_tie() -> None:
    # Each draw: two replays, a fair coin each; one event where they differ.
    model = ties.NoiseModel(np.zeros(100), np.array([[-0.1, 0.1]] * 50), passes=100)
    draws = ties.draw_events(model, np.full(100, 2))
    assert draws.mean() == pytest.approx(50, abs=3)


@pytest.mark.parametrize("free", [3, 6, 30])
def test_known_noise_predicts_what_free_replays_do(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ties, "DRAWS", 200)
    generator = np.random.default_rng(free)
    inside, tested, cells = 0, 0, 40
    for _ in range(cells):
        margins = generator.exponential(4, 1500)
        passes = passes_of(margins + jitter(generator, (5, 1500)))
        others = (margins + jitter(generator, (free, 1500)) < 0).sum(axis=0)
        found = ties.account(passes, "decode", np.full(1500, free), np.minimum(others, free - others))
        inside += found.near_tie_account == "consistent"
        assert found.held_out is not None
        tested += found.held_out.consistent
    assert inside >= 0.85 * cells
    assert tested >= 0.88 * cells


def one_account(
    seed: int, *, noise: float, events: int, position: Literal["low", "high"] = "low", passes: int = 5
) -> Ties:
    generator = np.random.default_rng(seed)
    margins = np.sort(generator.exponential(4, 2000))
    seen = np.zeros(2000, dtype=np.int64)
    at = np.arange(events) if position == "low" else 1999 - np.arange(events)
    seen[at] = 1
    signed = margins + noise * jitter(generator, (passes, 2000))
    return ties.account(passes_of(signed), "decode", np.full(2000, 6), seen)


def test_flips_without_noise_contradict_the_account() -> None:
    found = one_account(1, noise=0.0, events=3)
    assert found.near_tie_account == "contradicted"
    assert found.reason == "3 flips seen, 0 to 0 predicted"


def test_far_more_flips_than_noise_predicts_contradict_it() -> None:
    assert one_account(2, noise=0.2, events=400).near_tie_account == "contradicted"


def test_no_flip_where_many_are_predicted_contradicts_it() -> None:
    assert one_account(3, noise=5.0, events=0).near_tie_account == "contradicted"


def test_nothing_predicted_and_nothing_seen_tests_nothing() -> None:
    found = one_account(4, noise=0.0, events=0)
    assert found.near_tie_account == "not testable"
    assert found.reason == "no flip was seen and none was predicted"


def test_fewer_than_four_passes_hold_nothing_out() -> None:
    assert one_account(5, noise=1.0, events=30, passes=3).held_out is None
    assert one_account(5, noise=1.0, events=30, passes=1).reason == "there is one forced pass only"


def test_what_cannot_be_tested_says_why() -> None:
    none = np.zeros(4, dtype=np.int64)
    assert ties.account(None, None, none, none).reason == "the cell has no forced passes"
    found = ties.account(passes_of(np.ones((3, 4))), "prefill", np.ones(4, dtype=np.int64), none)
    assert found.reason == "no two free replays share a context of the forced trajectory"
    assert found.mode == "prefill"


def test_noise_that_drifts_is_caught_by_the_passes_held_out() -> None:
    generator = np.random.default_rng(6)
    margins = generator.exponential(4, 2000)
    signed = margins + 0.001 * jitter(generator, (6, 2000))
    signed[1::2] += generator.normal(0, 1.0, (3, 2000))
    found = ties.account(passes_of(signed), "decode", np.full(2000, 6), np.zeros(2000, dtype=np.int64))
    assert found.near_tie_account == "not testable"
    assert "half of the forced passes" in found.reason


def test_predictions_are_seeded() -> None:
    assert one_account(7, noise=1.0, events=30) == one_account(7, noise=1.0, events=30)
