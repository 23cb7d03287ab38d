"""Whole cells in the real file format, planted by hand: what cell.json says of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from scripts.common.files import canonical_json
from scripts.records.cell import Cell, CellNotDone, Difference, ReplayName, Score, Tokens, read_cell
from scripts.records.figures import NoiseSpread, Rate, Spread
from scripts.records.transcript import ToolCall, Turn
from scripts.verdict.summary import judge, summarise
from tests.unit.cells import Part, PlantedReplay, answered, part, usual_top, write_cell

LONG = list(range(10, 40))


def base() -> dict[str, list[Part]]:
    """Two scenarios: 30 + 2 tokens and 3 tokens, 35 in all."""
    return {"a": [part([1, 2], LONG), part([3], [4, 5])], "b": [part([1, 9], [6, 7, 8])]}


def flipped(at: int, token: int = 77, **more: Any) -> dict[str, list[Part]]:
    """`base`, with another id at that index of a's first turn and other words after it."""
    return base() | {"a": [part([1, 2], [*LONG[:at], token, 50, 51], **more), part([99], [4])]}


def only(found: Cell) -> Difference:
    """The one difference there is."""
    assert len(found.differences) == 1
    return found.differences[0]


def noise_of(found: Cell) -> tuple[Spread, Spread]:
    """Of the chosen ids, and of the margins."""
    assert found.noise is not None
    assert found.noise.chosen is not None
    assert found.noise.margin is not None
    return found.noise.chosen, found.noise.margin


def test_equal_replays(tmp_path: Path) -> None:
    found = summarise(write_cell(tmp_path / "cell", [[base()] * 3, [base()] * 3]))
    assert (found.sessions, found.replays) == (2, 6)
    assert (found.text_identical, found.logprobs_identical) == (6, 6)
    assert found.class_ == "none observed"
    assert found.differences == []
    assert found.reference == ReplayName(session=0, replay=0)
    assert found.flips_per_1000_tokens.exposure == 6 * 35
    assert found.flips_per_1000_tokens.events == 0
    zeros = Spread(p50=0.0, p99=0.0, max=0.0)
    assert found.noise == NoiseSpread(chosen=zeros, margin=zeros)
    assert found.tokens == Tokens(mean=35.0, cv=0.0, swing=0.0)
    assert found.tokens_per_second == pytest.approx(100)
    assert (found.status, found.reason) == ("done", None)
    assert found.model == "tinychart-dense"


def test_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cell", [[base(), flipped(20)]])
    for entry in summarise(cell).hashes:
        for kind in ("transcript", "logprobs"):
            path = cell / f"session-{entry.session:02d}" / f"replay-{entry.replay:02d}.{kind}.jsonl"
            assert getattr(entry, kind) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_near_tie(tmp_path: Path) -> None:
    tie = {20: [(30, -0.75), (77, -0.875), (78, -3.0)]}
    there = {20: [(77, -0.5), (30, -1.0), (78, -3.0)]}
    first = base() | {"a": [part([1, 2], LONG, tops=tie), part([3], [4, 5])]}
    found = summarise(write_cell(tmp_path / "cell", [[first, first, flipped(20, tops=there)]]))
    difference = only(found)
    assert (difference.session, difference.replay, difference.scenario) == (0, 2, "a")
    assert (difference.turn, difference.kind, difference.position) == (0, "model", 20)
    assert (difference.margin, difference.margin_censored) == (0.125, False)
    assert (difference.other_margin, difference.other_margin_censored) == (0.5, False)
    assert difference.candidates.other is not None
    assert difference.candidates.other.top[0] == (77, -0.5)
    assert (difference.token, difference.other_token) == (30, 77)
    assert difference.class_ == found.class_ == "near-tie"
    assert (found.text_identical, found.logprobs_identical) == (2, 2)
    # Three up to the flip, the flip, then two; scenario b three times three.
    assert found.flips_per_1000_tokens.exposure == 3 * 20 + 3 + 2 * 9 + 2 * 2 + 9
    assert found.flips_per_1000_tokens.events == 1


def test_first_block(tmp_path: Path) -> None:
    first = base() | {"a": [part([1, 2], LONG, tops={15: [(25, -0.5), (77, -0.6)]}), part([3], [4, 5])]}
    cell = write_cell(tmp_path / "cell", [[first, first, flipped(15)]])
    assert summarise(cell).class_ == "first-block"
    assert summarise(cell, first_block=15).class_ == "near-tie"


