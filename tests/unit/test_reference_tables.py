"""Reference tables: packed small, unpacked whole, judged again; and those that are published hold."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest
from cells import answered, part, write_cell

from scripts.archive.reference import PACKED, pack_reference, unpack_reference, verify_reference
from scripts.common.errors import DataError
from scripts.common.files import read_json, sha256_file, write_json
from scripts.report.controls import as_json, read_controls
from scripts.report.entries import read_entries
from scripts.report.frames import everything
from scripts.report.page import render_page
from scripts.verdict.summary import summarise
from scripts.workload.spec import load_workload

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(path.parent for path in (ROOT / "results/reference").glob(f"*/{PACKED}"))
CELL = "results/cells/tinychart-dense/bf16/llama-cpp-python-0.3.36/base"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What a workflow leaves of a grid of one cell, two sessions of two replays, of which one differs."""
    home = tmp_path / "made"
    workload = home / "config/workloads/free-run.yaml"
    workload.parent.mkdir(parents=True)
    workload.write_bytes((ROOT / "config/workloads/free-run.yaml").read_bytes())
    manifest = home / "results/quants/tinychart-dense/bf16/manifest.json"
    write_json(manifest, {"quantised": "nothing (bf16)", "files": [], "source": {}})
    engine = {"engine": "llama-cpp-python-0.3.36"}
    write_json(home / "results/engines/llama-cpp-python-0.3.36.json", engine)
    plain = {"first": [part([1, 2], [3, 4, 5, 6], answer=answered(1, True))]}
    other = {"first": [part([1, 2], [3, 4, 9, 6], answer=answered(1, True))]}
    loaded = load_workload(workload)
    write_cell(
        home / CELL,
        [[plain, plain], [plain, other]],
        listed=True,
        engine_record=engine,
        weights={"manifest_sha256": sha256_file(manifest)},
        workload={"name": loaded.name, "sha256": loaded.sha256},
        questions=loaded.questions,
        seconds=0.8,
        replay_tokens=[4, 4],
        replay_seconds=[0.4, 0.4],
    )
    for session in (0, 1):
        for replay in (0, 1):
            (home / CELL / f"session-{session:02d}/replay-{replay:02d}.timing.jsonl").write_text(
                '{"scenario":"first","seconds":0.4,"tokens":4,"turn":0}\n'
            )
    write_json(home / CELL / "cell.json", summarise(home / CELL))
    model, precision, name, variant = CELL.split("/")[2:]
    cell = {
        "model": model,
        "architecture": "dense",
        "precision": precision,
        "engine": name,
        "variant": variant,
    }
    cell |= {"sessions": 2, "replays": 2, "forced": {"prefill": 0, "decode": 0}, "workload": "free-run"}
    grid = {
        "grid": "test",
        "why": "a test",
        "heading": "grid test",
        "description": "a test",
        "workload": "free-run",
        "first_block": 16,
        "tie_margin": 0.25,
        "top_logprobs": 5,
        "partial": False,
        "cells": [{**cell, "status": "run", "reason": None, "note": None}],
        "controls": [],
        "ablations": [],
    }
    write_json(home / "results/grid.json", grid)
    entries = read_entries(grid, home / "results")
    readings = read_controls(grid, entries)
    (home / "results/table.md").write_text(render_page(grid, entries, readings))
    (home / "results/table.csv").write_text(everything(entries).to_csv(index=False, lineterminator="\n"))
    (home / "results/controls.json").write_text(json.dumps(as_json(readings)))
    return home


def test_a_packed_grid_is_judged_again_and_agrees(root: Path, tmp_path: Path) -> None:
    size = pack_reference(root, tmp_path / "kept")
    assert size == sum(path.stat().st_size for path in (tmp_path / "kept").iterdir())
    counts, found = verify_reference(tmp_path / "kept")
    assert [str(each) for each in found] == []
    assert (counts.cells, counts.sessions, counts.replays) == (1, 2, 4)


def test_equal_files_are_packed_once_and_come_back_whole(root: Path, tmp_path: Path) -> None:
    pack_reference(root, tmp_path / "kept")
    with tarfile.open(tmp_path / "kept" / PACKED) as packed:
        links = [entry.name for entry in packed if entry.islnk()]
    assert sum("transcript" in name for name in links) == 2  # of four, two are distinct
    unpack_reference(tmp_path / "kept", tmp_path / "again")
    for path in sorted((root / CELL).rglob("*.jsonl")):
        assert (tmp_path / "again" / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_two_packings_have_the_same_bytes(root: Path, tmp_path: Path) -> None:
    pack_reference(root, tmp_path / "one")
    for path in root.rglob("*"):
        os.utime(path, (1, 1))
    pack_reference(root, tmp_path / "two")
    assert (tmp_path / "one" / PACKED).read_bytes() == (tmp_path / "two" / PACKED).read_bytes()


def test_a_figure_that_does_not_follow_is_named(root: Path, tmp_path: Path) -> None:
    summary = read_json(root / CELL / "cell.json")
    write_json(root / CELL / "cell.json", {**summary, "text_identical": 4})
    pack_reference(root, tmp_path / "kept")
    _, found = verify_reference(tmp_path / "kept")
    assert any("text_identical" in str(each) for each in found)


def test_a_table_beside_that_is_not_the_packed_one_is_named(root: Path, tmp_path: Path) -> None:
    pack_reference(root, tmp_path / "kept")
    table = tmp_path / "kept" / "table.md"
    table.write_text(table.read_text().replace("3/4", "4/4"))
    _, found = verify_reference(tmp_path / "kept")
    assert [each.where for each in found] == ["table.md"]


def test_a_record_that_disagrees_is_not_packed(root: Path, tmp_path: Path) -> None:
    (root / CELL / "session-01/replay-01.transcript.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="session-01"):
        pack_reference(root, tmp_path / "kept")


def test_a_torn_reference_says_so(root: Path, tmp_path: Path) -> None:
    pack_reference(root, tmp_path / "kept")
    packed = tmp_path / "kept" / PACKED
    packed.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(DataError, match="unpacked"):
        verify_reference(tmp_path / "kept")


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_every_figure_of_a_published_table_follows_from_its_files(folder: Path) -> None:
    counts, found = verify_reference(folder)
    assert [str(each) for each in found] == []
    assert counts.cells > 0
