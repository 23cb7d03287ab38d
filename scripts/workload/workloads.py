"""A workload: scenarios, their files, their questions with the true answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from scripts.common.files import canonical_json, sha256_bytes
from scripts.records.base import JsonObject
from scripts.records.settings import GREEDY, Sampling
from scripts.workload.workspace import Limits


@dataclass(frozen=True)
class Question:
    """One question: its number in the scenario (from 1), its text, its true answer.

    `tolerance`: how far a number may be off; None asks for the exact text (case and spaces apart).
    """

    number: int
    text: str
    answer: str
    tolerance: str | None

    def is_correct(self, value: str) -> bool:
        """Whether `value` answers the question."""
        given = value.strip().lower()
        if given == self.answer.strip().lower():
            return True
        if self.tolerance is None:
            return False
        try:
            return abs(Decimal(given) - Decimal(self.answer)) <= Decimal(self.tolerance)
        except InvalidOperation:
            return False


@dataclass(frozen=True)
class Scenario:
    """One chart, or whatever its files hold, with its questions."""

    name: str
    intro: str
    files: dict[str, str]
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Request:
    """One chat request, an episode of one turn. `options`: the fields of its body beside messages and tools.

    `max_tokens`: ids its answer may have. A JsonObject is somebody's request as he wrote it.
    """

    name: str
    messages: list[JsonObject]
    tools: list[JsonObject]
    options: JsonObject
    max_tokens: int

    @property
    def body(self) -> JsonObject:
        """What a chat endpoint is sent of it, its keys in the order they were given in."""
        return {"messages": self.messages, **({"tools": self.tools} if self.tools else {}), **self.options}


@dataclass(frozen=True)
class Workload:
    """What a replay asks: scenarios, or requests. `max_tokens`: ids a generation may have; `max_turns`: generations a
    question may take; `sampling`: how each id is drawn.
    """

    name: str
    system: str
    scenarios: tuple[Scenario, ...]
    max_tokens: int
    max_turns: int
    limits: Limits
    requests: tuple[Request, ...] = ()
    sampling: Sampling = GREEDY

    @property
    def episodes(self) -> tuple[Scenario | Request, ...]:
        """What a replay plays, one after the other."""
        return (*self.scenarios, *self.requests)

    @property
    def questions(self) -> int:
        """How many questions a replay asks."""
        return sum(len(scenario.questions) for scenario in self.scenarios)

    @property
    def sha256(self) -> str:
        """The sha256 of all that is asked: texts, files and answers as they came out, not as they are written."""
        content: JsonObject = {
            "system": self.system,
            "max_tokens": self.max_tokens,
            "max_turns": self.max_turns,
            "limits": [self.limits.file_bytes, self.limits.files],
            "scenarios": [
                [s.name, s.intro, s.files, [[q.number, q.text, q.answer, q.tolerance] for q in s.questions]]
                for s in self.scenarios
            ],
        }
        if self.requests:
            # In the order of the keys as they are written: a template prints a tool's description in it.
            content["requests"] = [json.dumps([r.name, r.body, r.max_tokens]) for r in self.requests]
        if self.sampling != GREEDY:
            content["sampling"] = self.sampling.as_json()
        return sha256_bytes(canonical_json(content).encode())
