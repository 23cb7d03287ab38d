"""Checking a result against a baseline: what is called changed, what cannot be told, and how often by chance."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.comparison.baseline import freeze, pack, unpack
from scripts.comparison.checks import check, distance, least_chance, rejected, sessions_needed
from scripts.records.check import Baseline, BaselineCell, Checked, Distinct
from tests.patience import HANGS
from tests.unit.cells import ROOT, PlantedReplay, command, part, write_cell


def replay(*ids: int) -> PlantedReplay:
    return {"one": [part([1, 2, 3], ids)]}


def planted(root: Path, *sessions: list[PlantedReplay], name: str = "m/p/e/v", **said: object) -> Path:
    write_cell(root / "results" / "cells" / name, sessions, listed=True, **said)
    return root


def drawn(name: str, sessions: list[list[int]]) -> BaselineCell:
    """A cell whose replays are told apart by a number: the id after 20 that all share."""
    numbers = sorted({each for session in sessions for each in session})
    distinct = [
        Distinct(
            transcript=f"t{number}",
            logprobs=f"l{number}",
            streams={"one": pack(np.array([*range(20), 100 + number, *range(20)], dtype=np.int32))},
        )
        for number in numbers
    ]
    places = [[numbers.index(each) for each in session] for session in sessions]
    return BaselineCell(name=name, workload=None, engine="e", sessions=places, distinct=distinct)


def one(*sessions: list[int], name: str = "m/p/e/v") -> Baseline:
    return Baseline(cells=[drawn(name, [*sessions])])


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_ids_come_back_as_they_were(ids: list[int]) -> None:
    assert unpack(pack(np.array(ids, dtype=np.int32))).tolist() == ids


def test_how_far_replays_are_apart() -> None:
    a, b = drawn("m/p/e/v", [[1, 2]]).distinct
    assert distance(a, a) == 0.0
    assert distance(a, b) == 21 / 41
    bits = Distinct(transcript=a.transcript, logprobs="others", streams=a.streams)
    assert distance(a, bits) == 0.5 / 41


def test_equal_bits_are_the_same_however_few_sessions() -> None:
    found = check(one([1, 1]), one([1]))
    assert found.outcome == "same" and "at most 95% of sessions" in found.cells[0].reason


def test_other_bits_in_every_session_are_a_change_where_there_are_enough() -> None:
    four, other = [[1, 1]] * 4, [[2, 2]] * 4
    found = check(one(*four), one(*other))
    assert found.outcome == "changed" and found.cells[0].chance == pytest.approx(2 / 70)


def test_too_few_sessions_cannot_tell_and_say_how_many_can() -> None:
    found = check(one([1], [1]), one([2], [2]))
    assert found.outcome == "could not tell"
    assert "4 of each can" in found.cells[0].reason
    assert least_chance(4, 4) <= 0.05 < least_chance(3, 3) and sessions_needed(0.05) == 4


def test_noise_that_is_the_same_noise_is_no_change() -> None:
    draw = random.Random(1)
    sides = [one(*[[draw.randrange(10**6) for _ in range(3)] for _ in range(5)]) for _ in range(2)]
    assert check(*sides).outcome == "same"


def test_two_single_cells_are_compared_whatever_their_names() -> None:
    assert check(one([1], [1]), one([1], [1], name="o/p/e/v")).outcome == "same"


def test_a_cell_that_was_not_run_is_not_the_same() -> None:
    two = Baseline(cells=[drawn("o/p/e/v", [[1], [1]]), drawn("q/p/e/v", [[1], [1]])])
    found = check(one([1], [1]), two)
    assert found.outcome == "could not tell" and found.new == ["o/p/e/v", "q/p/e/v"]
    assert found.cells[0].reason == "it was not run now"


def test_an_engine_that_refuses_to_start_now_is_a_change(tmp_path: Path) -> None:
    refusal = {"refused": {"sentence": "no such kernel", "named": [], "ended": "with code 1"}}
    starts = freeze(planted(tmp_path / "starts", [replay(1)]))
    refuses = freeze(planted(tmp_path / "refuses", [], **refusal))
    assert refuses.cells[0].refused == "no such kernel"
    for now, outcome in ((refuses, "changed"), (starts, "same")):
        assert check(starts, now).outcome == outcome
    assert check(refuses, refuses).outcome == "same"
    assert "starts now, and refused to" in check(refuses, starts).cells[0].reason


def test_the_share_of_false_alarms_over_cells_is_held() -> None:
    assert rejected([0.01, 0.04, 0.9], 0.05) == [True, False, False]
    assert rejected([0.03, 0.04, 0.05], 0.05) == [True, True, True]
    assert rejected([0.9], 0.05) == [False]


@pytest.mark.parametrize(
    "kind", ["states", "noise", "both"], ids=["a start decides", "noise in every replay", "both"]
)
def test_false_alarms_come_at_most_as_often_as_said(kind: str) -> None:
    """Of 150 grids of five cells in which nothing changed, at most 5 % (and what chance allows) call one changed."""
    draw = random.Random(7)

    def session() -> list[int]:
        state = draw.randrange(3)
        if kind == "states":
            return [state] * 2
        return [draw.randrange(6) + (10 * state if kind == "both" else 0) for _ in range(2)]

    def grid() -> Baseline:
        return Baseline(cells=[drawn(f"m{n}/p/e/v", [session() for _ in range(5)]) for n in range(5)])

    alarms = sum(check(grid(), grid()).outcome == "changed" for _ in range(150))
    assert alarms <= 0.05 * 150 + 2 * (0.05 * 0.95 * 150) ** 0.5


def test_a_baseline_is_a_small_file_and_a_check_ends_with_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = planted(tmp_path / "before", *[[replay(1, 2, 3)] * 2] * 4)
    same = planted(tmp_path / "same", *[[replay(1, 2, 3)] * 2] * 2)
    changed = planted(tmp_path / "changed", *[[replay(1, 2, 4)] * 2] * 4)
    unclear = planted(tmp_path / "unclear", [replay(1, 2, 4)] * 2)
    kept = tmp_path / "baseline.json"
    assert command("freeze", str(before), str(kept)).returncode == 0
    assert Baseline.read(kept) == freeze(before)
    for now, code, outcome in ((same, 0, "same"), (changed, 1, "changed"), (unclear, 3, "could not tell")):
        output, junit = now / "check.json", now / "check.xml"
        done = command("check", str(kept), str(now), "--output", str(output), "--junit", str(junit))
        assert done.returncode == code, done.stderr
        assert Checked.read(output).outcome == outcome
        case = ElementTree.fromstring(junit.read_text()).find("testcase")
        assert case is not None
        assert [each.tag for each in case] == {0: [], 1: ["failure"], 3: ["skipped"]}[code]
    assert "in all: could not tell" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_does_not_change_the_exit_code(tmp_path: Path) -> None:
    result = planted(tmp_path, [replay(1, 2)] * 2)
    line = [
        sys.executable,
        "-m",
        "scripts.check",
        str(result),
        str(result),
        "--output",
        str(tmp_path / "check.json"),
    ]
    check_run = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert check_run.stdout is not None and check_run.stderr is not None
    check_run.stdout.close()
    assert (check_run.wait(HANGS), check_run.stderr.read()) == (0, b"")


def test_errors_and_other_workloads_are_no_verdict(tmp_path: Path) -> None:
    sides = [
        planted(tmp_path / side, [replay(1)], workload={"name": side, "sha256": side * 64}) for side in "ab"
    ]
    done = command("check", *map(str, sides), "--output", str(tmp_path / "check.json"))
    assert done.returncode == 2 and "they were asked other workloads: a (" in done.stderr
    assert command("check", str(tmp_path / "missing.json"), str(sides[0])).returncode == 2
    (tmp_path / "torn.json").write_text(json.dumps({"version": 1}))
    assert command("check", str(tmp_path / "torn.json"), str(sides[0])).returncode == 2
