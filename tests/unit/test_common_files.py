"""A folder that is written aside is there whole, or not at all."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from scripts.common.files import unpack_tar, written_aside


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


@pytest.mark.parametrize("filtered", [False, True] if hasattr(tarfile, "data_filter") else [False])
@pytest.mark.parametrize(
    ("name", "link", "kind", "refused"),
    [
        ("in/file", "", tarfile.REGTYPE, False),
        ("./in/..file", "first", tarfile.LNKTYPE, False),
        ("in", "", tarfile.DIRTYPE, False),
        ("../out", "", tarfile.REGTYPE, True),
        ("in/../../out", "", tarfile.REGTYPE, True),
        ("in", "../out", tarfile.SYMTYPE, True),
        ("in", "/etc/passwd", tarfile.SYMTYPE, True),
        ("in", "../out", tarfile.LNKTYPE, True),
        ("in", "", tarfile.FIFOTYPE, True),
    ],
)
def test_what_is_unpacked_stays_in_its_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    filtered: bool,
    name: str,
    link: str,
    kind: bytes,
    refused: bool,
) -> None:
    """By Python's own filter, where it has one, and without."""
    if not filtered:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as packed:
        packed.addfile(tarfile.TarInfo("first"))
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, link
        packed.addfile(entry)
    stream.seek(0)
    (tmp_path / "out").write_text("as it was")
    with tarfile.open(fileobj=stream) as packed:
        if refused:
            with pytest.raises(tarfile.TarError):
                unpack_tar(packed, tmp_path / "folder")
        else:
            unpack_tar(packed, tmp_path / "folder")
            assert (tmp_path / "folder" / name).exists()
    assert (tmp_path / "out").read_text() == "as it was"
