"""The rows of a table: what the grid asked for, beside what each cell.json and manifest says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from scripts.common.errors import DataError
from scripts.comparison.pairs import Distance, distances
from scripts.records.cell import Cell, read_cell
from scripts.records.grid import Grid, GridCell
from scripts.records.manifest import Manifest
from scripts.records.session import Refusal

CELL_KEYS = ("model", "precision", "engine", "variant")
NO_FILE = "not run: no cell.json"


@dataclass(frozen=True)
class Entry:
    """One row. `planned`: the grid's entry. `summary`: cell.json where the cell is done, else None.

    `not_run`: why there is no summary, in words that begin with "not run"; None where there is one.
    `quantised`: the manifest's text, None where there is no manifest. `refused`: what the engine refused, where it did.
    `distance`: how far it is from another cell, whose trajectory it was fed; None where it was fed none.
    """

    planned: GridCell
    summary: Cell | None
    not_run: str | None
    quantised: str | None
    refused: Refusal | None = None
    distance: Distance | None = None

    @property
    def name(self) -> str:
        """What a reader calls it: the model, the precision, and the variant where it is not base."""
        return f"{self.planned.model} {self.planned.label}"

    def columns(self, *keys: str) -> dict[str, str]:
        """The first columns of its row: these fields of the grid's entry."""
        return {key: getattr(self.planned, key) for key in keys}


def read_entries(grid: Grid, results: Path) -> list[Entry]:
    """One entry a cell, in the grid's order."""
    far = distances(grid, results)
    entries = [read_entry(planned, results, partial=grid.partial) for planned in grid.cells]
    return [replace(each, distance=far.get(each.planned.path)) for each in entries]


def read_entry(planned: GridCell, results: Path, *, partial: bool) -> Entry:
    """The entry of a cell.

    A cell that is planned, or whose cell.json says so or says failed, is an entry that is not run. A
    missing cell.json is a DataError, but under `partial` an entry that is not run.
    """
    manifest = results / "quants" / planned.model / planned.precision / "manifest.json"
    quantised = Manifest.read(manifest).quantised if manifest.exists() else None
    if planned.status == "planned":
        return Entry(planned, None, _not_run("planned", planned.reason), quantised)
    path = results / "cells" / planned.path / "cell.json"
    if partial and not path.exists():
        return Entry(planned, None, NO_FILE, quantised)
    found = read_cell(path)
    for key in CELL_KEYS:
        said, folder = getattr(found, key), getattr(planned, key)
        if said not in (None, folder):
            raise DataError(
                f"the file is of {key} {said!r}, its folder of {folder!r}",
                where=str(path),
                remedy="it was copied here from another cell: remove it and run the cell",
            )
    if isinstance(found, Cell):
        return Entry(planned, found, None, quantised)
    return Entry(planned, None, _not_run(found.status, found.reason), quantised, found.refused)


def _not_run(status: str, reason: str | None) -> str:
    return f"not run ({status}): {' '.join((reason or 'no reason given').split())}"
