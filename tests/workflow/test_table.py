"""The whole grid by the one command: what it makes, that it makes it once, and what an edit or a name runs again."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from checkouts import CELLS, ENGINE, Checkout, copy_checkout

TABLE_JOBS = {"make_table": 1, "check_controls": 1, "table": 1}


def rows(checkout: Checkout) -> list[dict[str, str]]:
    with open(checkout.path / "results/table.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def state(checkout: Checkout, pattern: str = "results/**/*") -> dict[str, tuple[int, str]]:
    """Time and content of every file, by its path."""
    return {
        str(path.relative_to(checkout.path)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(checkout.path.glob(pattern))
        if path.is_file() and "logs" not in path.parts and path.name != ".workflow.lock"
    }


def test_the_first_line_says_which_grid_why_and_what_it_costs(made: tuple[Checkout, str]) -> None:
    first, second = made[1].splitlines()[:2]
    assert first.startswith(
        "grid tiny (named by config/config.yaml): 2 cells, 4 sessions, 8 replays of tiny; "
    )
    assert "pulls no weights" in first
    assert re.search("sessions take about .* one after another", first)
    assert second.startswith("4 of 4 sessions are not there yet: about ")


def test_everything_is_there_and_whole(made: tuple[Checkout, str]) -> None:
    checkout = made[0]
    heading = json.loads((checkout.path / "results/grid.json").read_text())["heading"]
    assert heading == made[1].splitlines()[0]
    assert heading in (checkout.path / "results/table.md").read_text()
    assert len(rows(checkout)) == 2
    assert json.loads((checkout.path / "results/controls.json").read_text())["ok"] is True
    for variant in ("base", "leaky"):
        cell = checkout.path / CELLS / variant
        assert sorted(path.name for path in cell.iterdir()) == ["cell.json", "session-00", "session-01"]
        for session in sorted(cell.glob("session-*")):
            record = json.loads((session / "session.json").read_text())
            assert record["settings"]["variant"] == variant
            assert len(list(session.glob("replay-*.transcript.jsonl"))) == 2
    for log in ("table.log", f"sessions/tinychart-dense/q8_0/{ENGINE}/base/session-00.log"):
        assert (checkout.path / "results/logs" / log).exists()


def test_no_result_names_this_machine_or_folder(made: tuple[Checkout, str]) -> None:
    results = made[0].path / "results"
    for name in ("table.md", "table.csv", "grid.json", "controls.json", f"engines/{ENGINE}.json"):
        assert str(made[0].path) not in (results / name).read_text()
    assert str(made[0].path) not in (results / "quants/tinychart-dense/q8_0/manifest.json").read_text()


def test_every_fraction_follows_from_sha256sum(made: tuple[Checkout, str]) -> None:
    checkout = made[0]
    for variant in ("base", "leaky"):
        cell = json.loads((checkout.path / CELLS / variant / "cell.json").read_text())
        for kind, key in (("transcript", "text_identical"), ("logprobs", "logprobs_identical")):
            files = sorted((checkout.path / CELLS / variant).glob(f"session-*/replay-*.{kind}.jsonl"))
            largest = max(Counter(hashlib.sha256(file.read_bytes()).hexdigest() for file in files).values())
            assert len(files) == cell["replays"] == 4
            assert cell[key] == (0 if largest == 1 else largest)


def test_a_second_run_does_nothing(finished: Checkout) -> None:
    assert finished.run("--cores", "1").returncode == 0
    before = state(finished)
    for target in ("results/table.md", "all"):
        done = finished.run("--cores", "1", target)
        assert done.returncode == 0
        assert "Nothing to be done" in done.stdout
        assert done.stdout.splitlines()[1] == "all 4 sessions are there"
    assert state(finished) == before


def test_the_default_target_is_the_table_and_the_report(fresh: Checkout) -> None:
    assert fresh.jobs() == {**fresh.jobs("results/table.md"), "report": 1, "all": 1}


def test_naming_a_session_runs_it_its_cell_and_the_table(finished: Checkout) -> None:
    session = f"{CELLS}/base/session-01/session.json"
    again = {"run_session": 1, "summarise_cell": 1, **TABLE_JOBS}
    assert finished.jobs("-R", session, "--", "results/table.md") == again
    before = state(finished)
    done = finished.run("--cores", "1", "-R", session, "--", "results/table.md")
    assert done.returncode == 0, done.stdout
    after = state(finished)
    touched = {path for path in after if after[path][0] != before[path][0]}
    allowed = (
        f"{CELLS}/base/session-01/",
        f"{CELLS}/base/cell.json",
        "results/table.",
        "results/unchecked/",
        "results/controls.json",
    )
    assert touched
    assert all(path.startswith(allowed) for path in touched), touched


def test_forced_replays_follow_from_the_first_session_alone(finished: Checkout) -> None:
    finished.edit("config/grids/tiny.yaml", "forced: 0", "forced: 2")
    assert finished.jobs("results/table.md") == {
        "write_grid": 1,
        "force_cell": 2,
        "summarise_cell": 2,
        **TABLE_JOBS,
    }
    done = finished.table()
    assert done.returncode == 0, done.stdout
    for number, forced in ((0, {"force_cell": 1}), (1, {})):
        session = f"{CELLS}/base/session-{number:02d}/session.json"
        jobs = finished.jobs("-R", session, "--", "results/table.md")
        assert jobs == {"run_session": 1, **forced, "summarise_cell": 1, **TABLE_JOBS}


def test_a_cell_and_a_precision_can_be_named(finished: Checkout) -> None:
    cell = f"{CELLS}/base/cell.json"
    assert finished.jobs("-R", "run_session", "--", cell) == {"run_session": 2, "summarise_cell": 1}
    sessions = [
        str(path.relative_to(finished.path))
        for path in finished.path.glob("results/cells/*/q8_0/*/*/session-*/session.json")
    ]
    assert finished.jobs("-R", *sessions, "--", "results/table.md") == {
        "run_session": 4,
        "summarise_cell": 2,
        **TABLE_JOBS,
    }


def test_deleting_files_alone_runs_nothing(finished: Checkout) -> None:
    (finished.path / CELLS / "base/session-00/session.json").unlink()
    assert finished.jobs("results/table.md") == {}


def test_touching_runs_nothing(finished: Checkout, root: Path) -> None:
    """As a checkout of another commit and back does, to weights of many megabytes too."""
    (finished.path / "resources").unlink()
    shutil.copytree(root / "resources", finished.path / "resources")
    for folder in ("scripts", "config", "rules", "envs", "resources"):
        for path in (finished.path / folder).rglob("*"):
            if path.is_file():
                path.touch()
    for path in ("Snakefile", "pyproject.toml"):
        (finished.path / path).touch()
    assert finished.jobs("results/table.md") == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("pyproject.toml", "[project]", "# a remark\n[project]", {}),
        ("scripts/report/page.py", '"""', '"""A remark. ', TABLE_JOBS),
        ("scripts/verdict/summary.py", '"""', '"""A remark. ', {"summarise_cell": 2, **TABLE_JOBS}),
        ("scripts/engines/llama_cpp_python.py", '"""', '"""A remark. ', {"run_session": 4, "summarise_cell": 2, **TABLE_JOBS}),
        ("scripts/engines/vllm_server.py", '"""', '"""A remark. ', {}),
        ("config/config.yaml", "first_block: 16", "first_block: 8", {"write_grid": 1, "summarise_cell": 2, **TABLE_JOBS}),
        ("config/grids/tiny.yaml", "description: what", "description: all", {"write_grid": 1, **TABLE_JOBS}),
        ("config/grids/tiny.yaml", "sessions: 2", "sessions: 3", {"write_grid": 1, "run_session": 2, "summarise_cell": 2, **TABLE_JOBS}),
        ("config/grids/tiny.yaml", "replays: 2", "replays: 3", {"write_grid": 1, "run_session": 4, "summarise_cell": 2, **TABLE_JOBS}),
        ("config/engines.yaml", "bounded by 0.05 nat", "bounded", {"write_grid": 1, **TABLE_JOBS}),
        ("config/workloads/tiny.yaml", "12 bars", "a dozen bars", {"write_grid": 1, "run_session": 4, "summarise_cell": 2, **TABLE_JOBS}),
    ],
)  # fmt: skip
def test_an_edit_runs_again_what_follows_from_it_and_nothing_else(
    finished: Checkout, file: str, old: str, new: str, expected: dict[str, int]
) -> None:
    finished.edit(file, old, new)
    assert finished.jobs("results/table.md") == expected


def test_a_variants_entry_concerns_its_own_cells_alone(finished: Checkout) -> None:
    finished.edit(
        "config/engines.yaml",
        "    harness:\n      list_files: ls",
        "    environment: {A: b}\n    harness:\n      list_files: ls",
    )
    assert finished.jobs("results/table.md") == {
        "write_grid": 1,
        "run_session": 2,
        "summarise_cell": 1,
        **TABLE_JOBS,
    }


def comparable(checkout: Checkout) -> tuple[list[dict[str, str]], list[str]]:
    """The rows that must be equal from build to build, without the speed; of the page the lines about them."""
    table = [{key: value for key, value in row.items() if "per_second" not in key} for row in rows(checkout)]
    page = (checkout.path / "results/table.md").read_text().splitlines()
    return [row for row in table if row["variant"] == "base"], [line for line in page if "leaky" not in line]


def without_speed(lines: list[str]) -> list[str]:
    """The page's lines, the column of speeds blanked in the table that has it."""
    blanked, column = [], None
    for line in lines:
        cells = line.split("|")
        if not line.startswith("|"):
            column = None
        elif any("tokens/s" in cell for cell in cells):
            column = next(index for index, cell in enumerate(cells) if "tokens/s" in cell)
        if column is not None:
            cells[column] = ""
        blanked.append("|".join(cell.strip().strip("-: ") for cell in cells))
    return blanked


