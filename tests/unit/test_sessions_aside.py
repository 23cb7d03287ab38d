"""A folder that is written aside: it takes its name whole, and of a failure nothing is left."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from scripts.common.errors import DataError
from scripts.sessions.aside import session_folder


@pytest.mark.parametrize("part", ["", "inside"])
def test_what_was_written_takes_the_folder_s_name_and_place(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "cell" / "session-00"
    for text in ("one", "two"):
        with session_folder(folder, part) as aside:
            (aside / part / text).write_text(text)
            assert aside.name == ".session-00.partial"
            assert text == "one" or (folder / "one").is_file(), "what was there stays until the end"
        assert [path.name for path in folder.iterdir()] == [text]
    assert [path.name for path in folder.parent.iterdir()] == ["session-00"]


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), OSError(errno.EACCES, "no")])
def test_of_a_failure_nothing_is_left(tmp_path: Path, error: BaseException) -> None:
    folder = tmp_path / "session-00"
    with pytest.raises(type(error)), session_folder(folder) as aside:
        (aside / "replay").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_says_where_and_how_to_mend_it(tmp_path: Path, number: int) -> None:
    with pytest.raises(DataError, match="the disk is full") as caught:
        with session_folder(tmp_path / "session-00"):
            raise OSError(number, "no space left")
    assert caught.value.where == str(tmp_path / "session-00") and caught.value.remedy
    assert list(tmp_path.iterdir()) == []