def test_position_counts_the_turns_before(tmp_path: Path) -> None:
    other = base() | {"a": [part([1, 2], LONG), part([3], [4, 6])]}
    found = summarise(write_cell(tmp_path / "cell", [[base(), base(), other]]))
    difference = only(found)
    assert (difference.turn, difference.position) == (1, 31)
    assert difference.class_ == "wide"


def test_margin_to_a_token_that_is_not_listed_is_censored(tmp_path: Path) -> None:
    close = {20: [(30, -1.0), (31, -1.01), (32, -1.02), (33, -1.03), (34, -1.125)]}
    first = base() | {"a": [part([1, 2], LONG, tops=close), part([3], [4, 5])]}
    difference = only(summarise(write_cell(tmp_path / "cell", [[first, first, flipped(20)]])))
    assert (difference.margin, difference.margin_censored) == (0.125, True)
    assert difference.class_ == "near-tie"


def test_noise_widens_what_a_tie_explains(tmp_path: Path) -> None:
    tops = {index: usual_top(LONG[index], 0.5) for index in range(30)}
    tops[20] = [(30, -0.5), (77, -0.875), (78, -3.0)]
    rest = [part([3], [4, 5])]
    quiet = base() | {"a": [part([1, 2], LONG, tops=tops), *rest]}
    loud = base() | {"a": [part([1, 2], LONG, tops=tops, shifts=dict.fromkeys(range(30), 0.375)), *rest]}
    there = tops | {20: [(77, -0.5), (30, -0.875), (78, -3.0)]}
    found = summarise(write_cell(tmp_path / "cell", [[quiet, loud, flipped(20, tops=there)]]))
    assert noise_of(found)[1].p99 == pytest.approx(0.375)
    assert only(found).margin == 0.375
    assert found.class_ == "near-tie"


def test_harness_leak_in_mid_episode(tmp_path: Path) -> None:
    other = base() | {"a": [part([1, 2], LONG), part([3, 3], [60])]}
    found = summarise(write_cell(tmp_path / "cell", [[base(), other]]))
    difference = only(found)
    assert (difference.kind, difference.turn, difference.position) == ("harness", 1, 30)
    assert (difference.margin, difference.class_) == (None, "harness")
    assert found.volatile == "`prompt` other content 1"
    assert found.flips_per_1000_tokens.events == 0
    assert found.flips_per_1000_tokens.exposure == 2 * 30 + 2 * 3
    assert found.text_identical == 0


def test_what_follows_a_flip_is_not_counted_again(tmp_path: Path) -> None:
    other = base() | {"a": [part([1, 2], [*LONG[:29], 77]), part([55], [4, 5]), part([56], [57])]}
    difference = only(summarise(write_cell(tmp_path / "cell", [[base(), base(), other]])))
    assert (difference.kind, difference.position) == ("model", 29)


def test_what_a_tool_leaks_is_named_with_its_kind(tmp_path: Path) -> None:
    other = base() | {"a": [part([1, 2], LONG), part([3, 3], [60])]}
    cell = write_cell(tmp_path / "cell", [[base(), other]], listed=False)
    call = ToolCall(name="list_files", arguments={})
    for number, clock in ((0, "12:30:58"), (1, "12:41:07")):
        path = cell / f"session-00/replay-{number:02d}.transcript.jsonl"
        turns = list(Turn.read_lines(path))
        turns[0] = replace(turns[0], tool_calls=[call], tool_results=[f"{clock} notes.txt"])
        path.write_text("".join(each.line() for each in turns), encoding="utf-8")
    assert summarise(cell).volatile == "`list_files` time 1"


def test_a_turn_more_without_a_flip_is_the_harness(tmp_path: Path) -> None:
    other = base() | {"b": [part([1, 9], [6, 7, 8]), part([2], [3])]}
    difference = only(summarise(write_cell(tmp_path / "cell", [[base(), base(), other]])))
    assert (difference.kind, difference.scenario, difference.turn) == ("harness", "b", 1)
    assert difference.position == 3


