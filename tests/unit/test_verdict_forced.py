"""Forced passes: what differed between them, by hand, and what a cell's summary makes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from scripts.common.errors import DataError
from scripts.records.cell import Cell
from scripts.records.figures import Share, Spread
from scripts.records.forced import CellForced, Mode, ModeForced, ModeNotRun, ModeSummary, PassTurn, Trajectory
from scripts.verdict.forced import deterministic, mode_summary, read_passes, summarise_forced
from scripts.verdict.summary import summarise
from tests.unit.cells import part, write_cell

Positions = list[tuple[str, float, int, float]]
"""Of a pass: digest, margin, argmax, chosen at each position."""

PASSED = {"passes": 2, "trajectory": {"session": 0, "replay": 0, "scenarios": ["a"]}}
BASE: Positions = [("a", 1.0, 5, -0.25), ("b", 0.5, 6, -0.5), ("c", 0.125, 7, -1.0), ("d", 2.0, 8, -0.125)]


def line(
    digests: list[str], margins: list[float], argmax: list[int], chosen: list[float], turn: int = 0
) -> str:
    """A line of a pass."""
    return PassTurn(
        scenario="a", turn=turn, digests=digests, margins=margins, argmax=argmax, chosen=chosen
    ).line()


def write_pass(
    cell: Path, number: int, mode: Mode, positions: Positions, lengths: Sequence[int] = (3, 1)
) -> None:
    lines, at = [], 0
    for turn, length in enumerate(lengths):
        some = positions[at : at + length]
        lines.append(
            line(
                [each[0] * 16 for each in some],
                [each[1] for each in some],
                [each[2] for each in some],
                [each[3] for each in some],
                turn,
            )
        )
        at += length
    (cell / "forced").mkdir(exist_ok=True)
    (cell / "forced" / f"pass-{number:02d}.{mode}.jsonl").write_text("".join(lines))


def changed(**at: tuple[str, float, int, float]) -> Positions:
    return [at.get(f"p{index}", each) for index, each in enumerate(BASE)]


def cell_of_two(folder: Path, *, alike: bool = True) -> Path:
    one = {"a": [part([1], [5, 6, 7]), part([2], [8])]}
    other = one if alike else {"a": [part([1], [5, 6, 7], shifts={1: 0.1}), part([2], [8])]}
    return write_cell(folder / "cell", [[one], [other]])


def summary_of(cell: Path, mode: Mode = "decode") -> ModeSummary:
    passes = read_passes(cell, mode)
    assert passes is not None
    found = mode_summary(passes)
    assert isinstance(found, ModeSummary)
    return found


def margin_noise(found: ModeSummary) -> Spread:
    assert found.noise.margin is not None
    return found.noise.margin


def test_equal_passes(tmp_path: Path) -> None:
    for number in range(3):
        write_pass(tmp_path, number, "decode", BASE)
    found = summary_of(tmp_path)
    assert (found.passes, found.positions) == (3, 4)
    assert found.unequal_bits == Share(positions=0, share=0.0)
    assert found.noise.margin == Spread(p50=0.0, p99=0.0, max=0.0)
    assert found.under_noise == Share(positions=0, share=0.0)
    assert found.margins.p50 == 0.75


def test_what_differs(tmp_path: Path) -> None:
    write_pass(tmp_path, 0, "decode", BASE)
    write_pass(tmp_path, 1, "decode", changed(p1=("e", 0.75, 6, -0.375), p2=("f", 0.125, 9, -1.25)))
    found = summary_of(tmp_path)
    assert found.unequal_bits == Share(positions=2, share=0.5)
    assert found.other_argmax == Share(positions=1, share=0.25)
    # The chosen: 0, 0.125, 0.25, 0; the margin: 0, 0.25, 0.125 + 0.125 since another id was best, 0.
    assert found.noise.chosen is not None
    assert found.noise.chosen.max == 0.25
    assert found.noise.chosen.p50 == 0.0625
    assert margin_noise(found).max == 0.25
    assert margin_noise(found).p99 == pytest.approx(0.25)
    # Mean margins 1, 0.625, 0, 2: one is below the noise's p99.
    assert found.under_noise.positions == 1


def test_all_pairs_of_passes_make_the_noise(tmp_path: Path) -> None:
    for number, margin in enumerate((1.0, 1.25, 2.0)):
        write_pass(tmp_path, number, "prefill", changed(p0=(str(number), margin, 5, -0.25)))
    noise = margin_noise(summary_of(tmp_path, "prefill"))
    values = [0.25, 1.0, 0.75] + [0] * 9
    assert noise.p99 == pytest.approx(np.quantile(values, 0.99))
    assert noise.max == 1.0


def test_the_usual_best_is_that_of_most_passes(tmp_path: Path) -> None:
    for number, argmax in enumerate((9, 7, 7)):
        write_pass(tmp_path, number, "decode", changed(p2=("c", 0.125, argmax, -1.0)))
    passes = read_passes(tmp_path, "decode")
    assert passes is not None
    assert passes.signed_margins()[:, 2].tolist() == [-0.125, 0.125, 0.125]


def test_modes_are_kept_apart(tmp_path: Path) -> None:
    for number in range(2):
        write_pass(tmp_path, number, "decode", BASE)
        write_pass(tmp_path, number, "prefill", changed(p0=("9", 1.5, 5, -0.25)))
    found = summarise_forced(tmp_path, scenarios=["a"])
    for each in (found.modes.prefill, found.modes.decode):
        assert isinstance(each, ModeSummary)
        assert each.unequal_bits.positions == 0
    assert found.trajectory == Trajectory(session=0, replay=0, scenarios=["a"])
    assert found.passes == 2


def test_a_mode_that_was_not_run_says_why(tmp_path: Path) -> None:
    write_pass(tmp_path, 0, "prefill", BASE)
    found = summarise_forced(tmp_path, scenarios=["a"], not_run={"decode": "the engine cannot"})
    assert found.modes.decode == ModeNotRun(not_run="the engine cannot")
    assert isinstance(found.modes.prefill, ModeNotRun)
    assert "one pass only" in found.modes.prefill.not_run


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("{}", "torn"),
        ("{}\n", "missing required field `scenario`"),
        ("x\n", "the line is no PassTurn"),
        (line(["a" * 15], [1], [1], [1]), "16 digits"),
        (line(["z" * 16], [1], [1], [1]), "invalid literal"),
        (line(["a" * 16], [1, 2], [1], [1]), "one length"),
        (line(["a" * 16], [-1], [1], [1]), "negative"),
        (line(["a" * 16], [1], [1], [1]).replace('margins":[1', 'margins":[NaN'), "malformed"),
        (line(["a" * 16], [1], [1], [1]).replace('chosen":[1', 'chosen":[1e999'), "out of range"),
        (line(["a" * 16], [1], [1], [1]).replace("{", '{"b":1,'), "unknown field `b`"),
        (line(["a" * 16], [1], [2**70], [1]), "too large"),
        (line(["a" * 16], [1], [1], [1]), "not those of pass 0"),
    ],
)
def test_a_pass_that_does_not_fit(tmp_path: Path, text: str, words: str) -> None:
    write_pass(tmp_path, 0, "decode", BASE)
    (tmp_path / "forced" / "pass-01.decode.jsonl").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_passes(tmp_path, "decode")
    assert "pass-01.decode.jsonl" in str(caught.value)


def test_a_gap_in_the_passes(tmp_path: Path) -> None:
    write_pass(tmp_path, 0, "decode", BASE)
    write_pass(tmp_path, 2, "decode", BASE)
    with pytest.raises(DataError, match="pass 1 is missing"):
        read_passes(tmp_path, "decode")


def forced_cell(folder: Path, *passes: Positions, alike: bool = True) -> Cell:
    """The summary of a cell with those decode passes."""
    cell = cell_of_two(folder, alike=alike)
    for number, each in enumerate(passes):
        write_pass(cell, number, "decode", each)
    summarise_forced(cell, scenarios=["a"], not_run={"prefill": "no"}).write(cell / "forced.json")
    return summarise(cell)


def test_deterministic_needs_both(tmp_path: Path) -> None:
    found = forced_cell(tmp_path, BASE, BASE)
    assert found.deterministic is True
    assert found.forced is not None
    assert isinstance(found.forced.decode, ModeForced)
    assert found.forced.decode.unequal_bits == Share(positions=0, share=0.0)
    assert found.forced.prefill == ModeNotRun(not_run="no")


def test_lucky_replays_do_not_pass_as_deterministic(tmp_path: Path) -> None:
    found = forced_cell(tmp_path, BASE, changed(p0=("e", 1.0, 5, -0.25)))
    assert (found.class_, found.deterministic) == ("none observed", False)


def test_unequal_bits_of_free_replays_are_not_deterministic(tmp_path: Path) -> None:
    assert forced_cell(tmp_path, BASE, BASE, alike=False).deterministic is False


def test_too_little_was_looked_at(tmp_path: Path) -> None:
    assert summarise(cell_of_two(tmp_path)).deterministic is None
    run = CellForced(prefill=ModeNotRun(not_run="no"), decode=ModeNotRun(not_run="no"))
    assert deterministic(replays=3, text_identical=3, bits_identical=3, forced=run) is None
    assert deterministic(replays=3, text_identical=3, bits_identical=None, forced=None) is None


def test_one_replay_is_not_deterministic_by_itself(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cell", [[{"a": [part([1], [5, 6, 7]), part([2], [8])]}]])
    for number in range(2):
        write_pass(cell, number, "decode", BASE)
    summarise_forced(cell, scenarios=["a"]).write(cell / "forced.json")
    assert summarise(cell).deterministic is None


def test_passes_of_another_trajectory_are_refused(tmp_path: Path) -> None:
    cell = cell_of_two(tmp_path)
    for number in range(2):
        write_pass(cell, number, "decode", BASE, lengths=(2, 2))
    summarise_forced(cell, scenarios=["a"]).write(cell / "forced.json")
    with pytest.raises(DataError, match="another trajectory"):
        summarise(cell)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "forced.json: the file is not a JSON object"),
        ({"modes": {}}, "forced.json: .*missing required field"),
        ({**PASSED, "modes": {"decode": {}, "prefill": {}}}, "forced.json: modes.*missing required field"),
        ({**PASSED, "modes": 3}, "forced.json: modes: Expected `object`"),
    ],
)
def test_a_torn_summary_of_passes_is_refused(tmp_path: Path, content: object, words: str) -> None:
    cell = cell_of_two(tmp_path)
    (cell / "forced.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=words):
        summarise(cell)


def test_a_summary_of_a_replay_that_is_gone_is_refused(tmp_path: Path) -> None:
    cell = cell_of_two(tmp_path)
    summarise_forced(cell, replay=4, scenarios=["a"]).write(cell / "forced.json")
    with pytest.raises(DataError, match="replay 4 of session 0"):
        summarise(cell)
