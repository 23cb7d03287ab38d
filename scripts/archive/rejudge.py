"""Judging an unpacked archive again: each verdict from transcripts, logprobs, forced passes, each page from these."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.archive.check import BROKEN, Disagreement
from scripts.archive.contents import (
    GRID,
    METADATA,
    REPORT,
    SUMS,
    ablation_keys,
    archived_cells,
    cell_folder,
    page_file,
)
from scripts.archive.crate import render_crate
from scripts.archive.shown import shown_tables
from scripts.archive.unequal import unequal
from scripts.common.errors import DataError
from scripts.common.files import read_json, write_json
from scripts.report.ablation import make_page
from scripts.report.controls import as_json, read_controls
from scripts.report.entries import read_entries, read_grid
from scripts.report.frames import details, everything, finding
from scripts.report.page import render_page
from scripts.verdict.summary import summarise

Found = Iterator[Disagreement]
Differ = Callable[[str, str], Iterator[tuple[str, object, object]]]  # place, what it says, what follows


@dataclass
class Counts:
    """How much was judged again."""

    cells: int = 0
    sessions: int = 0
    replays: int = 0
    forced: int = 0
    pages: int = 0


def judge_cells(root: Path, grid: dict[str, Any], counts: Counts) -> Found:
    """Where a cell.json under `root` is not what its sessions give; it is then replaced by what they give.

    So what is made from the cells afterwards follows from what was said and computed, not from a verdict's file.
    """
    for cell in archived_cells(root, grid):
        folder = cell_folder(cell)
        where = f"{folder}/cell.json"
        try:
            again = _as_json(
                summarise(
                    root / folder,
                    first_block=grid["first_block"],
                    tie_margin=grid["tie_margin"],
                    asked=cell.get("question"),
                )
            )
            archived = read_json(root / where)
        except BROKEN as error:
            yield _failed(where, "it cannot be judged again", error)
            continue
        counts.cells += 1
        counts.sessions += again["sessions"]
        counts.replays += again["replays"]
        counts.forced += again["forced"] is not None
        for path, said, follows in unequal(archived, again):
            yield Disagreement(
                where, f"{path} is {_short(said)}, from its sessions follows {_short(follows)}"
            )
        write_json(root / where, again)


def make_pages(root: Path, grid: dict[str, Any], counts: Counts) -> Found:
    """Where table, controls, pages of ablations and the report's tables under `root` are not what the cells give."""
    results = root / "results"
    try:
        entries = read_entries(grid, results)
        readings = read_controls(grid, entries)
        page = render_page(grid, entries, readings)
        figures = everything(entries).to_csv(index=False, lineterminator="\n")
        controls = _as_json(as_json(readings))
        shown = {"finding": finding(entries), "details": details(entries)}
    except BROKEN as error:
        yield _failed("results/table.md", "it cannot be made again", error)
        return
    yield from _compare(root, "results/table.md", page, _lines)
    yield from _compare(root, "results/table.csv", figures, _figures)
    yield from _compare(root, "results/controls.json", json.dumps(controls), _json)
    counts.pages += 3
    for key in ablation_keys(grid):
        try:
            page = make_page(grid, results, key)
        except BROKEN as error:
            yield _failed(page_file(key), "it cannot be made again", error)
            continue
        yield from _compare(root, page_file(key), page, _lines)
        counts.pages += 1
    if (root / REPORT).is_file():
        yield from _compare_report(root, shown)
        counts.pages += 1


def describe_again(root: Path, files: dict[str, str]) -> Found:
    """Where ro-crate-metadata.json is not what the files under `root` give; `files`: the sha256 of each by name."""
    described = {name: digest for name, digest in files.items() if name not in (METADATA, SUMS)}
    try:
        again = json.loads(render_crate(root, described))
        archived = read_json(root / METADATA)
        before, after = _by_id(archived), _by_id(again)
    except BROKEN as error:
        yield _failed(METADATA, "it cannot be made again", error)
        return
    for path, said, follows in unequal(before, after):
        yield Disagreement(METADATA, f"{path} is {_short(said)}, from the files follows {_short(follows)}")


def read_archived_grid(root: Path) -> dict[str, Any]:
    """The grid of the archive; DataError where it is missing or torn, or lacks what judging needs."""
    grid = read_grid(root / GRID)
    missing = [key for key in ("first_block", "tie_margin") if key not in grid]
    if missing:
        raise DataError(f"the keys {missing} are missing", where=GRID)
    return grid


def _by_id(crate: dict[str, Any]) -> dict[str, Any]:
    return {"@context": crate["@context"], **{str(each["@id"]): each for each in crate["@graph"]}}


def _compare(root: Path, name: str, again: str, differ: Differ) -> Found:
    try:
        archived = (root / name).read_text(encoding="utf-8")
        for place, said, follows in differ(archived, again):
            yield Disagreement(
                f"{name}{place}", f"it says {_short(said)}, from the cells follows {_short(follows)}"
            )
    except BROKEN as error:
        yield _failed(name, "it cannot be compared", error)


def _compare_report(root: Path, shown: dict[str, pd.DataFrame]) -> Found:
    """Where the tables that the report shows are not these; its pictures and texts have their sha256 alone."""
    try:
        said = shown_tables((root / REPORT).read_text(encoding="utf-8"))
    except BROKEN as error:
        yield _failed(REPORT, "it cannot be compared", error)
        return
    for kind, frame in shown.items():
        rows = [list(frame.columns), *frame.to_numpy().tolist()]
        follows = [[str(each) for each in row] for row in rows]
        for number, pair in enumerate(zip_longest(said.get(kind, ()), follows, fillvalue=list[str]())):
            for column, (one, other) in enumerate(zip_longest(*pair), start=1):
                if one != other:
                    where = f"{REPORT}, {kind}, row {number}, column {column}"
                    yield Disagreement(
                        where, f"it says {_short(one)}, from the cells follows {_short(other)}"
                    )


def _lines(archived: str, again: str) -> Iterator[tuple[str, object, object]]:
    pairs = zip_longest(archived.split("\n"), again.split("\n"))
    return ((f":{number}", one, other) for number, (one, other) in enumerate(pairs, start=1) if one != other)


def _figures(archived: str, again: str) -> Iterator[tuple[str, object, object]]:
    before, after = ([*csv.reader(io.StringIO(text))] for text in (archived, again))
    header = after[0]
    blank: list[str] = []
    for number, (one, other) in enumerate(zip_longest(before, after, fillvalue=blank), start=1):
        for column, (said, follows) in enumerate(zip_longest(one, other)):
            if next(unequal(_number(said), _number(follows)), None):
                yield f":{number} {header[column] if column < len(header) else column + 1}", said, follows


def _number(text: str | None) -> object:
    try:
        return float(text) if text else text
    except ValueError:
        return text


def _json(archived: str, again: str) -> Iterator[tuple[str, object, object]]:
    return ((f" {path}", one, other) for path, one, other in unequal(json.loads(archived), json.loads(again)))


def _as_json(value: Any) -> Any:
    """The value as it comes out of a JSON file."""
    return json.loads(json.dumps(value, allow_nan=False))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _failed(where: str, what: str, error: Exception) -> Disagreement:
    return Disagreement(where, f"{what}: {' '.join(str(error).split()) or repr(error)}")