def test_a_tool_result_after_the_last_generation_is_the_harness(tmp_path: Path) -> None:
    other = base() | {"b": [part([1, 9], [6, 7, 8], results=["12:30:59 notes.txt"])]}
    found = summarise(write_cell(tmp_path / "cell", [[base(), base(), other]]))
    difference = only(found)
    assert (difference.kind, difference.scenario, difference.turn) == ("harness", "b", 0)
    assert difference.position == 3
    assert found.class_ == "harness"
    assert (found.text_identical, found.logprobs_identical) == (2, 3)


def test_another_order_of_scenarios_is_the_harness(tmp_path: Path) -> None:
    other = {"b": base()["b"], "a": base()["a"]}
    difference = only(summarise(write_cell(tmp_path / "cell", [[base(), base(), other]])))
    assert (difference.kind, difference.scenario, difference.turn) == ("harness", "a", 0)


def test_the_last_token_of_all(tmp_path: Path) -> None:
    other = base() | {"b": [part([1, 9], [6, 7, 9])]}
    difference = only(summarise(write_cell(tmp_path / "cell", [[base(), base(), other]])))
    assert (difference.scenario, difference.position, difference.kind) == ("b", 2, "model")


def test_another_replay_that_ends_early(tmp_path: Path) -> None:
    other = base() | {"b": [part([1, 9], [6, 7])]}
    found = summarise(write_cell(tmp_path / "cell", [[base(), base(), other]]))
    difference = only(found)
    assert (difference.kind, difference.position, difference.other_token) == ("model", 2, None)
    assert (difference.margin, difference.margin_censored) == (pytest.approx(5.0), True)
    assert found.flips_per_1000_tokens.events == 1


def test_a_reference_that_ends_early_has_no_margin(tmp_path: Path) -> None:
    other = base() | {"b": [part([1, 9], [6, 7, 8, 9])]}
    difference = only(summarise(write_cell(tmp_path / "cell", [[base(), base(), other]])))
    assert (difference.position, difference.margin) == (3, None)
    assert difference.class_ == "unclassified"


def test_equal_text_over_unequal_bits(tmp_path: Path) -> None:
    other = base() | {"b": [part([1, 9], [6, 7, 8], shifts={1: 0.25})]}
    found = summarise(write_cell(tmp_path / "cell", [[base(), other], [base(), base()]]))
    assert (found.text_identical, found.logprobs_identical) == (4, 3)
    assert found.class_ == "logits-only"
    assert found.differences == []
    values = np.zeros(35 * 3)
    values[0] = 0.25
    expected = Spread(p50=0.0, p99=pytest.approx(np.quantile(values, 0.99)), max=pytest.approx(0.25))
    assert found.noise == NoiseSpread(chosen=expected, margin=expected)


def test_noise_of_branches_that_left_the_reference(tmp_path: Path) -> None:
    # Two replays share the other branch; beyond the flip they are compared with each other.
    left = {"a": [part([1], [5, 6, 6])]}
    right = {"a": [part([1], [5, 7, 7], tops={1: [(7, -0.5), (6, -0.75)]})]}
    louder = {"a": [part([1], [5, 7, 7], tops={1: [(7, -0.5), (6, -0.625)]}, shifts={0: 0.5, 2: 1.0})]}
    found = summarise(write_cell(tmp_path / "cell", [[left, left, left, right, louder]]))
    chosen, margins = noise_of(found)
    # At 5: 0, 0, 0, 0.5 against the first. At the flip: left 0, 0, right 0.125. After it: 0, 0, 1.
    values = [0, 0, 0, 0.5, 0, 0, 0.125, 0, 0, 1.0]
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        assert getattr(margins, name) == pytest.approx(np.quantile(values, share))
    values = [0, 0, 0, 0.5, 0, 0, 0, 0, 0, 1.0]
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        assert getattr(chosen, name) == pytest.approx(np.quantile(values, share))


def test_exact_ties_are_counted_once_a_context(tmp_path: Path) -> None:
    tie = {1: [(7, -0.7), (8, -0.7)]}
    tied = base() | {"b": [part([1, 9], [6, 7, 8], tops=tie)]}
    assert summarise(write_cell(tmp_path / "all", [[tied] * 3])).exact_ties == 1
    assert summarise(write_cell(tmp_path / "one", [[base(), base(), tied]])).exact_ties == 1
    assert summarise(write_cell(tmp_path / "first", [[tied, base(), base()]])).exact_ties == 1
    assert summarise(write_cell(tmp_path / "none", [[base(), base()]])).exact_ties == 0


