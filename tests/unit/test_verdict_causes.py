"""What tells the bits of a cell's sessions: named where it fits without exception, with the chance that it is none."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.records.tuning import Tuned
from scripts.report import figures
from scripts.verdict.causes import Fact, chance_to_fit, name_cause, tuned_parameters
from scripts.verdict.grouping import groups
from scripts.verdict.summary import summarise
from tests.engines.serving import kind_settings
from tests.unit.cells import PlantedReplay, part, write_cell

KERNEL = "merge_16x16_to_64x64_inverse_kernel"
VALUES = st.lists(st.sampled_from("abc"), min_size=2, max_size=7)


def tuned(warps: int, stages: int = 3, kernel: str = KERNEL, ranks: Sequence[int] = (0,)) -> Tuned:
    config = {"num_warps": warps, "num_stages": stages, "num_ctas": 1}
    return Tuned(by="triton", kernel=kernel, key="[48, 64, true]", config=config, ranks=[*ranks])


@given(VALUES, st.data())
def test_a_fact_is_named_only_where_no_value_of_it_has_unlike_bits(
    states: list[str], data: st.DataObject
) -> None:
    column = st.lists(st.sampled_from("xyz"), min_size=len(states), max_size=len(states))
    columns = data.draw(st.lists(column, max_size=6))
    facts = {Fact("tuned", f"kernel {number}", "BK"): values for number, values in enumerate(columns)}
    found = name_cause(states, facts, [*range(len(states))])
    fitting = [values for values in columns if fits(values, states) and len(set(values)) < len(states)]
    assert (found is not None) == (bool(fitting) and len(set(states)) > 1)
    if found is None:
        return
    values = facts[Fact("tuned", found.name, "BK")]
    assert values in fitting
    assert found.equally < len(fitting)
    assert found.varied == sum(len(set(each)) > 1 for each in columns)
    assert 0 < found.chance <= 1
    assert sorted(number for side in found.sides for number in side.sessions) == [*range(len(states))]
    for side in found.sides:
        assert len({states[number] for number in side.sessions}) == 1
        assert {values[number] for number in side.sessions} == {*side.values}
    assert [len(side.sessions) for side in found.sides] == sorted(map(len, groups(states)), reverse=True)


def fits(values: Sequence[str], states: Sequence[str]) -> bool:
    return len({*zip(values, states, strict=True)}) == len(set(values))


@pytest.mark.parametrize(
    ("values", "states"),
    [
        ("AB", "AB"),
        ("ABCD", "AAAB"),
        ("AABB", "AAAB"),
        ("AAABBB", "AAABBB"),
        ("AABBC", "AAAAB"),
        ("ABCDDD", "AABCCC"),
    ],
)
def test_the_chance_to_fit_is_that_of_all_ways_to_deal_the_states_out(values: str, states: str) -> None:
    ways = [fits(values, dealt) for dealt in itertools.permutations(states)]
    sizes = [[len(each) for each in groups(column)] for column in (values, states)]
    assert chance_to_fit(*sizes) == Fraction(sum(ways), len(ways))


def test_facts_that_have_nothing_to_do_with_the_bits_fit_as_often_as_is_said() -> None:
    """Eight sessions of two states, four each, and twelve facts by chance: what is said at 5 % comes in at most 5 %."""
    draw = random.Random(5)
    said, trials = 0, 2000
    for _ in range(trials):
        states = draw.sample("AAAABBBB", 8)
        facts = {
            Fact("tuned", f"kernel {n}", "num_warps"): [draw.choice("48") for _ in states] for n in range(12)
        }
        found = name_cause(states, facts, [*range(8)])
        said += found is not None and found.chance <= 0.05
    assert said / trials <= 0.05
    alone = name_cause([*"AAAABBBB"], {Fact("tuned", KERNEL, "num_warps"): [*"88884444"]}, [*range(8)])
    assert alone is not None and alone.chance == 1 / 35


def test_two_values_may_give_the_same_bits() -> None:
    assert name_cause([*"ABAABA"], {Fact("resolved", "n_ubatch"): [*"144545"]}, [*range(6)]) is None, (
        "4 gave both"
    )
    found = name_cause([*"ABAABA"], {Fact("resolved", "n_ubatch"): [*"141545"]}, [*range(6)])
    assert found is not None and [side.values for side in found.sides] == [["1", "5"], ["4"]]
    assert found.chance == 3 / 15, "a pair of sessions has B: those of 4, of 1 or of 5"


def test_sessions_that_are_all_unlike_name_nothing_nor_do_replays_that_differ() -> None:
    facts = {Fact("resolved", "n_ubatch"): [*"123"]}
    assert name_cause([*"ABC"], facts, [0, 1, 2]) is None
    assert name_cause(["A", None, "A"], {Fact("resolved", "n_ubatch"): [*"121"]}, [0, 1, 2]) is None
    assert name_cause([*"AAA"], facts, [0, 1, 2]) is None


def test_what_was_resolved_comes_before_what_was_tuned_and_warps_before_stages() -> None:
    both = {Fact("tuned", KERNEL, "num_stages"): [*"221"], Fact("tuned", KERNEL, "num_warps"): [*"884"]}
    found = name_cause([*"AAB"], both, [0, 1, 2])
    assert found is not None and (found.parameter, found.equally) == ("num_warps", 0), (
        "one kernel is one fact"
    )
    found = name_cause([*"AAB"], {**both, Fact("resolved", "moe_backend"): [*"ttm"]}, [0, 1, 2])
    assert found is not None and (found.kind, found.name, found.equally) == ("resolved", "moe_backend", 1)


def test_unlike_ranks_and_sizes_are_all_said() -> None:
    odd = [tuned(8, ranks=(0, 1, 3)), tuned(4, ranks=(2,))]
    assert tuned_parameters(odd)[KERNEL, "num_warps"] == "8 on rank 0, 8 on rank 1, 4 on rank 2, 8 on rank 3"
    assert tuned_parameters([tuned(8, ranks=(0, 1))])[KERNEL, "num_warps"] == "8"
    other = Tuned(by="triton", kernel=KERNEL, key="[16]", config={"num_warps": 2}, ranks=[0])
    assert tuned_parameters([tuned(8), other])[KERNEL, "num_warps"] == "2 for [16]; 8 for [48, 64, true]"


def write(folder: Path, choices: Sequence[tuple[int, int]], odd: Sequence[int]) -> Path:
    """A cell of two replays a session, those of the sessions `odd` with another last id; each with its choices."""

    def replay(number: int) -> PlantedReplay:
        return {"daily": [part([1, 2, 3], [7, 8, 10 if number in odd else 9])]}

    sessions = [[replay(number)] * 2 for number in range(len(choices))]
    records: list[dict[str, Any]] = [
        {
            "caches": {"triton": "empty", "triton_kernels": "kept" if number else "empty"},
            "tuned": [
                each.as_json() for each in (tuned(*choice), tuned(4, number % 4, "chunk_fwd_kernel_o"))
            ],
        }
        for number, choice in enumerate(choices)
    ]
    return write_cell(folder, sessions, records=records)


def test_the_choice_of_one_session_in_five_is_named_with_its_chance(tmp_path: Path) -> None:
    found = summarise(write(tmp_path / "cell", [(8, 2), (8, 3), (4, 2), (8, 5), (8, 2)], odd=[2])).cause
    assert found is not None
    assert figures.cause(found) == (
        "the 4 sessions (0, 1, 3, 4) that chose 8 warps for `merge_16x16_to_64x64_inverse_kernel` have bits A; "
        "session 2 that chose 4 warps has bits B; "
        "by chance alone one would in 40 % of such cells"
    ), "the kernels of session 0 were compiled anew, which parts it from four others, too"


def test_a_cell_whose_choices_do_not_fit_names_none(tmp_path: Path) -> None:
    assert summarise(write(tmp_path / "cell", [(8, 2), (8, 3), (4, 2), (4, 5)], odd=[2])).cause is None
    assert summarise(write(tmp_path / "same", [(8, 2), (4, 3)], odd=[])).cause is None


def test_the_card_that_a_session_had_is_a_fact_and_named_last(tmp_path: Path) -> None:
    settings = kind_settings("vllm", gpus=1).as_json()
    on = [
        {"machine": {"gpus": [{"name": "H100", "index": card}]}, "settings": settings} for card in (0, 1, 0)
    ]
    replays: list[PlantedReplay] = [{"daily": [part([1, 2, 3], [7, 8, last])]} for last in (9, 10, 9)]
    folder = write_cell(tmp_path / "cell", [[replay] * 2 for replay in replays], records=on)
    found = summarise(folder).cause
    assert found is not None
    assert figures.cause(found).startswith(
        "the 2 sessions (0, 2) with GPU 0 have bits A; session 1 with GPU 1 has bits B"
    )
    chosen = {Fact("resolved", "GPU"): [*"001"], Fact("tuned", KERNEL, "num_warps"): [*"884"]}
    named = name_cause([*"AAB"], chosen, [0, 1, 2])
    assert named is not None and (named.kind, named.name) == ("tuned", KERNEL)
