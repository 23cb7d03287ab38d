"""A workload: scenarios, their files, their questions with the true answers."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from scripts.common.files import canonical_json, sha256_bytes
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
class Workload:
    """What a replay asks. `max_tokens`: ids a generation may have; `max_turns`: generations a question may take."""

    name: str
    system: str
    scenarios: tuple[Scenario, ...]
    max_tokens: int
    max_turns: int
    limits: Limits

    @property
    def questions(self) -> int:
        """How many questions a replay asks."""
        return sum(len(scenario.questions) for scenario in self.scenarios)

    @property
    def sha256(self) -> str:
        """The sha256 of all that is asked: texts, files and answers as they came out, not as they are written."""
        content = {
            "system": self.system,
            "max_tokens": self.max_tokens,
            "max_turns": self.max_turns,
            "limits": [self.limits.file_bytes, self.limits.files],
            "scenarios": [
                [s.name, s.intro, s.files, [[q.number, q.text, q.answer, q.tolerance] for q in s.questions]]
                for s in self.scenarios
            ],
        }
        return sha256_bytes(canonical_json(content).encode())
