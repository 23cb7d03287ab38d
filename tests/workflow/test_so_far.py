"""While a workflow works in the folder, another command makes the table of what exists and disturbs nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from checkouts import CELLS, Checkout

from tests.patience import HANGS

SO_FAR = "results/so-far"
PARTIAL = ("--config", "partial=true")


def tree(folder: Path) -> dict[str, int]:
    """Every file in a folder but those of the table so far and Python's compiled modules, with its time of change in ns."""
    skipped = (folder / SO_FAR, folder / ".snakemake/so-far", folder / ".snakemake/log")
    found = (path for path in folder.rglob("*") if not any(each in path.parents for each in skipped))
    return {
        path.as_posix(): path.stat().st_mtime_ns
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_table_of_what_exists_is_made_while_the_grid_runs(
    fresh: Checkout, made: tuple[Checkout, str]
) -> None:
    workflow = fresh.start("--cores", "1", "results/table.md")
    first = [fresh.path / CELLS / variant / "session-00/session.json" for variant in ("base", "leaky")]
    fresh.wait_until(workflow, lambda: all(path.exists() for path in first))
    os.killpg(workflow.pid, signal.SIGSTOP)  # so that it is still in the middle of it afterwards
    try:
        whole = {path.parent.name for path in (fresh.path / CELLS).glob("*/session-*/session.json")}
        before = tree(fresh.path)
        done = fresh.table(*PARTIAL)
        assert done.returncode == 0, done.stdout
        assert f"a workflow works in this folder: what it has so far goes to {SO_FAR}/" in done.stdout
        assert tree(fresh.path) == before
        page = (fresh.path / SO_FAR / "table.csv").read_text()
        assert len(page.splitlines()) == 3 and "not run" not in page
        assert "partial" in (fresh.path / SO_FAR / "table.md").read_text()
        assert whole == {"session-00"}, "the first sessions of all cells come first"
        assert fresh.table(*PARTIAL).returncode == 0
        assert "Nothing to be done" in fresh.table(*PARTIAL).stdout
        assert "another workflow works in this folder" in fresh.table().stdout
    finally:
        os.killpg(workflow.pid, signal.SIGCONT)
    assert workflow.wait(HANGS) == 0, (fresh.path / "output.log").read_text()
    for file in (made[0].path / CELLS / "base").glob("session-*/*.logprobs.jsonl"):
        assert (fresh.path / file.relative_to(made[0].path)).read_bytes() == file.read_bytes()
    assert "Nothing to be done" in fresh.table().stdout
