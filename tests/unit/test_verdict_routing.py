"""Experts in forced passes: what differed first, by hand and against a walk step by step; lines that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from scripts.common.errors import DataError
from scripts.engines.routing import routing_digest, routing_digests, split_layers
from scripts.records.forced import FirstDiffering, Mode, ModeForced, ModeSummary, PassTurn, Read, RoutingFound
from scripts.verdict.forced import mode_summary, read_passes, summarise_forced
from scripts.verdict.routing import Steps, in_words

Turn = tuple[str, str, tuple[str, str]]
"""Of a turn: a letter for each generated id's logits, its experts, and the same of what was read before."""


def write(cell: Path, number: int, turns: list[Turn], mode: Mode = "prefill", scenario: str = "a") -> None:
    (cell / "forced").mkdir(exist_ok=True)
    with open(cell / "forced" / f"pass-{number:02d}.{mode}.jsonl", "a", encoding="utf-8") as stream:
        for turn, (logits, experts, read) in enumerate(turns):
            count = len(logits)
            stream.write(
                PassTurn(
                    scenario=scenario,
                    turn=turn,
                    digests=_digests(logits),
                    margins=[1.0] * count,
                    argmax=[5] * count,
                    chosen=[-0.5] * count,
                    routing=_digests(experts),
                    read=Read(digests=_digests(read[0]), routing=_digests(read[1])),
                ).line()
            )


def _digests(letters: str) -> list[str]:
    return [each * 16 for each in letters]


def summary(cell: Path, mode: Mode = "prefill") -> RoutingFound:
    passes = read_passes(cell, mode)
    assert passes is not None
    found = mode_summary(passes)
    assert isinstance(found, ModeSummary)
    assert found.routing is not None
    return found.routing


def kept(cell: Path) -> ModeForced:
    """What cell.json keeps of the passes in prefill."""
    found = summarise_forced(cell, scenarios=["a"]).modes.short().prefill
    assert isinstance(found, ModeForced)
    return found


BASE: Turn = ("abc", "def", ("ab", "cd"))


@pytest.mark.parametrize(
    ("other", "first", "experts", "same"),
    [
        (BASE, "neither", 0, 0),
        (("abd", "def", ("ab", "cd")), "logits", 0, 1),
        (("abd", "dea", ("ab", "cd")), "same_step", 1, 0),
        (("abd", "daf", ("ab", "cd")), "experts", 1, 1),
        (("dbc", "daf", ("ab", "cd")), "logits", 1, 1),
        (("abd", "def", ("ab", "ca")), "experts", 0, 1),
        (("abd", "def", ("aa", "ca")), "same_step", 0, 1),
        (("abc", "dee", ("aa", "cd")), "logits", 1, 0),
    ],
)
def test_what_differed_first(tmp_path: Path, other: Turn, first: str, experts: int, same: int) -> None:
    write(tmp_path, 0, [BASE])
    write(tmp_path, 1, [other])
    found = summary(tmp_path)
    none = FirstDiffering(comparisons=1, logits=0, same_step=0, experts=0, prompt=0, neither=0)
    assert found.first == replace(none, **{first: 1})
    assert found.other_experts.positions == experts
    assert found.unequal_bits_same_experts.positions == same


def test_experts_of_a_prompt_whose_logits_are_not_known(tmp_path: Path) -> None:
    """In decode a prompt is one digest without logits: its order against later logits is not known."""
    write(tmp_path, 0, [("ab", "cd", ("", "e"))], "decode")
    write(tmp_path, 1, [("cd", "cd", ("", "f"))], "decode")
    write(tmp_path, 2, [("cb", "cd", ("", "e"))], "decode")
    first = summary(tmp_path, "decode").first
    assert (first.prompt, first.logits, first.comparisons) == (1, 1, 2)


def test_each_episode_is_compared_by_itself_and_turn_after_turn(tmp_path: Path) -> None:
    write(tmp_path, 0, [BASE, BASE])
    write(tmp_path, 1, [BASE, ("abc", "dff", ("ab", "cd"))])
    for number in range(2):
        write(tmp_path, number, [BASE], scenario="b")
    first = summary(tmp_path).first
    assert (first.comparisons, first.experts, first.neither) == (2, 1, 1)


