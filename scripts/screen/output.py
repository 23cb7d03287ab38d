"""What a workflow prints, line by line: jobs that are to be done and are done, and what is worth showing."""

from __future__ import annotations

import re
from collections import deque

_STEPS = re.compile(r"(\d+) of (\d+) steps \(.*\) done")
_JOB = re.compile(r"Job \d+: ")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_COUNT = re.compile(r"(\w+)\s+(\d+)")
_FAILED = re.compile(r"Error in |.*[Ee]xception|error: |Exiting because|.*Error:")
_ROUTINE = re.compile(
    r"\[\w{3} \w{3} .* \d{4}\]|Reasons?:.*|Finished jobid: .*|Select jobs to execute\.\.\.|Execute \d+ jobs\.\.\."
    r"|\d+ of \d+ steps .*|Building DAG of jobs.*|Using shell: .*|Provided cores: .*|Rules claiming more.*|\s*"
)
RULES = ("run_session", "force_cell")
KEPT = 200  # lines that an error may be told with


class Output:
    """The lines of one workflow, as they come. `measured`: how many sessions and forced replays it is to run."""

    def __init__(self) -> None:
        self.begun = False
        self.steps: tuple[int, int] | None = None
        self.measured = 0
        self._in_stats = False
        self._shown: deque[str] = deque(maxlen=KEPT)
        self._since_finished: deque[str] = deque(maxlen=KEPT + 1)
        self._failure: list[str] | None = None

    def add(self, line: str) -> None:
        """One more line, without its end; colours are left out."""
        line = _COLOUR.sub("", line)
        self._count(line)
        if line.startswith("Execute ") and not self.begun:
            self.begun = True
            self._shown.clear()  # what came before stays on the terminal
        elif match := _STEPS.match(line):
            self.steps = int(match[1]), int(match[2])
        if not _ROUTINE.fullmatch(line):
            self._shown.append(line)
        if line.startswith("Finished jobid"):
            self._since_finished.clear()
        else:
            self._since_finished.append(line)
        if self._failure is not None:
            self._failure.append(line)
        elif _FAILED.match(line):
            self._failure = [*self._since_finished]

    def last(self, count: int) -> list[str]:
        """The last lines that say more than that a job began or ended."""
        return list(self._shown)[-count:] if count > 0 else []

    def conclusion(self) -> list[str]:
        """What is to stay on the terminal when the screen goes: a failure in full, else the last that was said."""
        if not self.begun:
            return []
        if self._failure is not None:
            if len(self._failure) <= KEPT:
                return self._failure
            return [*self._failure[: KEPT // 2], "…", *self._failure[-KEPT // 2 :]]
        return [line for line in self.last(10) if not _JOB.match(line)]

    def _count(self, line: str) -> None:
        if line.startswith("Job stats:"):
            self._in_stats, self.measured = True, 0
        elif self._in_stats and (match := _COUNT.fullmatch(line)):
            if match[1] == "total":
                self._in_stats = False
                self.steps = 0, int(match[2])
            elif match[1] in RULES:
                self.measured += int(match[2])
