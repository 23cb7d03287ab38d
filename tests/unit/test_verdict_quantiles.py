"""Quantiles of many numbers in bounded memory are those of numpy on the whole of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.records.figures import Spread
from scripts.verdict import quantiles
from scripts.verdict.quantiles import Quantiles

numbers = st.floats(min_value=0, max_value=50, allow_nan=False)
weighted = st.lists(st.tuples(st.lists(numbers, max_size=20), st.integers(1, 4)), min_size=1, max_size=6)


@given(weighted, st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_weighted_quantiles_are_numpys_of_the_repeated(
    chunks: Sequence[tuple[list[float], int]], share: float
) -> None:
    found, whole = Quantiles(), list[float]()
    for values, weight in chunks:
        found.add(np.array(values), weight)
        whole += values * weight
    assert found.total == len(whole)
    if whole:
        assert found.at(share) == pytest.approx(float(np.quantile(whole, share)), rel=1e-12, abs=1e-300)
        assert found.max == max(whole)


def test_zeros_and_unknown() -> None:
    found = Quantiles()
    found.add(np.array([np.nan, 0.0, 4.0]))
    found.add_zeros(2)
    assert found.summary() == Spread(p50=0.0, p99=pytest.approx(3.88), max=4.0)


def test_nothing_has_no_summary() -> None:
    assert Quantiles().summary() is None
    with pytest.raises(ValueError, match="no number"):
        Quantiles().at(0.5)


def test_on_disk_and_in_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantiles, "IN_MEMORY", 1000)
    monkeypatch.setattr(quantiles, "_BLOCK", 100)
    values = np.random.default_rng(5).exponential(size=3000)
    found = Quantiles()
    for start in range(0, 3000, 500):
        found.add(values[start : start + 500])
        found.at(0.5)
    assert found.at(0.5) == pytest.approx(float(np.quantile(values, 0.5)))
    assert found.at(0.99) == pytest.approx(float(np.quantile(values, 0.99)))
