"""The test that permutes sessions, against every way to deal them out; bounds of shares of sessions."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from scripts.records.cell import ReplayName
from scripts.verdict.sessions import (
    State,
    best_chance,
    can_prove,
    chance_of_other_state,
    chance_of_split,
    is_whole,
    least_replays,
    replays_differ,
    sessions_differ,
    sessions_to_prove,
    share_at_most,
    states,
)
from tests.unit.test_verdict_parts import hashes

SIDES = st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=5)


def dealt(one: list[State], other: list[State]) -> list[tuple[bool, bool, bool]]:
    """Of every way to deal the sessions out: whether the first side is whole, the second, and both in one state."""
    every = [*one, *other]
    found = []
    for chosen in itertools.combinations(range(len(every)), len(one)):
        first = [every[index] for index in chosen]
        second = [every[index] for index in range(len(every)) if index not in chosen]
        found.append((is_whole(first), is_whole(second), first[0] == second[0]))
    return found


@given(SIDES, SIDES)
def test_the_chance_of_a_split_is_that_of_all_ways_to_deal_sessions_out(
    one: list[State], other: list[State]
) -> None:
    ways = dealt(one, other)
    firsts = sum(first and not second for first, second, _ in ways)
    seconds = sum(second and not first for first, second, _ in ways)
    if is_whole(one) == is_whole(other):
        assert chance_of_split(one, other) is None
    else:
        seen, reverse = (firsts, seconds) if is_whole(one) else (seconds, firsts)
        expected = seen + (reverse if reverse <= seen else 0)
        assert chance_of_split(one, other) == pytest.approx(expected / len(ways))
    if is_whole(one) and is_whole(other) and one[0] != other[0]:
        unlike = sum(first and second and not same for first, second, same in ways)
        assert chance_of_other_state(one, other) == pytest.approx(unlike / len(ways))


@given(SIDES, SIDES)
def test_under_a_change_that_does_nothing_claims_come_in_five_per_cent_of_ways_at_most(
    one: list[State], other: list[State]
) -> None:
    every = [*one, *other]
    claims = ways = 0
    for chosen in itertools.combinations(range(len(every)), len(one)):
        first = [every[index] for index in chosen]
        second = [every[index] for index in range(len(every)) if index not in chosen]
        chance = chance_of_split(first, second)
        claims += chance is not None and chance <= 0.05
        ways += 1
    assert claims <= 0.05 * ways


def test_how_many_sessions_can_prove_an_effect() -> None:
    assert best_chance(2, 2) == pytest.approx(2 / 6)
    assert best_chance(3, 3) == pytest.approx(2 / 20)
    assert best_chance(4, 4) == pytest.approx(2 / 70)
    assert best_chance(5, 2) == best_chance(2, 5) == pytest.approx(1 / 21)
    assert (can_prove(2, 2), can_prove(3, 3), can_prove(4, 4), can_prove(5, 2)) == (False, False, True, True)
    assert sessions_to_prove() == 4


def test_a_session_has_a_state_where_its_replays_agree() -> None:
    found = hashes([["a", "a", "b"], ["c", "c"]])
    assert least_replays(found) == 2
    assert states(found, 2) == [("a", "a"), ("c", "c")]
    assert states(found, 3) == [None, ("c", "c")]


def test_five_clean_sessions_leave_45_per_cent() -> None:
    assert share_at_most(0, 5) == pytest.approx(0.4507, abs=1e-4)
    assert share_at_most(0, 1) == pytest.approx(0.95)
    assert share_at_most(5, 5) == 1
    for seen in range(5):
        exact = binomtest(seen, 5, alternative="less").proportion_ci(0.95, method="exact").high
        assert share_at_most(seen, 5) == pytest.approx(exact)


def test_replays_that_differ_count_by_session() -> None:
    found = hashes([["a", "a1"], ["a", "a"], ["a", "a"], ["a", "a"], ["b", "b"]])
    seen = replays_differ(found, ReplayName(session=0, replay=0))
    assert seen is not None
    assert (seen.differ, seen.others, seen.share) == (2, 9, pytest.approx(2 / 9))
    exact = binomtest(1, 5).proportion_ci(0.95, method="exact")
    assert exact.low < seen.low < seen.share < exact.high < seen.high < 0.8
    assert sessions_differ(found) == 1
    clean = replays_differ(hashes([["a", "a"], ["a", "a"]]), ReplayName(session=0, replay=0))
    assert clean is not None
    assert (clean.share, clean.low, clean.high) == (0, 0, pytest.approx(1 - 0.025**0.5))
    odd = replays_differ(hashes([["a"], ["b"]]), ReplayName(session=0, replay=0))
    assert odd is not None
    assert (odd.share, odd.low, odd.high) == (1, pytest.approx(0.025), 1)
    assert replays_differ(hashes([["a"]]), ReplayName(session=0, replay=0)) is None
    assert replays_differ(hashes([["a", "a"]]), None) is None
