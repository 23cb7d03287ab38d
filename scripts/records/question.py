"""A cell's question, "is the rate at most r0 or at least r1?": as a grid asks it, and what sessions answered."""

from __future__ import annotations

from typing import Literal

from scripts.records.base import FileRecord, Record

Answered = Literal["at most r0", "at least r1"]


class Budget(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What may be spent on a question."""

    sessions: int = 100
    """Sessions at most."""
    tokens: int | None = None
    """Generated tokens after which no other session is begun; missing is no bound."""

    def is_spent(self, sessions: int, tokens: int) -> bool:
        """Whether so many sessions, or so many generated tokens, are all that it allows."""
        return sessions >= self.sessions or (self.tokens is not None and tokens >= self.tokens)


class QuestionAsked(Record, frozen=True, kw_only=True):
    """The sequential test's question, all that a grid leaves out filled in."""

    r0: float
    """The lower rate, flips per `per` tokens."""
    r1: float
    """The higher rate."""
    budget: Budget
    """What may be spent on it."""
    per: int = 1000
    """Tokens that r0 and r1 are given for: 1, 1000 or 10000."""
    alpha: float = 0.05
    """The chance of the answer r1 where the rate is r0 or less."""
    beta: float = 0.05
    """The chance of the answer r0 where the rate is r1 or more."""


class QuestionFound(QuestionAsked, frozen=True, kw_only=True):
    """What the sessions so far answer."""

    answer: Answered | None
    """The answer; null while it is open."""
    after: int | None
    """After how many replays it came; null while it is open."""
    replays: int
    """Replays that were looked at."""
    flipped: int
    """Those of them whose ids parted from the largest group's."""
    evidence: float
    """The log likelihood ratio of all replays, r1 over r0."""
    bounds: tuple[float, float]
    """The answer is r0 below the first, r1 above the second."""
    spent: bool
    """Whether the budget is."""
    sentence: str
    """All of it for a reader."""

    @property
    def wants_more(self) -> bool:
        """Whether another session is needed."""
        return self.answer is None and not self.spent


class QuestionRound(FileRecord, QuestionFound, frozen=True, kw_only=True):
    """question/round-NN.json: the look after session NN."""

    sessions: int
    """How many sessions were looked at."""
    more: bool
    """Whether another one is needed."""
