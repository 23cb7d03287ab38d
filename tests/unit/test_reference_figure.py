"""The figure of a reference table."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import msgspec

from scripts.archive.figure import draw_figure, read_summaries, unequal_shares
from scripts.records.cell import Cell
from scripts.records.figures import Share
from scripts.records.forced import CellForced
from scripts.records.grid import Grid
from tests.unit.grids import write_grid
from tests.unit.test_report_ablation import cell
from tests.unit.test_report_table import FORCED, NOT_FORCED


def summary(bits: list[str], forced: CellForced | None) -> Cell:
    """The verdict of a cell whose replays have these bits."""
    return msgspec.structs.replace(Cell.parse(cell("base", bits), "planted"), forced=forced)


def test_shares_are_of_positions_and_of_replays() -> None:
    read = msgspec.structs.replace(FORCED, unequal_bits=Share(positions=775, share=0.25))
    forced = CellForced(prefill=read, decode=NOT_FORCED)
    assert unequal_shares(summary(["a"] * 6 + ["b", "c"], forced)) == {"prefill": 0.25, "free": 0.25}
    assert unequal_shares(summary(list("abcdef"), None)) == {"free": 1.0}
    blind = msgspec.structs.replace(summary(["a"] * 6, forced), logprobs_identical=None)
    assert unequal_shares(blind) == {"prefill": 0.25}


def test_every_cell_is_a_row_and_two_drawings_have_the_same_bytes(tmp_path: Path) -> None:
    summaries = read_summaries(write_grid(tmp_path / "made"))
    assert len(summaries) == 2
    for name in ("one.svg", "two.svg"):
        draw_figure(summaries, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    words = " ".join(text for text in ElementTree.parse(tmp_path / "one.svg").getroot().itertext())
    assert all(label in words for label, _ in summaries)


def test_the_engine_is_in_the_label_where_there_are_several(tmp_path: Path) -> None:
    root = write_grid(tmp_path / "made")
    assert all("," not in label or "llama" not in label for label, _ in read_summaries(root))
    grid = Grid.read(root / "results/grid.json")
    first = grid.cells[0]
    other = msgspec.structs.replace(first, engine="another")
    msgspec.structs.replace(grid, cells=[*grid.cells, other]).write(root / "results/grid.json")
    labels = [label for label, _ in read_summaries(root)]
    assert len(labels) == 2 and all(first.engine in label for label in labels)
