"""A folder that is written aside is there whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.common.files import written_aside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of an earlier run, and what a killed one left aside."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made/old").write_text("old")
    (tmp_path / ".made.partial").mkdir()
    (tmp_path / ".made.partial/torn").write_text("torn")
    return tmp_path / "made"


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_it_takes_the_place_of_what_was_there(folder: Path) -> None:
    with written_aside(folder) as aside:
        assert names(aside) == [] and names(folder) == ["old"]
        (aside / "new").write_text("new")
    assert names(folder.parent) == ["made", "made/new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_on_a_failure_nothing_of_it_is_left(folder: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), written_aside(folder) as aside:
        (aside / "new").write_text("new")
        raise error
    assert names(folder.parent) == ["made", "made/old"]


def test_the_folders_above_it_are_made(tmp_path: Path) -> None:
    with written_aside(tmp_path / "a/b"):
        pass
    assert names(tmp_path) == ["a", "a/b"]
