"""Side tables from planted cells: what a leaky harness did, and pruned experts against all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cells import Part, answered, command, part, write_cell

from scripts.common.errors import ConfigError, DataError
from scripts.draw_workload import draw_workload
from scripts.grid.configuration import load_configuration
from scripts.grid.resolve import resolve_cells
from scripts.grid.side_tables import LEAK, comparisons, leak_pairs, side_tables
from scripts.grid.targets import check_targets
from scripts.records.grid import Grid, GridCell, LeakPair, PruningWanted
from scripts.records.transcript import ToolCall
from scripts.report.leak import make_leak
from scripts.report.reap import make_reap
from scripts.verdict.summary import summarise
from scripts.workload.spec import load_workload

ENGINE = "llama-cpp-python-0.3.36"


def planned(precision: str, variant: str) -> GridCell:
    return GridCell(
        model="tinychart-dense",
        precision=precision,
        engine=ENGINE,
        variant=variant,
        architecture="dense",
        workload="planted",
    )


def plant(results: Path, cell: GridCell, replays: list[dict[str, list[Part]]], **record: Any) -> None:
    """A cell of one session with these replays, and its summary."""
    names = {"model": cell.model, "precision": cell.precision, "engine": cell.engine, "variant": cell.variant}
    folder = write_cell(results / "cells" / cell.path, [replays], **names, **record)
    summarise(folder).write(folder / "cell.json")


def listing(time: str, more: int) -> dict[str, list[Part]]:
    """A replay whose first turn lists files, and that goes on for so many tokens."""
    first = part([1, 2], [3, 4], results=[f"notes.md 37 {time}"])
    return {"daily": [first, part([5], list(range(10, 10 + more)))]}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted turns call no tool; here each result is list_files'."""
    import cells

    def turn(**given: Any) -> Any:
        calls = [ToolCall(name="list_files", arguments={}) for _ in given["tool_results"]]
        return original(**{**given, "tool_calls": calls})

    original = cells.Turn
    monkeypatch.setattr(cells, "Turn", turn)


def test_the_leak_page_names_swing_bytes_and_tool(tmp_path: Path, called: None) -> None:
    clean, leaky = planned("q6_k", "base"), planned("q6_k", "leaky")
    plant(tmp_path, clean, [listing("", 8), listing("", 8), listing("", 8)])
    plant(tmp_path, leaky, [listing("10:20:31", 8), listing("10:20:35", 12), listing("10:21:02", 18)])
    pairs = [LeakPair(clean=clean.path, leaky=leaky.path)]
    grid = Grid(heading="grid planted", cells=[clean, leaky], controls=[], leaks=pairs)
    grid.write(tmp_path / "grid.json")
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
    pairs = [LeakPair(clean=clean.path, leaky=leaky.path)]
    grid = Grid(heading="g", cells=[clean, leaky], controls=[], leaks=pairs, partial=True)
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


def answering(right: dict[str, list[bool]]) -> dict[str, list[Part]]:
    """A replay that answers each scenario's questions, right or wrong."""
    return {
        name: [part([n], [n + 10], answer=answered(n + 1, correct)) for n, correct in enumerate(each)]
        for name, each in right.items()
    }


def workload(folder: Path, charts: int, questions: int) -> None:
    asked = [{"text": f"What is {n}?", "answer": "7"} for n in range(questions)]
    scenarios = [
        {"name": f"chart-{n}", "intro": "Look.", "files": {"a.txt": {"text": "7"}}, "questions": asked}
        for n in range(charts)
    ]
    folder.mkdir()
    content = {"name": "planted", "system": "Answer.", "scenarios": scenarios}
    (folder / "planted.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def test_the_reap_page_pairs_questions(tmp_path: Path) -> None:
    workload(tmp_path / "workloads", charts=12, questions=2)
    pruned, other = planned("reap35", "base"), planned("q4_k_m", "base")
    names = [f"chart-{n}" for n in range(12)]
    better = answering({name: [True, True] for name in names})
    worse = answering({name: [n > 0, n > 8] for n, name in enumerate(names)})
    plant(tmp_path, pruned, [worse, worse], questions=24)
    plant(
        tmp_path,
        other,
        [better, answering({name: [True, n != 3] for n, name in enumerate(names)})],
        questions=24,
    )
    reap = [PruningWanted(pruned=pruned.path, against=[other.path])]
    Grid(heading="g", cells=[pruned, other], controls=[], reap=reap).write(tmp_path / "grid.json")
    page = tmp_path / "reap.md"
    given = ["--grid", str(tmp_path / "grid.json"), "--results", str(tmp_path), "--output", str(page)]
    done = command("make_reap", *given, "--workloads", str(tmp_path / "workloads"))
    assert done.returncode == 0, done.stderr
    text = " ".join(page.read_text(encoding="utf-8").split())
    # 11 + 3 of 24 against 24 and 23 of 24; the question that one of two replays missed is no longer usually right.
    assert "answers fewer questions right than `tinychart-dense q4_k_m` (-39.6" in text
    assert "| tinychart-dense reap35 | tinychart-dense q4_k_m | 14 | 0 | 9 | 1 | 0.0039 |" in text
    assert "3 charts against 11, chance 0.0078" in text
    assert "`tinychart-dense q4_k_m` answers more charts right throughout" in text
    assert "| 1/2 | 23/24 | 95.8 % | 95.8 % (k = 2) |" in text
    assert "| 0/2 | 6/24 | 58.3 % | 58.3 % (k = 2) |" in text
    assert "**What this cannot say.**" in text


def test_a_session_that_was_asked_something_else_is_refused(tmp_path: Path) -> None:
    workload(tmp_path / "workloads", charts=1, questions=1)
    cell = planned("q4_k_m", "base")
    replay = answering({"chart-0": [True]})
    plant(tmp_path, cell, [replay], questions=1, workload={"name": "planted", "sha256": "0" * 64})
    reap = [PruningWanted(pruned=cell.path, against=[cell.path])]
    grid = Grid(heading="g", cells=[cell], controls=[], reap=reap)
    with pytest.raises(DataError, match="asked another workload than planted is now"):
        make_reap(grid, tmp_path, tmp_path / "workloads")


def test_the_workload_of_300_questions_is_what_the_command_draws(root: Path) -> None:
    file = root / "config/workloads/chartist-mini-300.yaml"
    assert file.read_text(encoding="utf-8") == draw_workload("chartist-mini-300", 5001, 30, 10)
    drawn = load_workload(file)
    assert (len(drawn.scenarios), drawn.questions) == (30, 300)
    with pytest.raises(ConfigError, match="for training and held-out tests"):
        draw_workload("other", 999_990, 30, 10)


def test_cells_that_cannot_be_compared_are_refused(root: Path) -> None:
    configuration = load_configuration(root, {"grid": "embedded-reap"})
    cells = resolve_cells(configuration)
    assert [len(each.against) for each in comparisons(configuration, cells)] == [3, 1, 1]
    entry, *_ = configuration.grid.reap
    entry.against[:] = ["tinychart-moe-32/q4_k_m/llama-cpp-python-0.3.36/jitter"]
    with pytest.raises(
        ConfigError, match=r"embedded-reap\.yaml:\d+: reap\[0\]\.against\[0\]: the grid does not list"
    ):
        comparisons(configuration, cells)