def test_no_majority_takes_the_earliest_replay_as_reference(tmp_path: Path) -> None:
    found = summarise(write_cell(tmp_path / "cell", [[flipped(20, 77)], [flipped(20, 78)], [base()]]))
    assert (found.text_identical, found.logprobs_identical) == (0, 0)
    assert found.reference == ReplayName(session=0, replay=0)
    assert [each.session for each in found.differences] == [1, 2]
    assert found.flips_per_1000_tokens.events == 2


def test_the_reference_is_of_the_largest_group(tmp_path: Path) -> None:
    found = summarise(write_cell(tmp_path / "cell", [[flipped(20), base()], [base(), flipped(20)]]))
    assert found.reference == ReplayName(session=0, replay=0)
    found = summarise(write_cell(tmp_path / "more", [[flipped(20), base()], [base()]]))
    assert found.reference == ReplayName(session=0, replay=1)
    assert [(each.session, each.replay) for each in found.differences] == [(0, 0)]


def test_each_scenario_has_its_own_first_difference(tmp_path: Path) -> None:
    other = flipped(20) | {"b": [part([1, 8], [6, 7, 8])]}
    found = summarise(write_cell(tmp_path / "cell", [[base(), base(), other]]))
    assert [(each.scenario, each.kind) for each in found.differences] == [
        ("a", "model"),
        ("b", "harness"),
    ]
    assert found.class_ == "harness"


def test_one_replay(tmp_path: Path) -> None:
    found = summarise(write_cell(tmp_path / "cell", [[base()]]))
    assert (found.text_identical, found.logprobs_identical) == (1, 1)
    assert found.class_ == "none observed"
    assert found.noise is None
    assert found.flips_per_1000_tokens == Rate(events=0, exposure=0, rate=None, low=None, high=None)


def test_an_engine_without_logprobs(tmp_path: Path) -> None:
    found = summarise(write_cell(tmp_path / "cell", [[base(), base(), flipped(20)]], logprobs=False))
    assert (found.text_identical, found.logprobs_identical) == (2, None)
    assert found.class_ == "unclassified"
    assert (only(found).margin, only(found).class_) == (None, "unclassified")
    assert found.noise is None
    assert found.exact_ties is None
    assert {entry.logprobs for entry in found.hashes} == {None}


def answering(*correct: bool | None) -> PlantedReplay:
    """A replay with one turn a question; None: it was not answered."""
    return {
        "a": [
            part([n], [n + 5], answer=None if right is None else answered(n, right))
            for n, right in enumerate(correct)
        ]
    }


def test_score_counts_what_was_not_answered_as_wrong(tmp_path: Path) -> None:
    replays = [answering(True, True, False, None), answering(True, None, None, None)]
    found = summarise(write_cell(tmp_path / "cell", [replays], questions=4))
    assert found.score == Score(mean=0.375, min=0.25, max=0.5)


def test_score_without_the_number_of_questions(tmp_path: Path) -> None:
    replays = [answering(True, True, False, None), answering(True, None, None, None)]
    found = summarise(write_cell(tmp_path / "cell", [replays]))
    assert found.score is not None
    assert found.score.max == pytest.approx(2 / 3)
    assert found.score.min == pytest.approx(1 / 3)
    unasked = summarise(write_cell(tmp_path / "unasked", [[base()]]))
    assert unasked.score is None


def test_tokens_of_a_replay(tmp_path: Path) -> None:
    longer = base() | {"b": [part([1, 9], list(range(5, 43)))]}
    found = summarise(write_cell(tmp_path / "cell", [[base(), longer]]))
    assert found.tokens == Tokens(mean=52.5, cv=pytest.approx(17.5 / 52.5), swing=1.0)


def test_rates_do_not_depend_on_the_order_of_replays(tmp_path: Path) -> None:
    replays = [base(), flipped(20), flipped(20), flipped(25), base() | {"b": [part([1], [2])]}]
    one = summarise(write_cell(tmp_path / "one", [replays]))
    other = summarise(write_cell(tmp_path / "other", [replays[3:], replays[:3][::-1]]))
    assert one.flips_per_1000_tokens == other.flips_per_1000_tokens
    assert (one.text_identical, one.class_) == (other.text_identical, other.class_)


