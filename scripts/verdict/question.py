"""A cell's question, "is the rate at most r0 or at least r1?": what its replays answer, and whether more are needed.

After every session the sequential test looks at all replays so far. A replay flipped where the model's ids, not its
prompt, first part from the largest group's; its exposure is what was compared of it, or, where it flipped, would have
been. Sessions are taken as alike, and the sentence says so: where a start decides for all its replays, they are not
independent, and the error rates do not hold. Which group is largest can change from look to look, and what a replay
counts for with it.

While no two replays agree none of them is known not to have flipped: one is taken as such against r1, none for r0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from scripts.common.errors import ConfigError
from scripts.records.question import Answered, QuestionAsked, QuestionFound
from scripts.verdict.sequential import Decision, Question, decide, evidence, replays_needed

ALIKE = "taking sessions as alike"
ANSWERS: dict[Decision, Answered] = {"accept-r0": "at most r0", "accept-r1": "at least r1"}


@dataclass(frozen=True)
class Witness:
    """One replay: whether it flipped, and the tokens that were compared of it or would have been."""

    flipped: bool
    exposure: float


def read_question(asked: QuestionAsked, where: str = "question") -> Question:
    """The sequential test's question; ConfigError where it has no answer."""
    scale = 1000 / asked.per
    try:
        return Question(asked.r0 * scale, asked.r1 * scale, asked.alpha, asked.beta)
    except ValueError as error:
        raise ConfigError(
            f"the question has no answer: {error}",
            where=where,
            remedy="0 < r0 < r1, alpha and beta below 0.5",
        ) from error


def ask(witnesses: Sequence[Witness], agreeing: int, question: Question) -> tuple[Decision, int]:
    """The decision, and after how many replays it was reached; `agreeing`: the size of the largest equal group."""
    if len(witnesses) < 2:
        return "continue", len(witnesses)
    if agreeing >= 2:
        decision, count = decide(
            [float(each.flipped) for each in witnesses], [each.exposure for each in witnesses], question
        )
        return decision, max(2, count)
    against = weigh(witnesses, question) >= -math.log(question.alpha)
    return "accept-r1" if against else "continue", len(witnesses)


def weigh(witnesses: Sequence[Witness], question: Question) -> float:
    """The log likelihood ratio, r1 over r0, of all the replays."""
    return sum(evidence(each.flipped, each.exposure, question) for each in witnesses)


def account(
    asked: QuestionAsked, witnesses: Sequence[Witness], *, agreeing: int, sessions: int, tokens: int
) -> QuestionFound:
    """What the replays answer, after so many sessions and generated tokens; `agreeing` as in `ask`."""
    question = read_question(asked)
    decision, count = ask(witnesses, agreeing, question)
    found = QuestionFound(
        **msgspec.structs.asdict(asked),
        answer=ANSWERS.get(decision),
        after=count if decision in ANSWERS else None,
        replays=len(witnesses),
        flipped=sum(each.flipped for each in witnesses),
        evidence=weigh(witnesses, question),
        bounds=(math.log(question.beta), -math.log(question.alpha)),
        spent=asked.budget.is_spent(sessions, tokens),
        sentence="",
    )
    return msgspec.structs.replace(found, sentence=_sentence(found))


def check_budget(asked: QuestionAsked, *, replays: int, tokens_per_replay: float, where: str) -> None:
    """ConfigError where not even replays without a flip could answer within the budget.

    `replays` a session, of about `tokens_per_replay` each.
    """
    question, budget = read_question(asked, where), asked.budget
    needed = max(2, replays_needed(tokens_per_replay, question))
    room = budget.sessions * replays
    if room < needed:
        raise ConfigError(
            f"the budget of {room} replays cannot answer: without a single flip it takes {needed} replays of about "
            f"{tokens_per_replay:,.0f} tokens",
            where=where,
            remedy="raise the budget's sessions, move r0 and r1 apart, or mend estimate.tokens_per_replay",
        )
    least = math.ceil(1000 * -math.log(question.beta) / (question.r1 - question.r0))
    if budget.tokens is not None and budget.tokens < least:
        raise ConfigError(
            f"the budget of {budget.tokens:,} tokens cannot answer: without a single flip it takes {least:,}",
            where=where,
            remedy="raise the budget's tokens, or move r0 and r1 apart",
        )


def _sentence(found: QuestionFound) -> str:
    per = "a token" if found.per == 1 else f"per {found.per:,} tokens"
    r0, r1 = f"{found.r0:g}", f"{found.r1:g}"
    flipped = f"{found.flipped} of {found.replays} replays flipped"
    if found.answer is None:
        why = "the budget is spent" if found.spent else "so far"
        return f"at most {r0} or at least {r1} flips {per}: not answered, {why}; {flipped}, {ALIKE}"
    if found.answer == "at most r0":
        said, other, error = f"{r0} or fewer flips {per}", f"{r1} or more", found.beta
    else:
        said, other, error = f"{r1} or more flips {per}", f"{r0} or fewer", found.alpha
    return (
        f"{said} rather than {other}: answered after {found.after} replays, {flipped}; "
        f"with {other} the chance of this answer is at most {100 * error:g} %, {ALIKE}"
    )
