"""The figure of a reference table."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from scripts.archive.figure import draw_figure, read_summaries, unequal_shares
from scripts.common.files import read_json, write_json
from tests.unit.grids import write_grid


def test_shares_are_of_positions_and_of_replays() -> None:
    forced: dict[str, dict[str, Any]] = {"prefill": {"unequal_bits": {"share": 0.25}}}
    summary = {"forced": forced, "replays": 8, "logprobs_identical": 6}
    assert unequal_shares(summary) == {"prefill": 0.25, "free": 0.25}
    assert unequal_shares({"replays": 6, "logprobs_identical": 0}) == {"free": 1.0}
    forced["decode"] = {"not_run": "no pass was asked for"}
    assert unequal_shares(summary) == {"prefill": 0.25, "free": 0.25}


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
    grid = read_json(root / "results/grid.json")
    first = grid["cells"][0]
    grid["cells"].append({**first, "engine": "another"})
    write_json(root / "results/grid.json", grid)
    labels = [label for label, _ in read_summaries(root)]
    assert len(labels) == 2 and all(first["engine"] in label for label in labels)