token = st.integers(0, 2)
wild_turn = st.builds(
    lambda prompt, ids, results: part(prompt, ids, results=results),
    st.lists(token, max_size=1),
    st.lists(token, max_size=3),
    st.lists(st.sampled_from(["x", "y"]), max_size=1),
)
wild_replay = st.fixed_dictionaries(
    {"a": st.lists(wild_turn, min_size=1, max_size=3), "b": st.lists(wild_turn, min_size=1, max_size=2)}
)


@settings(max_examples=60, deadline=None)
@given(replays=st.lists(wild_replay, min_size=1, max_size=5), cut=st.integers(0, 5))
def test_wild_cells(
    tmp_path_factory: pytest.TempPathFactory, replays: list[dict[str, list[Part]]], cut: int
) -> None:
    sessions = [each for each in (replays[:cut], replays[cut:]) if each]
    found = summarise(write_cell(tmp_path_factory.mktemp("wild") / "cell", sessions))
    n, k = len(replays), found.text_identical
    assert found.replays == n
    assert k == 0 or 1 <= k <= n
    assert (found.differences == []) == (k == n)
    assert found.reference is not None
    reference = found.reference.session, found.reference.replay
    text = {(entry.session, entry.replay): entry.transcript for entry in found.hashes}
    differing = {(each.session, each.replay) for each in found.differences}
    assert differing == {key for key, digest in text.items() if digest != text[reference]}
    rate = found.flips_per_1000_tokens
    assert 0 <= rate.events <= rate.exposure
    if rate.exposure:
        assert rate.low is not None
        assert rate.rate is not None
        assert rate.high is not None
        assert rate.low <= rate.rate <= rate.high
    canonical_json(found.as_file())
    assert Cell.parse(found.as_file(), "cell.json") == found


def test_a_tie_that_two_replays_broke_differently_is_one_tie(tmp_path: Path) -> None:
    tie = [(30, -0.7), (77, -0.7)]
    one = {"a": [part([1, 2], LONG, tops={20: tie})]}
    other = {"a": [part([1, 2], [*LONG[:20], 77, 1], tops={20: tie})]}
    found = summarise(write_cell(tmp_path / "cell", [[one, one, other, other]]))
    assert found.exact_ties == 1
    assert only_margins(found) == {0.0}
    assert found.class_ == "near-tie"


def only_margins(found: Cell) -> set[float | None]:
    """The margins of all differences."""
    return {each.margin for each in found.differences}


def test_many_flips_do_not_widen_the_noise_they_are_judged_by(tmp_path: Path) -> None:
    wide = {0: [(10, -0.1), (77, -2.1)]}
    sure = {0: [(77, -0.01), (10, -6.0)]}
    one = {"a": [part([1], [10, 11], tops=wide)]}
    other = {"a": [part([1], [77], tops=sure)]}
    found = summarise(write_cell(tmp_path / "cell", [[one, one, other, other]]))
    assert noise_of(found)[1].max == 0
    assert found.class_ == "wide"


noisy = st.floats(min_value=0.0, max_value=1.0).map(lambda shift: round(shift, 3))
noisy_replay = st.lists(st.tuples(st.integers(5, 6), noisy), min_size=1, max_size=6)


def stars(replays: list[list[tuple[int, float]]]) -> list[float]:
    """The margin noise by the words of the definition: for each context and id, all against the first."""
    centre: dict[tuple[int, ...], float] = {}
    found = []
    for replay in replays:
        for length in range(1, len(replay) + 1):
            context = tuple(token for token, _ in replay[:length])
            margin = replay[length - 1][1]
            if context in centre:
                found.append(abs(margin - centre[context]))
            else:
                centre[context] = margin
    return found


