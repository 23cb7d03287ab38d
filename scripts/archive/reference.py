"""Reference tables kept in results/reference/NAME: small enough to be committed, and enough to be judged again.

`cells.tar.xz` holds all that the table follows from, each content once: a file equal to an earlier one is a hard link
to it, which `tar -xJf` restores by itself, with SHA256SUMS over them. Beside it lie the table and the pages of
ablations as the code of today makes them from what is packed; packed they are as they were when it was measured. It is
an archive (contents.py) without the code, which is the repository's own.
"""

from __future__ import annotations

import lzma
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from scripts.archive.check import Disagreement, check_records, refuse_disagreements
from scripts.archive.contents import (
    GRID,
    SUMS,
    TABLES,
    WARM,
    result_files,
    workload_file,
)
from scripts.archive.costs import describe_costs
from scripts.archive.rejudge import Counts, judge_cells, make_pages
from scripts.archive.side_pages import side_pages
from scripts.archive.write import hash_files, render_sums
from scripts.common.configs import load_yaml
from scripts.common.errors import DataError
from scripts.common.files import sha256_file, unpack_tar
from scripts.records.grid import Grid
from scripts.report.controls import read_controls
from scripts.report.entries import read_entries
from scripts.report.frames import everything
from scripts.report.page import render_page

PACKED = "cells.tar.xz"
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 2**28}]


def pack_reference(root: Path, folder: Path) -> int:
    """Pack the grid recorded under `root` into `folder`, and return the bytes that `folder` then has in these files.

    DataError names each record that disagrees with what lies beside it, and each file that is missing.
    """
    grid = Grid.read(root / GRID)
    refuse_disagreements(root, grid, "run what is named again: snakemake --cores 1 -R SESSION_JSON")
    files = [*result_files(root, report=False), *workload_files(root, grid)]
    if grid.warm and not (root / WARM).is_file():
        raise DataError("the file is missing", where=WARM, remedy=f"make it: snakemake --cores 1 {WARM}")
    folder.mkdir(parents=True, exist_ok=True)
    listed = {name: sha256_file(root / name) for name in files}
    _write_tar(folder / PACKED, root, listed)
    (folder / SUMS).write_text(render_sums(listed), encoding="utf-8")
    for name in pages(grid, root / "results"):
        shutil.copyfile(root / name, folder / Path(name).name)
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def workload_files(root: Path, grid: Grid) -> list[str]:
    """The workloads of the grid's cells with the requests that they name, from the root."""
    found = {workload_file(grid, str(cell.workload)) for cell in grid.cells}
    for name in [each for each in found if each.endswith(".yaml")]:
        if requests := load_yaml(root / name).get("requests"):
            found.add((Path(name).parent / requests).as_posix())
    return sorted(found)


def pages(grid: Grid, folder: Path) -> list[str]:
    """What lies beside the packed file to be read: the tables and the pages beside them; near-ties where `folder` has
    them, cold and warm answers where the grid has such cells."""
    beside = side_pages(grid, folder, partial(_has, grid, folder))
    return [*TABLES[:2], *(name for each in beside for name in each.names)]


def _has(grid: Grid, folder: Path, side_table: str) -> bool:
    return bool(grid.warm) if side_table == WARM else (folder / Path(side_table).name).is_file()


def write_pages(folder: Path) -> None:
    """Make the pages beside the packed file again, from what is packed, judged as today.

    DataError names what is packed and does not agree.
    """
    with tempfile.TemporaryDirectory(prefix="tempzero-reference-") as name:
        root = Path(name)
        unpack_reference(folder, root)
        grid = Grid.read(root / GRID)
        if found := [str(each) for each in judge_cells(root, grid, Counts())]:
            raise DataError("\n  ".join(["verdicts do not follow from what is packed:", *found]))
        entries = read_entries(grid, root / "results")
        made = {
            TABLES[0]: render_page(grid, entries, read_controls(grid, entries)),
            TABLES[1]: everything(entries).to_csv(index=False, lineterminator="\n"),
        }
        for page, text in made.items():
            (folder / Path(page).name).write_text(text, encoding="utf-8")
        for each in side_pages(grid, root / "results", partial(_has, grid, folder)):
            each.write(folder / Path(each.names[0]).name)


def _write_tar(target: Path, root: Path, files: dict[str, str]) -> None:
    """Sorted by content's kind and name, without times, owners or rights, so that two builds have the same bytes."""
    first: dict[str, str] = {}
    # Files of one kind side by side: what is alike is near enough for the compressor to see.
    order = sorted(files, key=lambda name: (Path(name).name.split(".", 1)[-1], name))
    aside = target.with_name(f".{target.name}.partial")
    try:
        with (
            lzma.open(aside, "wb", format=lzma.FORMAT_XZ, filters=FILTERS) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as packed,
        ):
            for name in order:
                entry = tarfile.TarInfo(name)
                entry.mode = 0o644
                if (same := first.get(files[name])) is not None:
                    entry.type, entry.linkname = tarfile.LNKTYPE, same
                    packed.addfile(entry)
                    continue
                first[files[name]] = name
                entry.size = (root / name).stat().st_size
                with open(root / name, "rb") as source:
                    packed.addfile(entry, source)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def unpack_reference(folder: Path, root: Path) -> None:
    """Unpack a reference table into `root`, where it lies as the workflow left it (results/…)."""
    if not (folder / PACKED).is_file():
        raise DataError(
            "the file is missing",
            where=str(folder / PACKED),
            remedy="name a folder that holds a reference table, such as results/reference/hopper",
        )
    try:
        with tarfile.open(folder / PACKED, mode="r:xz") as packed:
            unpack_tar(packed, root)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise DataError(f"it cannot be unpacked ({error})", where=str(folder / PACKED)) from error


def verify_reference(folder: Path) -> tuple[Counts, list[Disagreement]]:
    """Judge a reference table again from its packed files: what was judged, and every disagreement.

    The pages that are compared with what follows are those beside.
    """
    counts = Counts()
    with tempfile.TemporaryDirectory(prefix="tempzero-reference-") as name:
        root = Path(name)
        unpack_reference(folder, root)
        return counts, list(_disagreements(folder, root, counts))


def _disagreements(folder: Path, root: Path, counts: Counts) -> Iterator[Disagreement]:
    grid = Grid.read(root / GRID)
    if (folder / SUMS).read_text(encoding="utf-8") != render_sums(hash_files(root)):
        yield Disagreement(SUMS, "it does not list what is packed, with its sha256")
    for name in pages(grid, folder):
        beside = folder / Path(name).name
        if beside.is_file():
            shutil.copyfile(beside, root / name)
        else:
            yield Disagreement(beside.name, "it is not there")
    yield from check_records(root, grid)
    counts.costs = describe_costs(root, grid)
    yield from judge_cells(root, grid, counts)
    yield from make_pages(root, grid, counts)
