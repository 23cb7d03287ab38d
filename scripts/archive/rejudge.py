"""Judging an unpacked archive again: each verdict from transcripts, logprobs, forced passes, each page from these."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pandas as pd

from scripts.archive.check import BROKEN, Disagreement, failed
from scripts.archive.contents import (
    METADATA,
    REPORT,
    SUMS,
    archived_cells,
)
from scripts.archive.crate import render_crate, unlike_crate
from scripts.archive.shown import shown_tables
from scripts.archive.side_pages import side_pages
from scripts.archive.unequal import Unequal, unequal, unlike
from scripts.common.errors import DataError
from scripts.common.files import read_json
from scripts.records.cell import Cell
from scripts.records.grid import Controls, Grid
from scripts.report.controls import as_json, read_controls
from scripts.report.entries import read_entries
from scripts.report.frames import details, everything, finding
from scripts.report.page import render_page
from scripts.verdict.summary import judge

Found = Iterator[Disagreement]


@dataclass
class Counts:
    """How much was judged again, and what it had cost, in words."""

    cells: int = 0
    sessions: int = 0
    replays: int = 0
    forced: int = 0
    pages: int = 0
    costs: str = ""


def judge_cells(root: Path, grid: Grid, counts: Counts) -> Found:
    """Where a cell.json under `root` is not what its sessions give; it, or an older one, is replaced by what they give.

    So what is made from the cells afterwards follows from what was said and computed, not from a verdict's file.
    """
    for cell in archived_cells(root, grid):
        where = f"{cell.folder}/cell.json"
        try:
            again = judge(
                root / cell.folder,
                first_block=grid.first_block,
                tie_margin=grid.tie_margin,
                asked=cell.question,
            )
            differences = list(unlike(root / where, again))
            older = read_json(root / where).get("version") != again.VERSION
        except BROKEN as error:
            yield failed(root, where, "it cannot be judged again", error)
            continue
        counts.cells += 1
        if isinstance(again, Cell):
            counts.sessions += again.sessions
            counts.replays += again.replays
            counts.forced += again.forced is not None
        for path, said, follows in differences:
            yield Disagreement(
                where, f"{path} is {_short(said)}, from its sessions follows {_short(follows)}"
            )
        if differences or older:
            again.write(root / where)


def make_pages(root: Path, grid: Grid, counts: Counts) -> Found:
    """Where tables, controls, pages beside them and the report's tables under `root` are not what the cells give."""
    results = root / "results"
    try:
        entries = read_entries(grid, results)
        readings = read_controls(grid, entries)
        table = render_page(grid, entries, readings)
        figures = everything(entries).to_csv(index=False, lineterminator="\n")
        shown = {"finding": finding(entries), "details": details(entries)}
    except BROKEN as error:
        yield failed(root, "results/table.md", "it cannot be made again", error)
        return
    yield from _compare(root, "results/table.md", _lines(results / "table.md", table))
    yield from _compare(root, "results/table.csv", _figures(results / "table.csv", figures))
    yield from _compare(
        root, "results/controls.json", _readings(results / "controls.json", as_json(readings))
    )
    counts.pages += 3
    with tempfile.TemporaryDirectory(prefix="tempzero-pages-") as aside:
        for page in side_pages(grid, results, lambda name: (root / name).is_file()):
            again = [Path(aside) / Path(name).name for name in page.names]
            try:
                page.write(again[0])
            except BROKEN as error:
                yield failed(root, page.names[0], "it cannot be made again", error)
                continue
            for name, file in zip(page.names, again, strict=True):
                yield from _compare(root, name, _lines(root / name, file.read_text(encoding="utf-8")))
            counts.pages += len(page.names)
    if (root / REPORT).is_file():
        yield from _compare(root, REPORT, _shown(root / REPORT, shown))
        counts.pages += 1


def describe_again(root: Path, files: Mapping[str, str]) -> Found:
    """Where ro-crate-metadata.json is not what the files under `root` give; `files`: the sha256 of each by name."""
    described = {name: digest for name, digest in files.items() if name not in (METADATA, SUMS)}
    try:
        for path, said, follows in unlike_crate(root / METADATA, render_crate(root, described)):
            yield Disagreement(
                METADATA, f"{path} is {_short(said)}, from the files follows {_short(follows)}"
            )
    except (*BROKEN, ValueError) as error:  # of a file's name that is no part of a URL, in the library
        yield failed(root, METADATA, "it cannot be made again", error)


def _compare(root: Path, name: str, places: Unequal) -> Found:
    """Each place of a page with what it says and what follows."""
    try:
        for place, said, follows in places:
            yield Disagreement(
                f"{name}{place}", f"it says {_short(said)}, from the cells follows {_short(follows)}"
            )
    except BROKEN as error:
        yield failed(root, name, "it cannot be compared", error)


def _text(path: Path) -> str:
    """The text of a page; what is not UTF-8 is in no page that is made again."""
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError as error:
        raise DataError("the file is missing", where=str(path)) from error


def _lines(path: Path, again: str) -> Unequal:
    pairs = zip_longest(_text(path).split("\n"), again.split("\n"))
    for number, (one, other) in enumerate(pairs, start=1):
        if one != other:
            yield f":{number}", one, other


def _figures(path: Path, again: str) -> Unequal:
    before, after = ([*csv.reader(io.StringIO(text, newline=""))] for text in (_text(path), again))
    header = after[0]
    blank: list[str] = []
    for number, (one, other) in enumerate(zip_longest(before, after, fillvalue=blank), start=1):
        for column, (said, follows) in enumerate(zip_longest(one, other)):
            if next(unequal(_number(said), _number(follows)), None):
                yield f":{number} {header[column] if column < len(header) else column + 1}", said, follows


def _readings(path: Path, again: Controls) -> Unequal:
    for place, said, follows in unlike(path, again):
        yield f" {place}", said, follows


def _shown(path: Path, frames: Mapping[str, pd.DataFrame]) -> Unequal:
    """Where the tables that the report shows are not these; its pictures and texts have their sha256 alone."""
    said = shown_tables(_text(path))
    for kind, frame in frames.items():
        rows = [list(frame.columns), *frame.to_numpy().tolist()]
        follows = [[str(each) for each in row] for row in rows]
        for number, pair in enumerate(zip_longest(said.get(kind, ()), follows, fillvalue=list[str]())):
            for column, (one, other) in enumerate(zip_longest(*pair), start=1):
                if one != other:
                    yield f", {kind}, row {number}, column {column}", one, other


def _number(text: str | None) -> object:
    try:
        return float(text) if text else text
    except ValueError:
        return text


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
