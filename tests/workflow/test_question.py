"""A question in place of a count: sessions go on until it is answered, by Snakemake run for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checkouts import CELLS, ENGINE, GRID, WORKLOAD, Checkout

from scripts.archive.verify import verify_archive

ASKED = {"r0": 0.1, "r1": 10, "budget": {"sessions": 6}}
QUESTIONS = [{"ask": "value_of_bar", "field": "close", "bar": bar} for bar in range(1, 9)]
BLOCK = {"models": ["tinychart-dense"], "precisions": ["q8_0"], "engines": [ENGINE], "question": ASKED}


def question(checkout: Checkout, variant: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkout.path / CELLS / variant / "cell.json").read_text())[
        "question"
    ]
    return found


def sessions(checkout: Checkout, variant: str) -> dict[str, int]:
    """The cell's session records with their times."""
    files = sorted((checkout.path / CELLS / variant).glob("session-*/session.json"))
    return {file.parent.name: file.stat().st_mtime_ns for file in files}


@pytest.fixture
def asked(fresh: Checkout) -> Checkout:
    """Two cells with one question: the baseline, and logit noise of 1 nat over so many tokens that no two replays agree."""
    blocks = [{**BLOCK, "variants": ["base"]}, {**BLOCK, "variants": ["jitter"]}]
    scenario = {**WORKLOAD["scenarios"][0], "questions": QUESTIONS}
    fresh.write_yaml("config/workloads/tiny.yaml", {**WORKLOAD, "scenarios": [scenario]})
    fresh.write_yaml("config/grids/tiny.yaml", {**GRID, "blocks": blocks})
    fresh.edit("config/engines.yaml", "{jitter: 0.05}", "{jitter: 1.0}")
    return fresh


def test_sessions_go_on_until_the_question_is_answered(asked: Checkout, tmp_path: Path) -> None:
    jobs = asked.jobs("results/table.md")
    assert (jobs["run_session"], jobs["ask_cell"]) == (2, 2)  # as far as it is known beforehand
    done = asked.table()
    assert done.returncode == 0, done.stdout
    assert "2 cells, at most 12 sessions" in done.stdout.splitlines()[0]
    assert (question(asked, "base")["answer"], question(asked, "base")["after"]) == ("at most r0", 2)
    assert list(sessions(asked, "base")) == ["session-00"]
    noisy = question(asked, "jitter")
    assert noisy["answer"] == "at least r1"
    # Of two replays that differ one may not have flipped: it takes a second session at least.
    made = sessions(asked, "jitter")
    assert 2 < noisy["after"] <= noisy["replays"] == 2 * len(made) <= 12
    assert len(list((asked.path / CELLS / "jitter/question").iterdir())) == len(made)
    assert noisy["sentence"] in (asked.path / "results/table.md").read_text()
    assert asked.jobs("results/table.md") == {}

    reported = asked.run("--cores", "1", "results/report.html")
    assert reported.returncode == 0, reported.stdout
    assert "sequential probability ratio test" in (asked.path / "results/report.html").read_text()
    archived = asked.run("--cores", "1", "archive")
    assert archived.returncode == 0, archived.stdout
    found = verify_archive(asked.path / "results/provenance.zip")
    assert (found.disagreements, found.counts.cells) == ([], 2)

    # Asked less closely, the sessions that are there answer; none is run, and none is lost.
    asked.edit("config/grids/tiny.yaml", "r0: 0.1", "r0: 0.05")
    again = asked.table()
    assert again.returncode == 0, again.stdout
    assert sessions(asked, "jitter") == made
    noisy = question(asked, "jitter")
    assert (noisy["r0"], noisy["answer"]) == (0.05, "at least r1")

    partial = asked.run("--cores", "1", "results/table.md", "--config", "partial=true")
    assert partial.returncode == 0, partial.stdout
    assert question(asked, "jitter") == noisy

    cell = f"{CELLS}/base/cell.json"
    rerun = asked.run("--cores", "1", "-R", "run_session", "--", cell)
    assert rerun.returncode == 0, rerun.stdout
    assert list(sessions(asked, "base")) == ["session-00"]
    assert question(asked, "base")["answer"] == "at most r0"
    assert sessions(asked, "jitter") == made
