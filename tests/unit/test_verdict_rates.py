"""Rates, intervals and k of k/N, against numbers worked out by hand or known from tables."""

from __future__ import annotations

import pytest
from scipy.stats import chi2

from scripts.records.figures import Rate
from scripts.verdict.grouping import groups, identical, largest_group
from scripts.verdict.rates import flips_per_1000, poisson_interval, upper_bound


def test_k_is_the_largest_group() -> None:
    assert identical(["a", "b", "a", "a"]) == 3
    assert largest_group(["a", "b", "a", "a"]) == [0, 2, 3]


def test_k_is_zero_where_no_two_of_several_agree() -> None:
    assert identical(["a", "b", "c"]) == 0
    assert identical(["a", "b"]) == 0


def test_one_replay_agrees_with_itself() -> None:
    assert identical(["a"]) == 1


def test_of_equally_large_groups_the_earliest_counts() -> None:
    assert largest_group(["c", "b", "a", "b", "a"]) == [1, 3]
    assert largest_group(["a", "b", "c"]) == [0]
    assert groups(["b", "a", "b"]) == [[0, 2], [1]]


def test_no_event_gives_the_bounds_of_the_design() -> None:
    low, high = poisson_interval(0, 1000)
    assert low == 0
    assert high * 1000 == pytest.approx(3.688879, abs=1e-6)
    assert upper_bound(0, 1000) * 1000 == pytest.approx(2.995732, abs=1e-6)


@pytest.mark.parametrize("events", [1, 2, 10, 250])
def test_interval_is_that_of_chi_square(events: int) -> None:
    low, high = poisson_interval(events, 400)
    assert low == pytest.approx(chi2.ppf(0.025, 2 * events) / 2 / 400)
    assert high == pytest.approx(chi2.ppf(0.975, 2 * events + 2) / 2 / 400)
    assert upper_bound(events, 400) == pytest.approx(chi2.ppf(0.95, 2 * events + 2) / 2 / 400)


def test_one_event_as_tables_have_it() -> None:
    low, high = poisson_interval(1, 1)
    assert low == pytest.approx(0.02532, abs=1e-5)
    assert high == pytest.approx(5.57164, abs=1e-5)


def test_rate_is_per_thousand_tokens() -> None:
    found = flips_per_1000(3, 6000)
    assert found.rate == 0.5
    assert found.high == pytest.approx(8.7673 / 6, abs=1e-4)


def test_nothing_compared_has_no_rate() -> None:
    assert flips_per_1000(0, 0) == Rate(events=0, exposure=0, rate=None, low=None, high=None)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="no rate"):
        poisson_interval(1, 0)
