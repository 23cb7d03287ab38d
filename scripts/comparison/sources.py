"""What can be compared (one cell, whole results, an archive, a reference table), and which cells belong together."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.archive.pack import unpack
from scripts.archive.reference import PACKED, unpack_reference
from scripts.common.errors import DataError

NAMED = "name a cell's folder, a folder that holds results/cells, results/provenance.zip or a reference table"


@dataclass(frozen=True)
class Result:
    """One of the two results. `said`: as it was named; `cells`: folder by model/precision/engine/variant."""

    said: str
    cells: Mapping[str, Path]


@contextmanager
def open_result(path: Path) -> Iterator[Result]:
    """The cells of a result; of an archive they are unpacked while this is open. DataError where there is none."""
    if path.is_file():
        with tempfile.TemporaryDirectory(prefix="tempzero-compare-") as name:
            files, wrong = unpack(path, Path(name))
            if not files:
                raise DataError(wrong[0] if wrong else "the zip is empty", where=str(path), remedy=NAMED)
            yield Result(str(path), _below(Path(name), path))
    elif (path / PACKED).is_file():
        with tempfile.TemporaryDirectory(prefix="tempzero-compare-") as name:
            unpack_reference(path, Path(name))
            yield Result(str(path), _below(Path(name), path))
    elif any(path.glob("session-*/session.json")):
        yield Result(str(path), {_name(path): path})
    elif path.is_dir():
        yield Result(str(path), _below(path, path))
    else:
        raise DataError("there is no such file or folder", where=str(path), remedy=NAMED)


def _below(root: Path, said: Path) -> dict[str, Path]:
    """The cells of a folder: the project's, results/ or results/cells/."""
    for cells in (root / "results" / "cells", root / "cells", root):
        found = {
            _name(file.parent.parent): file.parent.parent
            for file in cells.glob("*/*/*/*/session-*/session.json")
        }
        if found:
            return dict(sorted(found.items()))
    raise DataError("it holds no cell with a session", where=str(said), remedy=NAMED)


def _name(cell: Path) -> str:
    return "/".join(cell.resolve().parts[-4:])


@dataclass(frozen=True)
class Pairing:
    """Which cells belong together, and which have no counterpart."""

    pairs: list[tuple[str, str]]
    only_a: list[str]
    only_b: list[str]


def pair_cells(a: Mapping[str, Path], b: Mapping[str, Path]) -> Pairing:
    """Cells of one name belong together, and two single ones. So do, of those that are left, cells that alone have
    their model, precision and variant: another engine or version serves them."""
    if len(a) == len(b) == 1:
        return Pairing([(next(iter(a)), next(iter(b)))], [], [])
    pairs = [(name, name) for name in a if name in b]
    left_a, left_b = ([name for name in side if name not in other] for side, other in ((a, b), (b, a)))
    for name in [*left_a]:
        alike = [other for other in left_b if _but_engine(other) == _but_engine(name)]
        mine = [other for other in left_a if _but_engine(other) == _but_engine(name)]
        if len(alike) == len(mine) == 1:
            pairs.append((name, alike[0]))
            left_a.remove(name)
            left_b.remove(alike[0])
    return Pairing(pairs, left_a, left_b)


def _but_engine(name: str) -> tuple[str, ...]:
    model, precision, _, variant = name.split("/")
    return model, precision, variant