def test_a_cell_keeps_what_was_found_and_one_without_experts_says_nothing(tmp_path: Path) -> None:
    write(tmp_path, 0, [BASE])
    write(tmp_path, 1, [("abd", "def", ("ab", "cd"))])
    found = kept(tmp_path).routing
    assert found is not None
    assert found.first.logits == 1
    assert in_words(found) == "the logits, with every expert so far the same, in 1"
    for path in (tmp_path / "forced").iterdir():
        line = json.loads(path.read_text())
        path.write_text(json.dumps({key: line[key] for key in line if key not in ("read", "routing")}) + "\n")
    assert kept(tmp_path).routing is None
    assert "routing" not in kept(tmp_path).as_json()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"routing": ["a" * 16]}, "not of as many ids"),
        ({"routing": ["a" * 15] * 3}, "16 digits"),
        ({"read": {"digests": ["a" * 16], "routing": ["a" * 16] * 2}}, "not of as many ids"),
        ({"read": {"digests": []}}, "routing"),
        ({"read": None}, "one only"),
        ({"read": {"digests": [], "routing": ["a" * 16]}}, "other steps"),
    ],
)
def test_a_line_whose_experts_do_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    write(tmp_path, 0, [BASE])
    write(tmp_path, 1, [BASE])
    path = tmp_path / "forced" / "pass-01.prefill.jsonl"
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    with pytest.raises(DataError, match=said):
        read_passes(tmp_path, "prefill")


def test_a_pass_without_experts_beside_one_that_has_them_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 0, [BASE])
    write(tmp_path, 1, [BASE])
    path = tmp_path / "forced" / "pass-01.prefill.jsonl"
    line = json.loads(path.read_text())
    del line["routing"], line["read"]
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(DataError, match="some turns have experts"):
        read_passes(tmp_path, "prefill")


@given(st.data())
def test_first_is_that_of_a_walk_step_by_step(data: st.DataObject) -> None:
    passes, steps = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 6))
    values = st.lists(
        st.lists(st.integers(0, 1), min_size=steps, max_size=steps), min_size=passes, max_size=passes
    )
    logits, experts = (np.array(data.draw(values), dtype=np.uint64) for _ in range(2))
    known = np.array(data.draw(st.lists(st.booleans(), min_size=steps, max_size=steps)))

    def walk(number: int) -> str:
        for step in range(steps):
            other_logits = bool(known[step] and logits[number, step] != logits[0, step])
            other_experts = bool(experts[number, step] != experts[0, step])
            if other_experts:
                return "prompt" if not known[step] else "same_step" if other_logits else "experts"
            if other_logits:
                return "logits"
        return "neither"

    walked = [walk(number) for number in range(1, passes)]
    assert {**Steps(logits, experts, known).first()} == {name: walked.count(name) for name in set(walked)}


def test_the_experts_of_a_layer_count_as_a_set() -> None:
    one = [np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]])]
    swapped = [np.array([[2, 1], [4, 3]]), np.array([[5, 6], [8, 7]])]
    moved = [np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 9]])]
    across = [np.array([[5, 6], [7, 8]]), np.array([[1, 2], [3, 4]])]
    assert routing_digests(one, 2) == routing_digests(swapped, 2)
    assert routing_digest(one, but=1) == routing_digest(swapped, but=1) == routing_digest(moved, but=1)
    assert [a == b for a, b in zip(routing_digests(one, 2), routing_digests(moved, 2), strict=True)] == [
        True,
        False,
    ]
    assert routing_digests(one, 1) == routing_digests(one, 2)[1:]
    assert not set(routing_digests(one, 2)) & set(routing_digests(across, 2))
    assert routing_digest(one, but=0) != routing_digest(moved, but=0)


def test_a_row_of_experts_is_cut_into_layers() -> None:
    flat = np.arange(2 * 3 * 2)  # positions × layers × experts
    layers = split_layers(flat, 2, 2)
    assert [layer.tolist() for layer in layers] == [[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11]]]
    with pytest.raises(ValueError, match="12 experts for 5 positions"):
        split_layers(flat, 5, 2)
    with pytest.raises(ValueError, match="for 3"):
        routing_digests(layers, 3)
