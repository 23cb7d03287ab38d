"""Paired statistics against values worked out by hand, and their coverage in simulation."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from scripts.verdict.paired import exact_interval, mcnemar, mean_interval, pass_power


@pytest.mark.parametrize(
    ("one", "other", "chance"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 2**5), (1, 7, 2 * (1 + 8) / 2**8), (4, 4, 1.0), (0, 10, 2 / 2**10)],
)
def test_mcnemar_by_hand(one: int, other: int, chance: float) -> None:
    assert mcnemar(one, other) == pytest.approx(chance)
    assert mcnemar(other, one) == mcnemar(one, other)


def test_the_exact_interval_by_hand() -> None:
    # Without a success the upper bound solves (1 - p)^n = 0.025.
    assert exact_interval(0, 300) == (0.0, pytest.approx(1 - 0.025 ** (1 / 300)))
    assert exact_interval(300, 300) == (pytest.approx(0.025 ** (1 / 300)), 1.0)
    low, high = exact_interval(5, 10)
    assert (low, high) == (pytest.approx(0.1871, abs=1e-4), pytest.approx(0.8129, abs=1e-4))


def test_the_interval_of_a_mean_by_hand() -> None:
    # Mean 2, standard deviation 1, three values: 4.3027 is t at 0.975 with two degrees of freedom.
    low, high = mean_interval([1, 2, 3]) or (0, 0)
    assert (low, high) == (
        pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-4),
        pytest.approx(4.4841, abs=1e-4),
    )
    assert mean_interval([1.0]) is None
    assert mean_interval([0.5, 0.5, 0.5]) is None


def test_pass_k_is_what_drawing_replays_gives() -> None:
    right = [0, 1, 2, 3]
    for k in (1, 2, 3):
        drawn = [sum(all(n < count for n in pick) for pick in combinations(range(3), k)) for count in right]
        assert pass_power(right, 3, k) == pytest.approx(sum(drawn) / (math.comb(3, k) * 4))
    assert pass_power(right, 3, 1) == 0.5


def test_intervals_over_charts_cover_as_they_say() -> None:
    """Questions of one chart stand or fall together: the interval over charts covers, one over questions would not."""
    rng = np.random.default_rng(5)
    charts, questions, true = 30, 10, 0.1
    covered = naive = 0
    for _ in range(1000):
        chance = np.clip(true + 0.25 * rng.standard_normal(charts), -1, 1)
        values = [float(np.mean(np.where(rng.random(questions) < abs(p), np.sign(p), 0))) for p in chance]
        mean = float(np.mean(values))
        low, high = mean_interval(values) or (0, 0)
        covered += low <= true <= high
        naive += abs(mean - true) <= 1.96 * math.sqrt(abs(mean) * (1 - abs(mean)) / (charts * questions))
    assert 0.93 <= covered / 1000 <= 0.97
    assert naive < covered - 50


def test_mcnemar_rejects_no_more_often_than_it_says() -> None:
    rng = np.random.default_rng(6)
    rejected = 0
    for _ in range(2000):
        split = int(rng.binomial(300, 0.1))
        one = int(rng.binomial(split, 0.5))
        rejected += mcnemar(one, split - one) <= 0.05
    assert rejected / 2000 <= 0.05
