"""A grid is rehearsed for real: what starts and what does not is on one page, and nothing else is touched."""

from __future__ import annotations

import re
from pathlib import Path

from checkouts import CELLS, ENGINE, GRID, Checkout

from scripts.records.rehearsal import Rehearsal
from scripts.records.session import SessionRecord

BLOCKS = [
    {"models": ["tinychart-dense"], "precisions": ["q8_0"], "engines": [ENGINE], "variants": ["no-room"]},
    {
        "models": ["qwen3.5-122b-a10b"],
        "precisions": ["nvfp4"],
        "engines": ["vllm-0.25.1"],
        "variants": ["base"],
    },
]
COMMAND = ("--cores", "2", "results/rehearsal.md", "--config", "rehearse=true")


def own(folder: Path) -> dict[str, int]:
    """Every file of the grid's own results, with its time of change in ns."""
    found = [path for path in (folder / "results").rglob("*") if path.is_file()]
    return {path.as_posix(): path.stat().st_mtime_ns for path in found if "rehearsal" not in path.as_posix()}


def test_a_grid_is_rehearsed(finished: Checkout) -> None:
    finished.write_yaml("config/grids/tiny.yaml", {**GRID, "blocks": [*GRID["blocks"], *BLOCKS]})
    finished.edit(
        "config/engines.yaml",
        "variants:\n",
        "variants:\n  no-room:\n    description: no room for an answer\n"
        "    arguments: {llama-cpp-python: {n_ctx: 64}}\n",
    )
    before = own(finished.path)
    looked = finished.run("-n", *COMMAND)
    assert looked.returncode == 0 and "3 of 4 cells are started once" in looked.stdout, looked.stdout
    assert not (finished.path / "results/rehearsal.md").exists()
    done = finished.run(*COMMAND)
    assert done.returncode == 0, done.stdout
    record = Rehearsal.read(finished.path / "results/rehearsal/tiny.json")
    assert [each.outcome for each in record.cells] == ["starts", "starts", "fails", "not run"]
    assert record.cells[2].said is not None and "has no room" in record.cells[2].said
    assert record.cells[3].said == "it wants 1 GPU, and here is none"
    page = (finished.path / "results/rehearsal.md").read_text(encoding="utf-8")
    assert "4 cells: 2 starts, 1 fails, 1 not run." in page and "dense ggml; attention plain" in page
    assert own(finished.path) == before, "the grid's own results are as they were"
    (folder,) = (finished.path / "results/rehearsal/cells").glob(f"*/*/{ENGINE}/base")
    session = SessionRecord.read(folder / "session-00/session.json")
    assert session.replays == 1 and session.start_seconds is not None
    assert finished.path.joinpath(CELLS, "base/session-01").is_dir()
    again = finished.run(*COMMAND)
    assert again.returncode == 0, again.stdout
    assert re.search(r"^run_session +1$", again.stdout, re.MULTILINE), "only what failed is tried again"
