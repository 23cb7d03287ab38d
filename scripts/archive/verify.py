"""Verifying an archive from its zip alone: every byte, every sha256, every record, every verdict, every page."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.archive.check import BROKEN, Disagreement, check_records, failed
from scripts.archive.contents import COMMIT, GRID, METADATA, PATCH, SUMS, code_files, expected_files
from scripts.archive.pack import check_bytes, unpack
from scripts.archive.rejudge import Counts, describe_again, judge_cells, make_pages
from scripts.archive.write import render_sums
from scripts.common.errors import DataError
from scripts.common.files import sha256_bytes, sha256_file
from scripts.records.grid import Grid
from scripts.records.machine import Code


@dataclass
class Verified:
    """What was found. `other_code`: sources of what judged here that are not those in the archive."""

    sha256: str
    files: int = 0
    counts: Counts = field(default_factory=Counts)
    disagreements: list[Disagreement] = field(default_factory=list)
    other_code: list[str] = field(default_factory=list)


def verify_archive(path: Path) -> Verified:
    """Check the archive and judge it again in a temporary folder; DataError where there is no such file."""
    if not path.is_file():
        what = "this is a folder and no zip" if path.is_dir() else "there is no such file"
        raise DataError(
            what, where=str(path), remedy="make it (snakemake --cores 1 archive), or name another"
        )
    found = Verified(sha256_file(path))
    with tempfile.TemporaryDirectory(prefix="tempzero-verify-") as name:
        found.disagreements += _verify(path, Path(name), found)
    if found.disagreements == [] and found.counts.cells == 0:
        found.disagreements.append(Disagreement(str(path), "it holds no cell"))
    return found


def _verify(path: Path, root: Path, found: Verified) -> Iterator[Disagreement]:
    said = check_bytes(path)
    files, wrong = unpack(path, root)
    found.files = len(files)
    yield from (Disagreement(str(path), what) for what in [*said, *wrong])
    of_files = list(check_sums(root, files))
    yield from of_files
    if said and not wrong and not of_files:
        yield Disagreement(
            str(path), "no file in it differs: the change is in the zip's headers, directory or comment"
        )
    if SUMS in files:
        found.other_code = _other_code(files)
        yield from judge_folder(root, files, found.counts)


def check_sums(root: Path, files: Mapping[str, str]) -> Iterator[Disagreement]:
    """Every file under `root` (path from there: its sha256) against SHA256SUMS, and this against how it is written."""
    if SUMS not in files:
        yield Disagreement(SUMS, "it is not there, or cannot be unpacked")
        return
    text = (root / SUMS).read_bytes().decode("utf-8", errors="replace")
    pairs = [(line[66:], line[:64]) for line in text.splitlines()]
    listed = dict(pairs)
    for name, digest in pairs:
        if name not in files:
            yield Disagreement(name, f"{SUMS} lists it, and it is not there or cannot be unpacked")
        elif files[name] != digest:
            yield Disagreement(name, f"its sha256 is {files[name][:12]}…, {SUMS} says {digest[:12]}…")
    for name in sorted(set(files) - set(listed) - {SUMS}):
        yield Disagreement(name, f"it is there, and {SUMS} does not list it")
    if text != render_sums(listed):
        yield Disagreement(SUMS, "it is not written as it must be: sorted, one line a file")


def judge_folder(root: Path, files: Mapping[str, str], counts: Counts) -> Iterator[Disagreement]:
    """What an unpacked archive holds (path under `root`: its sha256), judged again from its own transcripts."""
    try:
        grid = Grid.read(root / GRID)
    except BROKEN as error:
        yield failed(root, GRID, "nothing can be judged again", error)
        return
    for check in (
        _check_contents(root, grid, files),
        check_records(root, grid),
        describe_again(root, files),
        judge_cells(root, grid, counts),
        make_pages(root, grid, counts),
    ):
        try:
            yield from check
        except BROKEN as error:
            yield failed(root, GRID, "it names what cannot be judged again", error)


def _check_contents(root: Path, grid: Grid, files: Mapping[str, str]) -> Iterator[Disagreement]:
    """That all is there which an archive of this grid has, and nothing else."""
    needed = {*expected_files(root, grid), COMMIT, METADATA, SUMS}
    if COMMIT in files and Code.read(root / COMMIT).dirty:
        needed.add(PATCH)
    for name in sorted(needed - set(files)):
        yield Disagreement(name, "an archive of this grid has it, and it is not there")
    for name in sorted(set(files) - needed - {*code_files(root)}):
        yield Disagreement(name, "it is nothing that an archive of this grid has")


def _other_code(files: Mapping[str, str]) -> list[str]:
    """The modules of this process that the archive has otherwise or not at all, by their file's name."""
    other = []
    for name, module in list(sys.modules.items()):
        source = getattr(module, "__file__", None)
        if name.split(".")[0] != "scripts" or source is None:
            continue
        file = name.replace(".", "/") + ("/__init__.py" if hasattr(module, "__path__") else ".py")
        if files.get(file) != sha256_bytes(Path(source).read_bytes()):
            other.append(file)
    return sorted(other)
