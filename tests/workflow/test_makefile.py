"""What a newcomer types first: it helps, says what is missing, and asks before it deletes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def tree(root: Path, tmp_path: Path) -> Path:
    """The Makefile and the locks, with some results."""
    shutil.copy(root / "Makefile", tmp_path)
    shutil.copytree(root / "envs", tmp_path / "envs")
    for name in (
        "results/table.md",
        "results/cells/a/cell.json",
        "results/reference/t.md",
        ".envs/tool/python",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
    return tmp_path


def make(tree: Path, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command,
        cwd=tree,
        input=answer,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables,
    )


def left(tree: Path) -> set[str]:
    files = (path.relative_to(tree / "results") for path in (tree / "results").rglob("*") if path.is_file())
    return {str(path) for path in files} - {".workflow.lock"}


def test_it_says_what_there_is(tree: Path) -> None:
    said = make(tree).stdout
    for target in (
        "table",
        "ask",
        "slurm",
        "test",
        "test-engines",
        "test-one",
        "lint",
        "bench",
        "clean-results",
    ):
        assert f"make {target}" in said


def test_a_machine_without_python_is_told_so(tree: Path) -> None:
    done = make(tree, "PYTHON=", "table")
    assert done.returncode != 0
    assert "error: Python 3.11 or newer is needed, and none was found" in done.stdout
    assert "make PYTHON=/path/to/python3.11 table" in done.stdout


def test_one_test_is_named(tree: Path) -> None:
    (tree / ".venv").mkdir()
    done = make(tree, "-o", ".venv", "test-one", "TESTS=.venv")
    assert done.returncode != 0
    assert "make test-one T=tests/unit/test_records.py" in done.stdout


@pytest.mark.parametrize("answer", ["", "n\n", "no\n", "\n"])
def test_nothing_is_deleted_without_a_yes(tree: Path, answer: str) -> None:
    before = left(tree)
    done = make(tree, "clean-results", answer=answer)
    assert "results/cells" in done.stdout
    assert "Delete all of this?" in done.stdout
    assert "nothing was deleted" in done.stdout
    assert left(tree) == before


def test_after_a_yes_reference_tables_and_environments_stay(tree: Path) -> None:
    done = make(tree, "clean-results", answer="y\n")
    assert done.returncode == 0, done.stdout
    assert left(tree) == {"reference/t.md"}
    assert (tree / ".envs/tool/python").exists()
    assert "there is nothing to delete" in make(tree, "clean-results", answer="y\n").stdout


def test_nothing_is_deleted_under_a_living_workflow(tree: Path) -> None:
    before = left(tree)
    with open(tree / "results/.workflow.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = make(tree, "clean-results", answer="y\n")
    assert done.returncode != 0
    assert "a workflow works in this folder: nothing is deleted" in done.stdout
    assert left(tree) == before


def test_an_install_that_fails_says_so_and_leaves_no_stamp(tree: Path) -> None:
    python = tree / "python"
    python.write_text('#!/bin/sh\necho "No module named venv" >&2\nexit 1\n')
    python.chmod(0o755)
    done = make(tree, f"PYTHON={python}", "table")
    assert done.returncode != 0
    assert "sudo apt install python3-venv" in done.stdout
    assert not list(tree.glob(".venv/.workflow-*"))
