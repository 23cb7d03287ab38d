"""Weights that no cell needs any more: deleted only where that is asked for, and had anew where a cell needs them."""

from __future__ import annotations

import json
from pathlib import Path

from checkouts import CELLS, Checkout

QUANTS = "results/quants/tinychart-dense"
EVICT = ("--config", "evict_weights=true")


def sessions(checkout: Checkout) -> dict[str, int]:
    return {
        path.as_posix(): path.stat().st_mtime_ns for path in checkout.path.glob(f"{CELLS}/*/*/session.json")
    }


def weights(checkout: Checkout) -> list[Path]:
    return [path for path in (checkout.path / QUANTS).rglob("*") if path.suffix in (".gguf", ".safetensors")]


def test_weights_go_once_their_cells_are_done_and_come_back_when_one_needs_them(finished: Checkout) -> None:
    manifest = (finished.path / QUANTS / "q8_0/manifest.json").read_bytes()
    page, before = (finished.path / "results/table.csv").read_bytes(), sessions(finished)
    assert len(weights(finished)) == 3, "bf16, as safetensors and GGUF, and q8_0"

    deleted = finished.table(*EVICT)
    assert deleted.returncode == 0, deleted.stdout
    assert "weights are deleted once no cell needs them" in deleted.stdout
    assert weights(finished) == []
    assert (finished.path / QUANTS / "q8_0/manifest.json").read_bytes() == manifest
    assert (finished.path / "results/evicted/tinychart-dense/bf16.json").is_file()
    assert sessions(finished) == before
    assert (finished.path / "results/table.csv").read_bytes() == page, "what is quantised is still told"
    assert finished.jobs("results/table.md", *EVICT) == {}

    # Another session needs the weights: they are built again, and nothing else is done again.
    finished.edit("config/grids/tiny.yaml", "sessions: 2", "sessions: 3")
    jobs = finished.jobs("results/table.md", *EVICT)
    assert {jobs[rule] for rule in ("convert_weights", "build_weights")} == {1}
    assert jobs["run_session"] == 2, "one more a cell"

    # That they cannot be had makes nothing else be done again either.
    obstacle = finished.path / QUANTS / ".bf16.partial"
    obstacle.write_text("a file where the build wants a folder")
    failed = finished.table(*EVICT)
    assert failed.returncode != 0 and "convert_weights" in failed.stdout, failed.stdout
    left = finished.jobs("results/table.md", *EVICT)
    for each in (jobs, left):
        each.pop("write_grid", None)  # it may have been done before the other job failed
    assert left == jobs
    obstacle.unlink()

    again = finished.table(*EVICT)
    assert again.returncode == 0, again.stdout
    after = sessions(finished)
    assert len(after) == 6 and before.items() <= after.items()
    assert weights(finished) == []
    cell = json.loads((finished.path / CELLS / "base/cell.json").read_text())
    assert cell["replays"] == cell["text_identical"] == 6

    # With the key off, weights that are had anew stay, and what was done before stays as it is.
    session = f"{CELLS}/base/session-02/session.json"
    back = finished.run("--cores", "1", "-R", session, "--", "results/table.md")
    assert back.returncode == 0, back.stdout
    assert len(weights(finished)) == 3
    assert (finished.path / QUANTS / "q8_0/manifest.json").read_bytes() == manifest
    assert before.items() <= sessions(finished).items()
    assert finished.jobs("results/table.md") == {}


def test_an_eviction_that_was_killed_is_finished_by_the_next_command(finished: Checkout) -> None:
    """Killed in the midst: some of the files are gone, and nothing says that the rest is to go."""
    (finished.path / QUANTS / "q8_0/tokenizer.json").unlink()
    before = sessions(finished)
    done = finished.table(*EVICT)
    assert done.returncode == 0, done.stdout
    assert weights(finished) == [] and sessions(finished) == before
