"""The agent loop: one scenario played by one engine, turn by turn, in one conversation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.common.protocol import Engine
from scripts.records.settings import Listing
from scripts.records.transcript import Answer, ServerSaid, ToolCall, Turn, TurnLogprobs
from scripts.workload.chat import ChatForm, Message
from scripts.workload.text_form import TextForm
from scripts.workload.toolcalls import ParsedCall, parse_native_call, parse_tool_calls
from scripts.workload.workloads import Question, Request, Scenario, Workload
from scripts.workload.workspace import TOOLS, Workspace, check_call

TOOL_SCHEMAS = [tool.schema() for tool in TOOLS]
RECORDED = "recorded"
NUDGE = "Call a tool. Give your answer with the tool answer."
TIME_UP = "That took too many turns."


@dataclass(frozen=True)
class PlayedTurn:
    """One turn as it happened: the two records, the question it was about.

    `seconds`: what its generation took. `prompt_tokens`: ids of its whole prompt; `cached_tokens`: those of them that
    the engine took from its cache, None where it does not say. `said`: what a server that was not started here said of
    itself beside it.
    """

    turn: Turn
    logprobs: TurnLogprobs | None
    seconds: float
    question: int
    prompt_tokens: int
    cached_tokens: int | None
    said: ServerSaid | None = None


def question_text(question: Question) -> str:
    """A question as the user asks it."""
    return f"Question {question.number}: {question.text}"


def first_messages(workload: Workload, scenario: Scenario) -> list[Message]:
    """The conversation's beginning: the system's text, the scenario's introduction with its first question."""
    opening = f"{scenario.intro}\n\n{question_text(scenario.questions[0])}"
    return [{"role": "system", "content": workload.system}, {"role": "user", "content": opening}]


def opening_prompt(chat: ChatForm | TextForm, workload: Workload, episode: Scenario | Request) -> list[int]:
    """The ids of an episode's first prompt."""
    if isinstance(episode, Request):
        return chat.request_prompt(episode)
    return chat.first_prompt(first_messages(workload, episode), TOOL_SCHEMAS)


def ask_request(
    engine: Engine, chat: ChatForm | TextForm, workload: Workload, request: Request, *, top_logprobs: int
) -> PlayedTurn:
    """Ask one request: an episode of one turn, in which no tool is run."""
    prompt = chat.request_prompt(request)
    started = time.perf_counter()
    made = engine.generate(
        prompt,
        max_tokens=request.max_tokens,
        stop_ids=chat.stop_ids,
        top_logprobs=top_logprobs,
        sampling=workload.sampling,
    )
    seconds = time.perf_counter() - started
    stopped = made.finish_reason == "stop"
    turn = Turn(
        scenario=request.name,
        turn=0,
        appended_ids=prompt,
        output_ids=made.output_ids,
        finish_reason=made.finish_reason,
        text=chat.decode(made.output_ids[:-1] if stopped else made.output_ids),
        tool_calls=[],
        tool_results=[],
        answer=None,
        thoughts=made.thoughts,
        native_calls=list(made.native_calls),
        refusal=made.refusal,
    )
    logprobs = (
        None
        if made.chosen is None or made.top is None
        else TurnLogprobs(scenario=request.name, turn=0, chosen=list(made.chosen), top=made.top)
    )
    return PlayedTurn(turn, logprobs, seconds, 0, len(prompt), made.cached_tokens, made.said)


class _Progress:
    """Where an episode stands: the question asked, and how many turns it has taken."""

    def __init__(self, questions: tuple[Question, ...], max_turns: int) -> None:
        self.questions, self.max_turns = questions, max_turns
        self.index = self.turns = 0

    @property
    def question(self) -> Question | None:
        return self.questions[self.index] if self.index < len(self.questions) else None

    def advance(self) -> None:
        self.index, self.turns = self.index + 1, 0


def _answer(call: ParsedCall, question: Question | None) -> tuple[str, Answer | None]:
    problem = check_call(call, next(tool for tool in TOOLS if tool.name == "answer"))
    if problem is not None:
        return problem, None
    if question is None:
        return "error: every question has been answered", None
    number, value = call.arguments["question"].strip(), call.arguments["value"].strip()
    if number != str(question.number):
        return f"error: question {question.number} is being asked", None
    return RECORDED, Answer(question=question.number, value=value, correct=question.is_correct(value))


def play_episode(
    engine: Engine,
    chat: ChatForm | TextForm,
    workload: Workload,
    scenario: Scenario,
    *,
    folder: Path,
    listing: Listing,
    top_logprobs: int,
    context: int,
) -> Iterator[PlayedTurn]:
    """Play `scenario` in the empty `folder`, one `PlayedTurn` a generation.

    `context`: ids that prompt and generation may have together; an episode that reaches it ends there,
    its open questions unanswered. The engine's caches are the caller's to reset.
    """
    workspace = Workspace(folder, scenario.files, limits=workload.limits, listing=listing)
    progress = _Progress(scenario.questions, workload.max_turns)
    opening = first_messages(workload, scenario)
    prompt = chat.first_prompt(opening, TOOL_SCHEMAS)
    appended, number = list(prompt), 0
    while progress.question is not None and len(prompt) + workload.max_tokens <= context:
        asked = progress.question.number
        started = time.perf_counter()
        made = engine.generate(
            prompt,
            max_tokens=workload.max_tokens,
            stop_ids=chat.stop_ids,
            top_logprobs=top_logprobs,
            sampling=workload.sampling,
        )
        seconds = time.perf_counter() - started
        stopped = made.finish_reason == "stop"
        text = chat.decode(made.output_ids[:-1] if stopped else made.output_ids)
        written = parse_tool_calls(text)
        calls = [*written, *map(parse_native_call, made.native_calls)]
        results: list[str] = []
        answer: Answer | None = None
        for call in calls:
            if call.name == "answer" and call.error is None:
                result, given = _answer(call, progress.question)
                if given is not None:
                    answer = given
                    progress.advance()
            else:
                result = workspace.call(call)
            results.append(result)
        new: list[Message] = [{"role": "tool", "content": result} for result in results]
        for message in new[len(written) :]:
            message["native"] = True
        if answer is None:
            progress.turns += 1
            say = "" if calls else NUDGE
            if progress.turns >= progress.max_turns:
                progress.advance()
                say = TIME_UP
        else:
            say = ""
        if progress.question is not None:
            if progress.question.number != asked:
                say = f"{say}\n\n{question_text(progress.question)}".strip()
            if say:
                new.append({"role": "user", "content": say})
        yield PlayedTurn(
            Turn(
                scenario=scenario.name,
                turn=number,
                appended_ids=appended,
                output_ids=made.output_ids,
                finish_reason=made.finish_reason,
                text=text,
                tool_calls=[ToolCall(name=call.name, arguments={**call.arguments}) for call in calls],
                tool_results=results,
                answer=answer,
                thoughts=made.thoughts,
                native_calls=list(made.native_calls),
                refusal=made.refusal,
            ),
            None
            if made.chosen is None or made.top is None
            else TurnLogprobs(scenario=scenario.name, turn=number, chosen=list(made.chosen), top=made.top),
            seconds,
            asked,
            len(prompt),
            made.cached_tokens,
            made.said,
        )
        if progress.question is None:
            return
        appended = chat.next_prompt(opening, new, TOOL_SCHEMAS, stopped=stopped)
        prompt = [*prompt, *made.output_ids, *appended]
        number += 1