@settings(max_examples=60, deadline=None)
@given(replays=st.lists(noisy_replay, min_size=2, max_size=6))
def test_noise_is_that_of_stars(
    tmp_path_factory: pytest.TempPathFactory, replays: list[list[tuple[int, float]]]
) -> None:
    planted = [
        {
            "a": [
                part(
                    [1], [t for t, _ in each], tops={n: usual_top(t, 2 + m) for n, (t, m) in enumerate(each)}
                )
            ]
        }
        for each in replays
    ]
    found = summarise(write_cell(tmp_path_factory.mktemp("noisy") / "cell", [planted]))
    assert found.reference is not None
    first = found.reference.replay
    expected = stars([replays[first], *replays[:first], *replays[first + 1 :]])
    if not expected:
        assert found.noise is None
        return
    margins = noise_of(found)[1]
    assert margins.max == pytest.approx(max(expected))
    assert margins.p50 == pytest.approx(np.quantile(expected, 0.5), abs=1e-9)
    assert margins.p99 == pytest.approx(np.quantile(expected, 0.99), abs=1e-9)


def test_the_bound_is_said_in_a_sentence(tmp_path: Path) -> None:
    found = summarise(write_cell(tmp_path / "cell", [[base()] * 3]))
    # 105 tokens over 3.00.
    assert found.at_most is not None
    assert found.at_most.one_flip_in_tokens == 35
    assert found.at_most.sentence == "at most one flip in 35 tokens, with 95 % confidence"
    assert summarise(write_cell(tmp_path / "one", [[base()]])).at_most is None


def test_the_bootstrap_has_its_interval_from_five_sessions_on(tmp_path: Path) -> None:
    sessions = [[base(), flipped(20)]] * 2 + [[base(), base()]] * 3
    found = summarise(write_cell(tmp_path / "cell", sessions))
    rate, interval = found.flips_per_1000_tokens, found.flips_bootstrap
    assert interval is not None
    assert rate.rate is not None
    assert rate.events == 2
    assert 0 <= interval.low < rate.rate < interval.high
    assert summarise(write_cell(tmp_path / "four", sessions[:4])).flips_bootstrap is None


REFUSAL = {
    "sentence": "error: invalid argument: --x",
    "named": ["x_argument"],
    "ended": "exit status 1",
}


def test_a_cell_of_which_any_session_was_refused_is_refused(tmp_path: Path) -> None:
    refused = {"refused": REFUSAL, "replays": 0, "files": [], "tokens": 0, "seconds": 0.0}
    both = judge(write_cell(tmp_path / "both", [[], []], records=[refused, refused]))
    assert isinstance(both, CellNotDone)
    assert (both.status, both.reason, both.variant) == ("refused", REFUSAL["sentence"], "base")
    one = judge(write_cell(tmp_path / "one", [[base()], []], records=[{}, refused]))
    assert isinstance(one, CellNotDone) and one.reason == f"{REFUSAL['sentence']} (in 1 of 2 sessions)"
    one.write(tmp_path / "cell.json")
    assert read_cell(tmp_path / "cell.json") == one
    ran = judge(write_cell(tmp_path / "ran", [[base()]]))
    assert isinstance(ran, Cell) and ran.kernels is ran.resolved_differently is ran.flags is None


def test_a_margin_is_told_in_steps_where_the_differences_show_them(tmp_path: Path) -> None:
    """bf16 logits near 12: five candidates lie on a lattice of 1/16, another one for each replay."""
    step = 1 / 16
    here = [(30, -0.5), (77, -0.5 - step), (1, -0.5 - 7 * step), (2, -0.5 - 13 * step), (3, -0.5 - 25 * step)]
    there = {
        20: [
            (77, -0.4),
            (30, -0.4 - 3 * step),
            (1, -0.4 - 9 * step),
            (2, -0.4 - 18 * step),
            (3, -0.4 - 24 * step),
        ]
    }

    def with_top(top: list[tuple[int, float]]) -> dict[str, list[Part]]:
        return base() | {"a": [part([1, 2], LONG, tops={20: top}), part([3], [4, 5])]}

    first = with_top(here)
    found = only(summarise(write_cell(tmp_path / "cell", [[first, first, flipped(20, tops=there)]])))
    assert found.margin == pytest.approx(step)
    assert found.margin_steps == 1.0
    uneven = [(30, -0.5), (77, -0.6001), (1, -0.9), (2, -1.4), (3, -2.05)]
    second = with_top(uneven)
    apart = only(summarise(write_cell(tmp_path / "f32", [[second, second, flipped(20, tops=there)]])))
    assert apart.margin_steps is None
