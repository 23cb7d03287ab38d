"""The tree of contexts: events and exposure by hand, and against a plain dictionary of contexts."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.verdict.contexts import ContextTree, Walks, common_prefix
from scripts.verdict.streams import END, OVER, Ints, PromptCodes, Shape, id_array

TurnIds = tuple[list[int], list[int]]
"""A turn: the prompt's ids and the generated ids."""


def symbols(turns: list[TurnIds], codes: PromptCodes) -> Ints:
    """The symbols of a stream."""
    found: list[int] = []
    for prompt, ids in turns:
        found += [codes.code(id_array(prompt)), *ids, END]
    return np.array([*found, OVER], dtype=np.int32)


def count(streams: list[list[TurnIds]]) -> tuple[int, int]:
    codes, tree = PromptCodes(), ContextTree()
    for owner, turns in enumerate(streams):
        tree.insert(symbols(turns, codes), 1, owner)
    return tree.count()


def count_plainly(streams: list[list[TurnIds]]) -> tuple[int, int]:
    """Events and exposure by the words of the design, with one dictionary entry a context."""
    following: dict[object, Counter[object]] = {}
    for turns in streams:
        context: tuple[object, ...] = ()
        for prompt, ids in turns:
            context = (*context, ("prompt", tuple(prompt)))
            for token in [*ids, "end"]:
                following.setdefault(context, Counter())[token] += 1
                context = (*context, token)
    events = exposure = 0
    for after in following.values():
        n = sum(after.values())
        if n >= 2 and set(after) != {"end"}:
            exposure += n
            events += n - max(after.values())
    return events, exposure


def test_equal_replays_expose_every_token_without_an_event() -> None:
    assert count([[([1], [5, 6, 7]), ([2], [8])]] * 3) == (0, 12)


def test_one_flip_of_three() -> None:
    # 5 is shared by three; at the next context one of three differs; then two go on together for one token.
    streams = [[([1], [5, 6, 7])], [([1], [5, 6, 7])], [([1], [5, 9, 7])]]
    assert count(streams) == (1, 3 + 3 + 2)


def test_three_different_ids_are_two_events() -> None:
    assert count([[([1], [5])], [([1], [6])], [([1], [7])]]) == (2, 3)


def test_without_a_majority_both_branches_go_on_counting() -> None:
    left, right = [([1], [5, 6, 6])], [([1], [5, 7, 7])]
    other = [([1], [5, 7, 8])]
    # 4 at the first, 4 with 2 events at the second, then 2 on the left, 2 with 1 event on the right.
    assert count([left, left, right, other]) == (2 + 1, 4 + 4 + 2 + 2)


def test_an_end_where_others_go_on_is_an_id() -> None:
    assert count([[([1], [5, 6])], [([1], [5, 6])], [([1], [5])]]) == (1, 3 + 3)


def test_where_all_end_nothing_is_counted() -> None:
    assert count([[([1], [])], [([1], [])]]) == (0, 0)


def test_differing_prompts_part_without_an_event() -> None:
    # The second turn is never shared: only the first turn's token is exposed.
    assert count([[([1], [5]), ([2], [6, 6])], [([1], [5]), ([3], [7, 7])]]) == (0, 2)


def test_a_turn_more_is_no_event() -> None:
    assert count([[([1], [5]), ([2], [6])], [([1], [5])], [([1], [5]), ([2], [6])]]) == (0, 3 + 2)


def test_a_single_replay_exposes_nothing() -> None:
    assert count([[([1], [5, 6, 7])]]) == (0, 0)


def test_equal_ids_cut_into_other_turns_are_another_context() -> None:
    # 5 then an end, against 5 and 6 in one turn: one event at the end of the first turn, then apart.
    assert count([[([1], [5]), ([6], [7])], [([1], [5, 6]), ([], [7])]]) == (1, 2 + 2)


