"""A session's progress: one line that is written over on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

PLAIN_INTERVAL = 5.0  # seconds between two lines where there is no terminal
TERMINAL_INTERVAL = 0.1


class Progress:
    """Counts tokens and says where the session stands."""

    def __init__(
        self, title: str, replays: int, stream: TextIO = sys.stderr, *, unit: str = "replay"
    ) -> None:
        self._title, self._replays, self._stream, self._unit = title, replays, stream, unit
        self._terminal = stream.isatty()
        self._tokens, self._seconds = 0, 0.0
        self._said = time.monotonic()

    def turn(self, replay: int, scenario: str, question: str, tokens: int, seconds: float) -> None:
        """A turn was played: `tokens` generated in `seconds`."""
        self.step(replay, f"{scenario} · question {question}", tokens, seconds)

    def step(self, number: int, where: str, tokens: int, seconds: float) -> None:
        """Something was done: so many `tokens` generated, or read, in `seconds`."""
        self._tokens, self._seconds = self._tokens + tokens, self._seconds + seconds
        now = time.monotonic()
        if now - self._said < (TERMINAL_INTERVAL if self._terminal else PLAIN_INTERVAL):
            return
        self._said = now
        self._write(f"{self._unit} {number + 1}/{self._replays} · {where}")

    def done(self) -> None:
        """The session has ended well."""
        self._write(f"{self._replays} {self._unit}s done")
        if self._terminal:
            self._stream.write("\n")

    def _write(self, where: str) -> None:
        rate = self._tokens / self._seconds if self._seconds else 0.0
        line = f"{self._title} · {where} · {self._tokens} tokens · {rate:.0f} tokens/s"
        self._stream.write(f"\r\033[K{line}" if self._terminal else f"{line}\n")
        self._stream.flush()
