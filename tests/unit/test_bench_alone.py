"""How many engines the speed benchmark has up at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bench_alone import Speed, Speeds, batches, render
from scripts.records.machine import Gpu, Machine


def test_a_batch_ends_where_the_memory_or_the_count_does() -> None:
    assert batches([12, 12, 6, 6, 90, 1], 3, 30) == [[0, 1, 2], [3], [4], [5]]


@given(st.lists(st.floats(0.5, 100)), st.integers(1, 5), st.floats(1, 80))
def test_every_engine_is_in_one_batch(sizes: list[float], most: int, memory: float) -> None:
    made = batches(sizes, most, memory)
    assert [each for batch in made for each in batch] == list(range(len(sizes)))
    for batch in made:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(sizes[each] for each in batch) <= memory


@pytest.mark.parametrize("name", ["hopper", "hopper-sglang"])
def test_a_page_of_speeds_is_that_of_its_figures(root: Path, name: str) -> None:
    folder = root / "results" / "reference" / name
    page = render(Speeds.read(folder / "speeds.json"))
    assert (folder / "speeds.md").read_text(encoding="utf-8") == page
    assert "| random-dense | bf16 | base |" in page and "× dense bf16" in page


def test_a_cell_that_failed_is_not_run_and_a_ratio_needs_both() -> None:
    dense = Speed(cell="a-dense/bf16/e/base", tokens_per_second=50.0, least=40.0, greatest=60.0)
    page = render(
        Speeds(
            machine=Machine(gpus=[Gpu(name="GPU")]),
            tokens=400,
            cells=[
                dense,
                Speed(cell="a-moe/int4/e/base", failed="did not start"),
                Speed(cell="a-moe/int4/e/eager", tokens_per_second=25.0, least=40.0, greatest=60.0),
            ],
        )
    )
    assert "| a-moe | int4 | base | e | not run | – | – |" in page
    assert "| a-moe | int4 | eager | e | 25 (40 to 60) | 0.50 | – |" in page