def test_weights_count_as_replays() -> None:
    codes, tree = PromptCodes(), ContextTree()
    tree.insert(symbols([([1], [5, 6])], codes), 4, 0)
    tree.insert(symbols([([1], [5, 7])], codes), 2, 1)
    assert tree.count() == (2, 12)


def test_common_prefix_looks_past_its_first_window() -> None:
    one = np.zeros(5000, dtype=np.int32)
    for place in (0, 1, 255, 256, 257, 767, 768, 4999):
        other = one.copy()
        other[place] = 1
        assert common_prefix(one, other) == place
    assert common_prefix(one, one[:300]) == 300
    assert common_prefix(one[:0], one) == 0


def test_place_of_every_symbol() -> None:
    shape = Shape(np.array([2, 0, 1], dtype=np.int32))
    # prompt 5 6 end, prompt end, prompt 7 end, over
    places = [shape.place(index) for index in range(10)]
    assert [(each.turn, each.offset, each.position) for each in places] == [
        (0, -1, 0), (0, 0, 0), (0, 1, 1), (0, 2, 2),
        (1, -1, 2), (1, 0, 2),
        (2, -1, 2), (2, 0, 2), (2, 1, 3),
        (3, -1, 3),
    ]  # fmt: skip


few = st.integers(min_value=0, max_value=2)
streams_of_turns = st.lists(
    st.lists(st.tuples(st.lists(few, max_size=2), st.lists(few, max_size=4)), min_size=1, max_size=3),
    min_size=1,
    max_size=8,
)


@given(streams_of_turns)
def test_counts_are_those_of_the_plain_dictionary(streams: list[list[TurnIds]]) -> None:
    assert count(streams) == count_plainly(streams)


@given(streams_of_turns, st.randoms(use_true_random=False))
def test_order_of_reading_does_not_matter(streams: list[list[TurnIds]], rng: Random) -> None:
    shuffled = list(streams)
    rng.shuffle(shuffled)
    assert count(shuffled) == count(streams)


@given(streams_of_turns)
def test_segments_cover_each_trajectory_once(streams: list[list[TurnIds]]) -> None:
    codes, tree = PromptCodes(), ContextTree()
    for owner, turns in enumerate(streams):
        walked = symbols(turns, codes)
        path = tree.insert(walked, 1, owner)
        at = 0
        for segment in path.segments:
            assert segment.start == at
            run = segment.run
            assert run.owner < owner
            part = run.symbols[segment.start - run.start : segment.stop - run.start]
            assert part.tolist() == walked[segment.start : segment.stop].tolist()
            at = segment.stop
        assert at == (len(walked) if path.own is None else path.own.start)


@given(streams_of_turns)
def test_what_single_replays_did_adds_up_to_the_tree(streams: list[list[TurnIds]]) -> None:
    codes, tree = PromptCodes(), ContextTree()
    paths = [tree.insert(symbols(turns, codes), 1, owner) for owner, turns in enumerate(streams)]
    walks = Walks(tree)
    ones = [walks.of_one(path) for path in paths]
    events, exposure = tree.count()
    assert sum(each[0] for each in ones) == pytest.approx(events)
    assert sum(each[1] for each in ones) == exposure


def test_the_one_off_the_largest_group_has_the_event() -> None:
    codes, tree = PromptCodes(), ContextTree()
    streams = [[([1], [5, 6])], [([1], [5, 6])], [([1], [5, 7])]]
    paths = [tree.insert(symbols(turns, codes), 1, owner) for owner, turns in enumerate(streams)]
    assert [Walks(tree).of_one(path) for path in paths] == [(0, 2), (0, 2), (1, 2)]


def test_groups_that_are_largest_together_share_the_event() -> None:
    codes, tree = PromptCodes(), ContextTree()
    paths = [tree.insert(symbols([([1], [token])], codes), 1, token) for token in (5, 6)]
    assert [Walks(tree).of_one(path) for path in paths] == [(0.5, 1), (0.5, 1)]
