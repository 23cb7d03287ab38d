"""The rows of a table: what the grid asked for, beside what each cell.json and manifest says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.errors import DataError
from scripts.common.files import read_json

CELL_KEYS = ("model", "precision", "engine", "variant")
DONE_KEYS = (
    "sessions",
    "replays",
    "text_identical",
    "logprobs_identical",
    "class",
    "differences",
    "flips_per_1000_tokens",
    "noise",
    "exact_ties",
    "score",
    "tokens",
    "tokens_per_second",
)


@dataclass(frozen=True)
class Entry:
    """One row. `planned`: the grid's entry. `summary`: cell.json where the cell is done, else None.

    `not_run`: why there is no summary, in words that begin with "not run"; None where there is one.
    `quantised`: the manifest's text, None where there is no manifest.
    """

    planned: dict[str, Any]
    summary: dict[str, Any] | None
    not_run: str | None
    quantised: str | None

    @property
    def cell(self) -> str:
        """model/precision/engine/variant."""
        return "/".join(str(self.planned[key]) for key in CELL_KEYS)

    @property
    def label(self) -> str:
        """What tells the row apart beside its model: the precision, and the variant where it is not base."""
        precision, variant = self.planned["precision"], self.planned["variant"]
        return str(precision) if variant == "base" else f"{precision}, {variant}"


def read_grid(path: Path) -> dict[str, Any]:
    """results/grid.json; DataError where a key that a table needs is missing."""
    grid = read_json(path)
    missing = [
        key for key in ("heading", "cells", "controls") if not isinstance(grid, dict) or key not in grid
    ]
    if missing:
        raise DataError(
            f"the keys {missing} are missing", where=str(path), remedy="write it again: write_grid"
        )
    return dict(grid)


def read_entries(grid: dict[str, Any], results: Path) -> list[Entry]:
    """One entry a cell, in the grid's order.

    A cell that is planned, or whose cell.json says so or says failed, is an entry that is not run. A
    missing cell.json is a DataError, but under `partial` an entry that is not run.
    """
    return [_read_entry(planned, results, partial=bool(grid.get("partial"))) for planned in grid["cells"]]


def _read_entry(planned: dict[str, Any], results: Path, *, partial: bool) -> Entry:
    model, precision, engine, variant = (str(planned[key]) for key in CELL_KEYS)
    quantised = _quantised(results / "quants" / model / precision / "manifest.json")
    if planned.get("status", "run") == "planned":
        return Entry(planned, None, _not_run("planned", planned.get("reason")), quantised)
    path = results / "cells" / model / precision / engine / variant / "cell.json"
    if partial and not path.exists():
        return Entry(planned, None, "not run: no cell.json", quantised)
    summary = read_json(path)
    _check(summary, planned, path)
    if summary["status"] != "done":
        return Entry(planned, None, _not_run(str(summary["status"]), summary.get("reason")), quantised)
    return Entry(planned, summary, None, quantised)


def _check(summary: Any, planned: dict[str, Any], path: Path) -> None:
    remedy = "summarise the cell again: snakemake -R summarise_cell -- results/table.md"
    if not isinstance(summary, dict) or "status" not in summary:
        raise DataError("the key 'status' is missing", where=str(path), remedy=remedy)
    needed = (*CELL_KEYS, *DONE_KEYS) if summary["status"] == "done" else ()
    missing = [key for key in needed if key not in summary]
    if missing:
        raise DataError(f"the keys {missing} are missing", where=str(path), remedy=remedy)
    for key in CELL_KEYS:
        if summary.get(key, planned[key]) != planned[key]:
            raise DataError(
                f"the file is of {key} {summary[key]!r}, its folder of {planned[key]!r}",
                where=str(path),
                remedy="it was copied here from another cell: remove it and run the cell",
            )


def _not_run(status: str, reason: object) -> str:
    words = " ".join(str(reason).split()) if reason else "no reason given"
    return f"not run ({status}): {words}"


def _quantised(manifest: Path) -> str | None:
    if not manifest.exists():
        return None
    content = read_json(manifest)
    text = content.get("quantised") if isinstance(content, dict) else None
    return str(text) if text is not None else None
