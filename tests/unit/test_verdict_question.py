"""A cell's question: what its sessions answer, and whether another one is needed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from msgspec.structs import replace

from scripts.common.errors import ConfigError
from scripts.records.question import Budget, QuestionAsked, QuestionFound, QuestionRound
from scripts.verdict.question import Witness, ask, check_budget, read_question
from scripts.verdict.sequential import Question
from scripts.verdict.summary import look, summarise
from tests.unit.cells import PlantedReplay, command, part, write_cell

LONG = list(range(10, 40))
ASKED = QuestionAsked(r0=1, r1=40, budget=Budget(sessions=5))


def usual() -> PlantedReplay:
    return {"a": [part([1, 2], LONG)], "b": [part([1, 2], LONG)]}


def flipped(token: int, at: int = 20) -> PlantedReplay:
    return {"a": [part([1, 2], [*LONG[:at], token, 5])], "b": [part([1, 2], LONG)]}


def leaked(number: int) -> PlantedReplay:
    return {"a": [part([1, 2, number], LONG)], "b": [part([1, 2], LONG)]}


def test_a_replay_alone_is_no_evidence() -> None:
    assert ask([Witness(False, 1e6)], 1, Question(0.1, 1.0)) == ("continue", 1)
    assert ask([Witness(False, 1e6)] * 2, 2, Question(0.1, 1.0)) == ("accept-r0", 2)


def test_replays_of_which_no_two_agree_never_accept_the_lower_rate() -> None:
    question = Question(0.1, 10.0)
    # Long replays: one without a flip would be enough for r0, but none of them is known to be one.
    assert ask([Witness(False, 1e6), Witness(True, 1e6)], 1, question) == ("continue", 2)
    assert ask([Witness(False, 300), Witness(True, 300)], 1, question) == ("continue", 2)
    assert ask([Witness(False, 300), Witness(True, 300), Witness(True, 300)], 1, question)[0] == "accept-r1"


def test_clean_replays_answer_the_lower_rate(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cell", [[usual(), usual()]])
    found = summarise(cell, asked=ASKED).question
    # 60 tokens a replay: -2.34 each, and log(0.05) is -3.00.
    assert found == QuestionFound(
        r0=1,
        r1=40,
        per=1000,
        alpha=0.05,
        beta=0.05,
        budget=Budget(sessions=5),
        answer="at most r0",
        after=2,
        replays=2,
        flipped=0,
        evidence=pytest.approx(-2 * 60 * 0.039),
        bounds=(pytest.approx(math.log(0.05)), pytest.approx(-math.log(0.05))),
        spent=False,
        sentence="1 or fewer flips per 1,000 tokens rather than 40 or more: answered after 2 replays, 0 of 2 replays flipped; "
        "with 40 or more the chance of this answer is at most 5 %, taking sessions as alike",
    )
    assert found is not None
    assert not found.wants_more
    assert summarise(cell).question is None


def test_flips_answer_the_higher_rate_and_what_came_later_does_not_count(tmp_path: Path) -> None:
    # 2.73 for each that flipped, -2.34 for each that did not.
    replays = [[flipped(77), flipped(77)], [flipped(78), flipped(79, at=3)], [flipped(77), usual()]]
    cell = write_cell(tmp_path / "cell", replays)
    once = look(cell, ASKED, 1)
    assert (once.answer, once.replays, once.wants_more) == ("at most r0", 2, False)
    assert look(cell, replace(ASKED, r1=20), 1).answer is None
    twice = look(cell, replace(ASKED, r1=20), 2)
    assert (twice.answer, twice.after, twice.flipped) == ("at least r1", 4, 2)
    assert twice == summarise(cell, asked=replace(ASKED, r1=20), count=2).question
    assert summarise(cell, asked=ASKED, count=2).sessions == 2


def test_a_prompt_that_differs_is_no_flip_and_ends_what_is_compared(tmp_path: Path) -> None:
    found = look(write_cell(tmp_path / "cell", [[leaked(n) for n in range(4)]]), ASKED, 1)
    # The first one's 60 tokens, and 30 of each other.
    assert (found.answer, found.flipped) == (None, 0)
    assert found.evidence == pytest.approx(-(60 + 3 * 30) * 0.039)


@pytest.mark.parametrize(
    ("budget", "spent"),
    [
        (Budget(sessions=2), True),
        (Budget(sessions=3), False),
        (Budget(sessions=9, tokens=200), True),
        (Budget(sessions=9, tokens=241), False),
    ],
)
def test_the_budget_ends_it(tmp_path: Path, budget: Budget, spent: bool) -> None:
    cell = write_cell(tmp_path / "cell", [[usual()] * 2] * 2)
    found = look(cell, replace(ASKED, r0=0.01, r1=0.02, budget=budget), 2)
    assert (found.answer, found.spent, found.wants_more) == (None, spent, not spent)
    assert ("the budget is spent" in found.sentence) == spent


def test_the_command_says_whether_another_session_is_needed(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cell", [[usual()], [usual()]])
    for sessions, more in ((1, True), (2, False)):
        output = cell / "question" / f"round-{sessions - 1:02d}.json"
        done = command(
            "ask_cell",
            str(cell),
            "--sessions",
            str(sessions),
            "--question",
            json.dumps(ASKED.as_json()),
            "--output",
            str(output),
        )
        assert done.returncode == 0, done.stderr
        found = QuestionRound.read(output)
        assert (found.sessions, found.more) == (sessions, more)
        assert found.answer == look(cell, ASKED, sessions).answer


def test_a_question_that_is_none_names_its_key(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cell", [[usual()]])
    asked = json.dumps(ASKED.as_json() | {"r1": "many"})
    done = command("summarise_cell", str(cell), "--output", str(cell / "cell.json"), "--question", asked)
    assert done.returncode == 1
    assert "--question: r1" in done.stderr


@pytest.mark.parametrize(("per", "scale"), [(1, 1000), (1000, 1), (10_000, 0.1)])
def test_rates_are_given_for_so_many_tokens(per: int, scale: float) -> None:
    question = read_question(replace(ASKED, per=per))
    assert (question.r0, question.r1) == (pytest.approx(scale), pytest.approx(40 * scale))


def test_questions_that_cannot_be_answered_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"here: the question has no answer: r0 2.0 and r1 1.0"):
        read_question(replace(ASKED, r0=2, r1=1), "here")
    asked = replace(ASKED, r0=0.1, r1=1)
    check_budget(asked, replays=2, tokens_per_replay=1000, where="here")
    with pytest.raises(ConfigError, match=r"here: the budget of 2 replays cannot answer.*takes 4 replays"):
        check_budget(
            replace(asked, budget=Budget(sessions=1)), replays=2, tokens_per_replay=1000, where="here"
        )
    with pytest.raises(ConfigError, match=r"the budget of 3,000 tokens cannot answer.*takes 3,329"):
        check_budget(
            replace(asked, budget=Budget(sessions=9, tokens=3000)),
            replays=2,
            tokens_per_replay=1000,
            where="here",
        )
