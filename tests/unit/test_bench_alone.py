"""How many engines the speed benchmark has up at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bench_alone import batches


def test_a_batch_ends_where_the_memory_or_the_count_does() -> None:
    assert batches([12, 12, 6, 6, 90, 1], 3, 30) == [[0, 1, 2], [3], [4], [5]]


@given(st.lists(st.floats(0.5, 100)), st.integers(1, 5), st.floats(1, 80))
def test_every_engine_is_in_one_batch(sizes: list[float], most: int, memory: float) -> None:
    made = batches(sizes, most, memory)
    assert [each for batch in made for each in batch] == list(range(len(sizes)))
    for batch in made:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(sizes[each] for each in batch) <= memory
