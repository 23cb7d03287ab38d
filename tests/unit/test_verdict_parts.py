"""Where replays part, against a walk over all pairs of replays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.records.cell import ReplayHashes
from scripts.verdict.parts import agreement, parts, sessions_apart, sessions_within


def hashes(sessions: list[list[str]], *, logprobs: bool = True) -> list[ReplayHashes]:
    """Replays by session: the letter is the text, the whole the bits."""
    return [
        ReplayHashes(session=session, replay=replay, transcript=bits[0], logprobs=bits if logprobs else None)
        for session, replays in enumerate(sessions)
        for replay, bits in enumerate(replays)
    ]


@pytest.mark.parametrize(
    ("sessions", "expected", "within", "apart"),
    [
        ([["a"]], "none", 0, 0),
        ([["a", "a"], ["a", "a"]], "none", 0, 0),
        ([["a", "a"], ["a", "b"]], "within", 1, 0),
        ([["a", "a1"], ["a", "a"]], "within", 1, 0),
        ([["a", "a"], ["b", "b"], ["a", "a"]], "between", 0, 1),
        ([["b", "b"], ["a", "a"], ["a", "a"]], "between", 0, 1),
        ([["a"], ["a1"]], "between", 0, 1),
        ([["b", "a", "a"], ["b", "a", "a"]], "first-replay", 2, 0),
        ([["b", "a", "a"], ["c", "a", "a"]], "first-replay", 2, 1),
        ([["b", "a", "a"], ["c", "a", "a"], ["a", "a"]], "first-replay", 2, 2),
        ([["b", "a", "a"], ["c", "a", "a"], ["c", "a"]], "within", 3, 1),
        ([["b", "a", "a"], ["b", "c", "c"]], "within", 2, 0),
        ([["b", "a", "a"], ["a", "a", "a"]], "within", 1, 1),
        ([["b", "a", "a"]], "within", 1, 0),
        ([["b", "a"], ["b", "a"]], "within", 2, 0),
    ],
)
def test_where_replays_part_is_named(
    sessions: list[list[str]], expected: str, within: int, apart: int
) -> None:
    found = hashes(sessions)
    assert parts(found) == expected
    assert (sessions_within(found), sessions_apart(found)) == (within, apart)


def test_pairs_are_counted_in_text_and_in_bits() -> None:
    found = agreement(hashes([["a", "a1", "b"], ["a", "a", "a"], ["c", "c"]]))
    assert found.as_json() == {
        "within": {"pairs": 5, "equal_text": 4, "equal_bits": 3},
        "between": {"pairs": 2, "equal_text": 1, "equal_bits": 1},
        "first_replay": {"sessions": 2, "odd": 0},
    }
    blind = agreement(hashes([["a", "a1"]], logprobs=False))
    assert blind.within.as_json() == {"pairs": 1, "equal_text": 1, "equal_bits": None}


def slow_parts(sessions: list[list[str]]) -> str:
    """The definition, word by word, over every pair."""
    everywhere = [(s, r, bits) for s, replays in enumerate(sessions) for r, bits in enumerate(replays)]
    firsts = [(s, 0) for s, replays in enumerate(sessions) if len(replays) >= 3]
    others = [bits for s, r, bits in everywhere if (s, r) not in firsts]
    equal = all(one == other for one in others for other in others)
    alone = all(sessions[s][0] not in others for s, _ in firsts)
    if len(firsts) >= 2 and equal and alone:
        return "first-replay"
    pairs = [(one, other) for one in everywhere for other in everywhere if one[2] != other[2]]
    if any(one[0] == other[0] for one, other in pairs):
        return "within"
    return "between" if pairs else "none"


@given(st.lists(st.lists(st.sampled_from(["a", "a1", "b"]), min_size=1, max_size=4), min_size=1, max_size=5))
def test_parts_is_its_definition(sessions: list[list[str]]) -> None:
    found = hashes(sessions)
    assert parts(found) == slow_parts(sessions)
    counted = agreement(found)
    assert counted.within.pairs + len(sessions) == len(found)
    assert counted.between.pairs == len(sessions) - 1
    assert (parts(found) == "none") == (
        counted.within.equal_bits == counted.within.pairs
        and counted.between.equal_bits == counted.between.pairs
    )
