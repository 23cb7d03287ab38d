"""A server that runs already: what each habit of real ones reads."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from scripts.common.errors import EngineError
from scripts.engines.external import find_interface
from scripts.records.cell import Cell
from scripts.records.transcript import Turn, TurnAnswered
from scripts.report.web.agreement import State
from scripts.report.web.cells import read_cell_files
from tests.unit.endpoints import Habit, Reply, chat, measure, pieces, reading, row, serving

DICE = random.SystemRandom()


def measured(tmp_path: Path, habit: Habit, **more: Any) -> Cell:
    with serving(habit) as endpoint:
        return measure(tmp_path / "made", endpoint, **more)


def turns(tmp_path: Path) -> list[Turn]:
    return list(Turn.read_lines(tmp_path / "made/cell/session-00/replay-00.transcript.jsonl"))


def test_a_plain_one_is_equal_in_text_and_bits(tmp_path: Path) -> None:
    with serving(lambda number, body: chat(body)) as endpoint:
        found = measure(tmp_path / "made", endpoint)
    assert (found.class_, found.text_identical, found.logprobs_identical, found.bits) == (
        "none observed",
        6,
        6,
        None,
    )
    assert [each.kind for each in found.readings] == ["characters"]
    # It is asked what any client asks, and nothing is set.
    assert {key for body in endpoint.asked for key in body} == {
        "model", "messages", "temperature", "max_tokens", "logprobs", "top_logprobs",
    }  # fmt: skip
    assert not (tmp_path / "made/cell/session-00/replay-00.logprobs.jsonl").read_text().count("NaN")


def test_one_that_samples_is_not_greedy(tmp_path: Path) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        rows = [
            row(" no", -3.0, others=((each, -0.1),)) if DICE.random() < 0.4 else row(each)
            for each in pieces(body)
        ]
        return chat(body, rows)

    found = measured(tmp_path, habit)
    assert found.class_ == "not-greedy"
    assert "the chosen id was not the most likely" in (reading(found, "not greedy") or "")


def test_a_penalty_of_the_server_is_named_though_nothing_differs(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda number, body: chat(body, [row("a", -2.0, others=(("b", -0.5),))]))
    assert (found.class_, found.text_identical) == ("none observed", 6)
    assert (reading(found, "not greedy") or "").startswith("not greedy: at 36 of 36 positions")


def test_a_near_tie_of_a_greedy_one_stays_a_near_tie(tmp_path: Path) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        best, other = DICE.sample(["x", "y"], 2)
        long = [row("w") for _ in range(20)]
        return chat(body, [*long, row(best, -0.69, others=((other, -0.70),)), row(".")])

    found = measured(tmp_path, habit, replays=6)
    assert found.class_ == "near-tie"
    assert found.differences and all(each.margin == pytest.approx(0.01) for each in found.differences)


@pytest.mark.parametrize("always", [True, False])
def test_half_characters_have_no_bits_and_their_text_stands(tmp_path: Path, always: bool) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        if len(body["messages"]) > 2 and (always or number % 3 == 0):
            half = row("\ufffd", raw=b"\xef\xbf\xbd")
            return chat(body, [row("ok"), half, half], message={"content": "ok\N{GRINNING FACE}"})
        return chat(body, [row("ok"), row("\N{GRINNING FACE}")])

    found = measured(tmp_path, habit)
    assert (found.class_, found.text_identical, found.logprobs_identical) == ("none observed", 6, 6)
    assert found.bits is not None
    assert found.bits.turns_with_bits < found.bits.turns == 36
    assert "bits are judged over" in (reading(found, "some bits missing") or "")


def test_answers_that_lack_logprobs_now_and_then_are_the_same_text(tmp_path: Path) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        return chat(body if number % 4 else {"messages": body["messages"]})

    found = measured(tmp_path, habit)
    assert (found.text_identical, found.logprobs_identical, found.class_) == (6, 6, "none observed")
    assert found.bits is not None and found.bits.turns_with_bits == 27 and found.deterministic is None


def test_unequal_bits_are_found_though_some_are_missing(tmp_path: Path) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        rows = [row(each, -0.1 - 0.001 * DICE.random()) for each in pieces(body)]
        return chat(body if number % 4 else {"messages": body["messages"]}, rows)

    found = measured(tmp_path, habit)
    assert (found.text_identical, found.logprobs_identical, found.class_) == (6, 0, "logits-only")
    page = read_cell_files(tmp_path / "made/cell", found, None)
    assert any(State.OTHER_BITS in row for row in page.rows)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 10**400, "x", None])
def test_logprobs_that_are_no_numbers_are_none(tmp_path: Path, value: Any) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        rows = [row(each) for each in pieces(body)]
        rows[3]["logprob"] = value
        return chat(body, rows)

    found = measured(tmp_path, habit)
    assert (found.text_identical, found.logprobs_identical) == (6, 6)
    assert found.bits is not None and (found.bits.positions, found.bits.with_bits) == (216, 180)


def test_a_drafter_gives_bits_of_the_first_token_alone(tmp_path: Path) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        rows = [row(each) for each in pieces(body)]
        for each in rows[1:]:
            each |= {"logprob": 0.0, "top_logprobs": []}
        return chat(body, rows, timings={"draft_n": 4, "draft_n_accepted": 3})

    found = measured(tmp_path, habit)
    assert (found.class_, found.text_identical, found.logprobs_identical) == ("none observed", 6, 6)
    assert found.bits is not None and (found.bits.positions, found.bits.with_bits) == (216, 36)
    assert reading(found, "speculation") == "speculation: 108 of 144 drafted tokens were accepted"


def test_one_without_logprobs_is_judged_by_its_text(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda number, body: chat({"messages": body["messages"]}))
    assert (found.class_, found.text_identical, found.logprobs_identical) == ("none observed", 6, None)


@pytest.mark.parametrize("status", [400, 422])
def test_one_that_refuses_to_be_asked_for_logprobs_is_asked_without(tmp_path: Path, status: int) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        return Reply({"error": {"message": "logprobs?"}}, status) if "logprobs" in body else chat(body)

    assert measured(tmp_path, habit).text_identical == 6


@pytest.mark.parametrize(
    "where",
    [
        lambda words: {"reasoning_content": words},
        lambda words: {"reasoning": words},
        lambda words: {"reasoning_details": [{"type": "reasoning.text", "text": words}]},
        lambda words: {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": words}]}]},
    ],
)
def test_thoughts_are_compared(tmp_path: Path, where: Any) -> None:
    habit = lambda number, body: chat(body, message=where(" ".join(DICE.choice("abcdef") for _ in range(8))))  # noqa: E731
    found = measured(tmp_path, habit)
    assert found.text_identical < 6 and found.class_ == "unclassified"
    assert all(turn.thoughts for turn in turns(tmp_path))


def test_thoughts_with_bits_have_them(tmp_path: Path) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        rows = [row(each) for each in ("<think>", "hm", " so", "</think>", "yes", ".")]
        return chat(body, rows, message={"content": "yes.", "reasoning_content": "hm so"})

    found = measured(tmp_path, habit)
    assert (found.text_identical, found.logprobs_identical) == (6, 6)
    assert found.bits is not None and (found.bits.positions, found.bits.with_bits) == (216, 144)


def test_thoughts_that_are_hidden_are_counted_and_said(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda number, body: chat(body, usage={"completion_tokens": 50}))
    assert "at least 1,548 of 1,800 tokens" in (reading(found, "hidden tokens") or "")
    assert "86%" in (reading(found, "hidden tokens") or "")


@pytest.mark.parametrize(
    "who",
    [
        lambda n: {"system_fingerprint": f"fp_{n}"},
        lambda n: {"provider": f"p{n}"},
        lambda n: {"model": f"m-{n}"},
        lambda n: {"headers": {"X-Served-By": f"node-{n}"}},
    ],
)
def test_two_back_ends_behind_one_address_are_told_apart(tmp_path: Path, who: Any) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        one = DICE.randrange(2)
        named = who(one)
        headers = named.pop("headers", {})
        reply = chat(body, [row(each) for each in pieces(body, str(one))], **{"id": f"x{number}", **named})
        return Reply(reply.body, headers=headers)

    found = measured(tmp_path, habit)
    assert found.class_ == "harness"
    said = reading(found, "several back ends") or ""
    count = len(found.differences)
    assert (
        f"of {count} first difference{'s' * (count != 1)} {count} are between answers of unlike back ends"
        in said
    )


def test_a_name_of_its_own_for_every_answer_names_no_back_end(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda number, body: chat(body, system_fingerprint=f"fp_{number}"))
    assert reading(found, "several back ends") is None


def test_a_busy_one_is_waited_for_and_counted(tmp_path: Path) -> None:
    busy = itertools.cycle([429, 0, 503, 0, 0, 0, 0, 0, 0])

    def habit(number: int, body: dict[str, Any]) -> Reply:
        status = next(busy)
        return Reply({"error": "busy"}, status, {"Retry-After": "0"}) if status else chat(body)

    found = measured(tmp_path, habit, sessions=1, replays=2)
    assert found.text_identical == 2
    assert "nothing was asked again once its answer had begun" in (reading(found, "busy") or "")


def test_one_that_is_busy_for_longer_than_is_waited_is_an_error(tmp_path: Path) -> None:
    habit = lambda number, body: Reply({"error": "busy"}, 429, {"Retry-After": "4000"})  # noqa: E731
    with serving(habit) as endpoint, pytest.raises(EngineError, match="busy.*it wants 4000 s more"):
        find_interface("x", endpoint.address, None)


@pytest.mark.parametrize("reset", [True, False])
def test_a_kept_connection_that_was_closed_is_opened_again_and_nothing_asked_twice(
    tmp_path: Path, reset: bool
) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        return Reply({}, cut=0, reset=reset) if number % 5 == 0 else chat(body)

    found = measured(tmp_path, habit, sessions=1, replays=2)
    assert found.text_identical == 2
    assert "connections closed before an answer began" in (reading(found, "busy") or "")


def test_an_answer_that_had_begun_is_not_asked_for_again(tmp_path: Path) -> None:
    habit = lambda number, body: chat(body) if number < 5 else Reply(chat(body).body, cut=300)  # noqa: E731
    with serving(habit) as endpoint:
        with pytest.raises(EngineError, match="POST /v1/chat/completions"):
            measure(tmp_path / "made", endpoint)
        assert len(endpoint.asked) == 5


def test_content_in_parts_is_read(tmp_path: Path) -> None:
    found = measured(
        tmp_path,
        lambda number, body: chat(
            body, message={"content": [{"type": "text", "text": each} for each in pieces(body)]}
        ),
    )
    assert (found.text_identical, found.logprobs_identical, found.bits) == (6, 6, None)


def test_native_calls_are_a_form_of_their_own(tmp_path: Path) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        contents = [each["content"] for each in body["messages"] if "Question " in (each["content"] or "")]
        question = contents[-1].rpartition("Question ")[2][0] if contents else 0
        call = {"name": "answer", "arguments": f'{{"question": {question}, "value": "three"}}'}
        function = {"id": f"call_{DICE.random()}", "type": "function", "function": call}
        reply = chat(
            body, [], message={"content": None, "tool_calls": [function]}, finish_reason="tool_calls"
        )
        if any(each["role"] == "tool" for each in body["messages"]):
            made = [each for each in body["messages"] if each.get("tool_calls")]
            answers = [each["tool_call_id"] for each in body["messages"] if each["role"] == "tool"]
            assert [call["id"] for each in made for call in each["tool_calls"]] == answers
        return reply

    found = measured(tmp_path, habit)
    assert (found.class_, found.text_identical) == ("none observed", 6)
    first = turns(tmp_path)[0]
    assert first.native_calls[0].name == "answer" and first.tool_results == ["recorded"]
    assert first.finish_reason == "tool_calls"


def test_arguments_of_native_calls_are_compared(tmp_path: Path) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        call = {"function": {"name": "list_files", "arguments": {"x": DICE.random()}}}
        return chat(body, [], message={"content": "", "tool_calls": [call]}, finish_reason="tool_calls")

    assert measured(tmp_path, habit).text_identical == 0


@pytest.mark.parametrize("how", ["refusal", "content_filter", "400"])
def test_a_refused_answer_is_an_answer(tmp_path: Path, how: str) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        if DICE.random() < 0.6:
            return chat(body)
        if how == "400":
            return Reply({"error": {"code": "content_filter", "message": "filtered"}}, 400)
        if how == "refusal":
            return chat(body, [], message={"content": None, "refusal": "I cannot."})
        return chat(body, [], message={"content": ""}, finish_reason="content_filter")

    found = measured(tmp_path, habit)
    assert found.class_ == "refusal"
    assert "are a refusal or were filtered" in (reading(found, "refused") or "")


@pytest.mark.parametrize("reason", [None, "eos", "model_length", 7])
def test_other_ends_are_recorded_as_what_they_are(tmp_path: Path, reason: Any) -> None:
    found = measured(tmp_path, lambda number, body: chat(body, finish_reason=reason))
    assert (found.class_, found.text_identical) == ("none observed", 6)
    assert (reading(found, "other ends") or "").endswith(f"{'null' if reason is None else reason} 36×")


def test_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    assert (
        measured(tmp_path, lambda number, body: chat(body, [], message={"content": None})).text_identical == 6
    )


def test_a_prompt_that_is_cut_is_named(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda number, body: chat(body, usage={"prompt_tokens": 512}))
    assert (reading(found, "cut prompt") or "").startswith("cut prompt: in 30 of 30 turns")


def test_a_prompt_of_the_server_that_changes_is_the_harness(tmp_path: Path) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        clock = DICE.randrange(2)
        usage = {"prompt_tokens": len(str(body["messages"])) + clock}
        return chat(body, [row(each) for each in pieces(body, str(clock))], usage=usage)

    found = measured(tmp_path, habit)
    assert found.class_ == "harness"
    assert "it made unlike prompts" in (reading(found, "server's prompt changed") or "")


def test_only_the_first_answer_differs(tmp_path: Path) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        shift = 0.01 if number <= 7 else 0.0  # the question what it can, and a replay of six turns
        return chat(body, [row(each, -0.1 - shift) for each in pieces(body)])

    found = measured(tmp_path, habit)
    assert found.class_ == "logits-only"
    assert "only the first of 6 replays differs (bits alone)" in (reading(found, "first answer") or "")


@pytest.mark.parametrize(
    "anything", [{"error": "Unexpected endpoint"}, {"version": 1}, {"version": "1", "error": "x"}, [], "ok"]
)
def test_a_path_that_answers_200_to_everything_proves_nothing(anything: Any) -> None:
    with serving(lambda number, body: chat(body), anything=anything) as endpoint:
        record = find_interface("x", endpoint.address, None)
    assert record.interface == "openai"
    assert record.abilities is not None
    assert {name for name, each in record.abilities.items() if each.can} == {"logprobs"}


def test_what_the_server_says_of_itself_is_kept_and_never_hashed(tmp_path: Path) -> None:
    def habit(number: int, body: dict[str, Any]) -> Reply:
        reply = chat(
            body, system_fingerprint="fp", provider="p", usage={"prompt_tokens_details": {"cached_tokens": 5}}
        )
        return Reply(reply.body, headers={"x-backend": "b"})

    found = measured(tmp_path, habit, sessions=1)
    home = tmp_path / "made/cell/session-00"
    (first, *_) = TurnAnswered.read_lines(home / "replay-00.answers.jsonl")
    assert (first.said.fingerprint, first.said.provider, first.said.model) == ("fp", "p", "m")
    assert first.said.headers["x-backend"] == "b"
    assert first.said.usage is not None and first.said.usage.cached_tokens == 5
    assert '"fp"' not in (home / "replay-00.transcript.jsonl").read_text()
    assert found.text_identical == 3


def test_lone_surrogates_are_written_as_what_utf8_has_for_them(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda number, body: chat(body, [], message={"content": "a\ud83d"}))
    assert found.text_identical == 6 and turns(tmp_path)[0].text == "a\ufffd"
