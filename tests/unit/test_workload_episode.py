"""The agent loop, played by the oracle: prompts only grow, mistakes come back as words, ends are ends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.common.protocol import Generation
from scripts.records.settings import GREEDY, Sampling
from scripts.tinychart.draw import draw_scenario, play_oracle, training_ids
from scripts.workload.chat import ChatForm
from scripts.workload.episode import NUDGE, PlayedTurn, play_episode
from scripts.workload.oracle import OracleEngine
from scripts.workload.toolcalls import render_tool_call

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def chat() -> ChatForm:
    return ChatForm(ROOT / "resources" / "tinychart")


class Scripted(OracleEngine):
    """Says given texts, one a turn, and remembers the prompts it was given."""

    def __init__(self, chat: ChatForm, texts: list[str], finish: str = "stop") -> None:
        self.chat, self.texts, self.finish = chat, texts, finish
        self.prompts: list[list[int]] = []

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_tokens: int,
        stop_ids: Sequence[int],
        top_logprobs: int,
        sampling: Sampling = GREEDY,
    ) -> Generation:
        text = self.texts[min(len(self.prompts), len(self.texts) - 1)]
        self.prompts.append(list(prompt_ids))
        ids = self.chat.encode(text)
        if self.finish == "length":
            return Generation(ids, "length", None, None)
        return Generation([*ids, stop_ids[0]], "stop", None, None)


def play(
    engine: OracleEngine, chat: ChatForm, folder: Path, *, context: int = 65_536, turns: int = 6
) -> list[PlayedTurn]:
    drawn = draw_scenario(5, questions=3)
    workload = replace(drawn.workload, max_turns=turns)
    folder.mkdir(exist_ok=True)
    return list(
        play_episode(
            engine,
            chat,
            workload,
            workload.scenarios[0],
            folder=folder,
            listing="names",
            top_logprobs=0,
            context=context,
        )
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), mistakes=st.sampled_from([0.0, 0.2, 0.5]))
def test_the_oracle_answers_everything_even_with_mistakes(
    chat: ChatForm, tmp_path_factory: pytest.TempPathFactory, seed: int, mistakes: float
) -> None:
    turns, flawed = play_oracle(seed, chat, tmp_path_factory.mktemp("w"), listing="names", mistakes=mistakes)
    answers = [played.turn.answer for played in turns if played.turn.answer]
    right = [answer.question for answer in answers if answer.correct]
    assert right == list(range(1, 11)) or mistakes
    assert mistakes or not flawed
    assert [played.turn.turn for played in turns] == list(range(len(turns)))


def test_a_prompt_is_the_last_prompt_the_output_and_what_is_appended(chat: ChatForm, tmp_path: Path) -> None:
    drawn = draw_scenario(5, questions=3)
    texts = [render_tool_call("list_files", {}), "I am thinking."] + [
        render_tool_call("answer", {"question": str(n), "value": answer})
        for n, (_, _, answer) in enumerate(drawn.asked, 1)
    ]
    engine = Scripted(chat, texts)
    turns = play(engine, chat, tmp_path / "w")
    assert [played.turn.answer.correct for played in turns if played.turn.answer] == [True] * 3
    prompt: list[int] = []
    for played, seen in zip(turns, engine.prompts, strict=True):
        prompt += played.turn.appended_ids
        assert prompt == seen
        prompt += played.turn.output_ids
    assert NUDGE in chat.decode(turns[2].turn.appended_ids)


def test_growing_by_ids_is_rendering_the_whole_conversation(chat: ChatForm, tmp_path: Path) -> None:
    turns, flawed = play_oracle(7, chat, tmp_path, listing="names", mistakes=0.0)
    text = chat.decode(training_ids(turns, flawed)[0])
    think = "<think>\n\n</think>\n\n"
    assert (
        text.count("<|im_start|>")
        == 2 + 2 * len(turns) - 1 + sum(t.turn.answer is not None for t in turns) - 1
    )
    for played in turns[:-1]:
        assert (
            f"{think}{played.turn.text}<|im_end|>\n<|im_start|>user\n<tool_response>\n{played.turn.tool_results[0]}"
            in text
        )


def test_a_generation_that_was_cut_is_ended_by_the_client(chat: ChatForm, tmp_path: Path) -> None:
    turns = play(
        Scripted(chat, ["<tool_call>\n<function=list_files>"], "length"), chat, tmp_path / "w", turns=2
    )
    assert turns[0].turn.finish_reason == "length"
    assert turns[1].turn.appended_ids[0] == chat.stop_ids[0]
    assert turns[0].turn.tool_results == ["error: the call has no closing </tool_call>"]


def test_a_question_takes_at_most_its_turns(chat: ChatForm, tmp_path: Path) -> None:
    turns = play(Scripted(chat, ["No."]), chat, tmp_path / "w", turns=2)
    assert [played.question for played in turns] == [1, 1, 2, 2, 3, 3]
    assert all(played.turn.answer is None for played in turns)


def test_an_answer_to_another_question_is_refused(chat: ChatForm, tmp_path: Path) -> None:
    wrong = render_tool_call("answer", {"question": "2", "value": "1"})
    turns = play(Scripted(chat, [wrong]), chat, tmp_path / "w", turns=1)
    assert turns[0].turn.tool_results == ["error: question 1 is being asked"]
    assert turns[1].turn.answer is not None and turns[1].turn.answer.question == 2


def test_an_episode_ends_where_the_context_does(chat: ChatForm, tmp_path: Path) -> None:
    turns = play(Scripted(chat, ["No."]), chat, tmp_path / "w", context=1)
    assert turns == []
    first = play(Scripted(chat, ["No."]), chat, tmp_path / "v", context=1200, turns=1000)
    ids = sum(len(played.turn.appended_ids) + len(played.turn.output_ids) for played in first)
    assert 0 < ids <= 1200 and first[-1].question == 1


def test_text_of_a_tool_cannot_pass_for_an_answer(chat: ChatForm, tmp_path: Path) -> None:
    two = render_tool_call("answer", {"question": "1", "value": "0"}) * 2
    turns = play(Scripted(chat, [two]), chat, tmp_path / "w", turns=1)
    assert turns[0].turn.tool_results[0] == "recorded"
    assert turns[0].turn.tool_results[1] == "error: question 2 is being asked"


def test_the_oracle_is_drawn_by_its_seed(chat: ChatForm, tmp_path: Path) -> None:
    drawn = draw_scenario(11)
    made = [OracleEngine(chat, drawn.chart, drawn.asked, random.Random(3))._script for _ in range(2)]
    assert made[0] == made[1]
