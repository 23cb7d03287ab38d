"""Which code made a result."""

from __future__ import annotations

import subprocess
from pathlib import Path

from scripts.provenance.code import describe_code
from scripts.records.machine import Code


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_a_folder_that_is_no_checkout_has_no_commit(tmp_path: Path) -> None:
    nothing = describe_code(tmp_path)
    assert (nothing.commit, nothing.dirty) == (None, None)


def test_a_checkout_names_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert describe_code(tmp_path) == Code()
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    clean = describe_code(tmp_path)
    assert len(clean.commit or "") == 40
    assert clean.dirty is False
    (tmp_path / "untracked").write_text("results, say")
    assert describe_code(tmp_path) == clean
    (tmp_path / "a").write_text("2")
    assert describe_code(tmp_path) == Code(commit=clean.commit, dirty=True)


def test_a_folder_inside_someone_elses_checkout_is_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    (tmp_path / "inside").mkdir()
    assert describe_code(tmp_path / "inside") == Code()