def test_two_builds_write_the_same_bytes(made: tuple[Checkout, str], root: Path, tmp_path: Path) -> None:
    other = copy_checkout(root, tmp_path / "another place")
    done = other.table()
    assert done.returncode == 0, done.stdout
    for name in (f"quants/tinychart-dense/{precision}/manifest.json" for precision in ("bf16", "q8_0")):
        assert (other.path / "results" / name).read_bytes() == (made[0].path / "results" / name).read_bytes()
    for name in (f"engines/{ENGINE}.json", "grid.json"):
        assert (other.path / "results" / name).read_bytes() == (made[0].path / "results" / name).read_bytes()
    (table, page), (expected_table, expected_page) = comparable(other), comparable(made[0])
    assert table == expected_table
    assert without_speed(page) == without_speed(expected_page)


def test_a_result_is_checked_against_a_baseline(finished: Checkout) -> None:
    """A change ends the command with 1, what could not be told does not; what was found is kept and said."""

    def checked(change: Callable[[dict[str, Any]], None], code: int) -> tuple[str, dict[str, Any]]:
        baseline = json.loads((finished.path / "kept.json").read_text())
        for cell in baseline["cells"]:
            change(cell)
        (finished.path / "baseline.json").write_text(json.dumps(baseline))
        done = finished.run("--cores", "1", "check", "--config", "baseline=baseline.json")
        assert done.returncode == code, done.stdout
        assert ElementTree.parse(finished.path / "results/check.xml").getroot().get("tests") == "1"
        return done.stdout, json.loads((finished.path / "results/check.json").read_text())

    def other(sessions: int) -> Callable[[dict[str, Any]], None]:
        return lambda cell: cell.update(
            sessions=[[0, 0]] * sessions, distinct=[{**cell["distinct"][0], "logprobs": "0" * 64}]
        )

    refused = finished.run("--cores", "1", "check")
    assert refused.returncode == 1 and "no baseline is named" in refused.stdout
    line = [finished.python, "-m", "scripts.freeze", "results", "kept.json"]
    assert subprocess.run(line, cwd=finished.path).returncode == 0
    said, found = checked(lambda cell: None, 0)
    assert "in all: same (1 same)" in said and found["outcome"] == "same"
    assert [cell["name"] for cell in found["cells"]] == [f"tinychart-dense/q8_0/{ENGINE}/base"]
    said, found = checked(other(sessions=2), 0)
    assert "could not tell: tinychart-dense/q8_0" in said and "4 of each can" in found["cells"][0]["reason"]
    said, found = checked(other(sessions=10), 1)
    assert "in all: changed (1 changed)" in said and found["cells"][0]["chance"] == pytest.approx(1 / 66)
    # One engine over one trajectory, whatever its harness showed it before.
    line = [finished.python, "-m", "scripts.compare", f"{CELLS}/base", f"{CELLS}/leaky", "--force"]
    done = subprocess.run(line, cwd=finished.path, capture_output=True, text=True)
    assert re.search(r"- Forced, decode: (\d+) .*; bits equal at \1 \(100 %\)", done.stdout), done.stderr


def test_the_lint_is_clean(fresh: Checkout) -> None:
    done = fresh.run("--lint")
    assert done.returncode == 0, done.stdout
    assert "Congratulations" in done.stdout


def test_a_dry_run_reads_well_and_writes_nothing(fresh: Checkout) -> None:
    done = fresh.run("-n", "results/table.md")
    assert done.returncode == 0
    for sentence in (
        f"Set up the engine {ENGINE}.",
        "Build the weights of tinychart-dense in q8_0.",
        f"Session 00 of tinychart-dense q8_0 on {ENGINE}, leaky.",
        f"Summarise tinychart-dense q8_0 on {ENGINE}, base.",
        "Make the table.",
        "Check the controls.",
    ):
        assert sentence in done.stdout
    assert not (fresh.path / "results").exists()
