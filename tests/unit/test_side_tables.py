"""Side tables: what a leaky harness did, from planted cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cells import Part, command, part, write_cell

from scripts.common.errors import ConfigError
from scripts.common.files import write_json
from scripts.grid.configuration import load_configuration
from scripts.grid.resolve import resolve_cells
from scripts.grid.side_tables import LEAK, leak_pairs, side_tables
from scripts.grid.targets import check_targets
from scripts.verdict.summary import summarise

ENGINE = "llama-cpp-python-0.3.36"


def planned(precision: str, variant: str, model: str = "tinychart-dense") -> dict[str, Any]:
    return {
        "model": model,
        "precision": precision,
        "engine": ENGINE,
        "variant": variant,
        "architecture": "dense",
    }


def path_of(cell: dict[str, Any]) -> str:
    return "/".join(cell[key] for key in ("model", "precision", "engine", "variant"))


def plant(results: Path, cell: dict[str, Any], replays: list[dict[str, list[Part]]]) -> None:
    """A cell of one session with these replays, and its summary."""
    names = {key: cell[key] for key in ("model", "precision", "engine", "variant")}
    folder = write_cell(results / "cells" / path_of(cell), [replays], **names)
    write_json(folder / "cell.json", summarise(folder))


def listing(time: str, more: int) -> dict[str, list[Part]]:
    """A replay whose first turn lists files, and that goes on for so many tokens."""
    first = part([1, 2], [3, 4], results=[f"notes.md 37 {time}"])
    return {"daily": [first, part([5], list(range(10, 10 + more)))]}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted turns call no tool; here each result is list_files'."""
    import cells

    def turn(**given: Any) -> Any:
        calls = [{"name": "list_files", "arguments": {}} for _ in given["tool_results"]]
        return original(**{**given, "tool_calls": calls})

    original = cells.Turn
    monkeypatch.setattr(cells, "Turn", turn)


def test_the_leak_page_names_swing_bytes_and_tool(tmp_path: Path, called: None) -> None:
    clean, leaky = planned("q6_k", "base"), planned("q6_k", "leaky")
    plant(tmp_path, clean, [listing("", 8), listing("", 8), listing("", 8)])
    plant(tmp_path, leaky, [listing("10:20:31", 8), listing("10:20:35", 12), listing("10:21:02", 18)])
    pairs = [{"clean": path_of(clean), "leaky": path_of(leaky)}]
    grid = {"heading": "grid planted", "cells": [clean, leaky], "controls": [], "leaks": pairs}
    write_json(tmp_path / "grid.json", grid)
    page = tmp_path / "leak.md"
    done = command(
        "make_leak", "--grid", str(tmp_path / "grid.json"), "--results", str(tmp_path), "--output", str(page)
    )
    assert done.returncode == 0, done.stderr
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert "the tokens swing by 100 % with the leaky harness, by 0 % with the clean one" in text
    assert 'time: "10:20:31" and "10:20:35"' in text
    assert "| `list_files` | daily, call 1, byte 12 |" in text
    assert "`list_files` time 2" in text
    assert "nothing volatile found" in text
    assert "**What this cannot say.**" in text


def test_a_cell_that_was_not_run_is_a_row_that_says_so(tmp_path: Path, called: None) -> None:
    clean, leaky = planned("q6_k", "base"), planned("q6_k", "leaky")
    plant(tmp_path, clean, [listing("", 8), listing("", 8)])
    pairs = [{"clean": path_of(clean), "leaky": path_of(leaky)}]
    grid = {"heading": "g", "cells": [clean, leaky], "controls": [], "leaks": pairs, "partial": True}
    from scripts.report.leak import make_leak

    text = make_leak(grid, tmp_path)
    assert "not run: no cell.json" in text
    assert "the tokens swing" not in text


def test_pairs_are_cells_that_differ_in_their_listing_alone(root: Path) -> None:
    configuration = load_configuration(root, {"grid": "embedded"})
    pairs = leak_pairs(configuration, resolve_cells(configuration))
    assert [(clean.variant, leaky.variant, clean.model == leaky.model) for clean, leaky in pairs] == [
        ("base", "leaky", True),
        ("base", "leaky", True),
    ]


def test_a_grid_without_a_pair_refuses_the_page(root: Path) -> None:
    configuration = load_configuration(root, {"grid": "vllm-cpu"})
    cells = resolve_cells(configuration)
    assert LEAK not in side_tables(configuration, cells)
    with pytest.raises(ConfigError, match="results/leak.md: the grid vllm-cpu has nothing to make it from"):
        check_targets([LEAK], configuration, cells)
