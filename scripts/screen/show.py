"""The process that owns the terminal while a workflow runs: it reads what the workflow prints and draws one screen."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.screen.draw import render
from scripts.screen.foreground import is_foreground
from scripts.screen.output import Output
from scripts.screen.work import Plan, Work, find_running

END = "\x1e"  # a line that the workflow sends when it is done; its jobs may live on a moment
INTERVAL = 0.5  # seconds between two looks
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the terminal's other page, without a cursor


def show(source: int, terminal: int, root: Path) -> None:
    """Draw on `terminal` what the workflow that prints into `source` does, until it ends; then say how it ended.

    What it prints before its first job is passed on as it is. The first line of `source` is
    JSON: the title, and the plan of each cell. Ctrl-C and the like are the workflow's: what it says of them is
    still shown, and the terminal is left as it was found.
    """
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(each, signal.SIG_IGN)
    lines = Lines(source)
    begun = time.time()
    first = lines.first()
    if first is None:
        return
    plans = [Plan(**each) for each in first["cells"]]
    output, work, screen = Output(), Work(root, plans, begun), Screen(terminal)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])
    signal.signal(signal.SIGTSTP, lambda _signal, _frame: screen.suspend())
    try:
        while not lines.ended:
            # Ctrl-Z is heeded while nothing is half drawn.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTSTP])
            heard = lines.wait(INTERVAL)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])
            for line in heard:
                output.add(line)
                if not output.begun:
                    screen.write(f"{line}\r\n")
            if output.begun and is_foreground(terminal):
                running = find_running(root, plans, begun)
                now, size = time.time(), screen.size()
                drawn = render(
                    title=first["title"],
                    steps=output.steps,
                    left=work.left(now, output.measured, running),
                    running=running,
                    last=output.last(size[1]),
                    begun=begun,
                    now=now,
                    size=size,
                )
                screen.draw(drawn)
    finally:
        screen.leave()
        screen.write("".join(f"{line}\r\n" for line in output.conclusion()))


def page(lines: Sequence[str]) -> str:
    """The lines in place of those before them.

    The last one is not ended, so that nothing scrolls; what was there is erased before a line is written, since
    after a line as wide as the terminal the cursor stands on its last letter.
    """
    last = len(lines) - 1
    drawn = [f"\x1b[{'K' if index < last else 'J'}{line}" for index, line in enumerate(lines)]
    return "\x1b[H" + "\r\n".join(drawn)


class Screen:
    """The terminal, on its other page while something is drawn."""

    def __init__(self, terminal: int) -> None:
        self._terminal, self._entered = terminal, False

    def size(self) -> tuple[int, int]:
        """Columns and lines; where the terminal does not know, as many as terminals used to have."""
        try:
            columns, lines = os.get_terminal_size(self._terminal)
        except OSError:
            columns, lines = 0, 0
        return columns or 80, lines or 24

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines and no others."""
        self.write(("" if self._entered else ENTER) + page(lines))
        self._entered = True

    def leave(self) -> None:
        """Back to the page where the person was."""
        if self._entered:
            self.write(LEAVE)
        self._entered = False

    def suspend(self) -> None:
        """Stop as Ctrl-Z asks, the terminal given back to the shell; it is taken again when the shell goes on."""
        self.leave()
        os.kill(os.getpid(), signal.SIGSTOP)

    def write(self, text: str) -> None:
        """Write the text, all of it; nothing once the terminal is gone."""
        rest = text.encode(errors="replace")
        try:
            while rest:
                rest = rest[os.write(self._terminal, rest) :]
        except OSError:
            return


class Lines:
    """The lines that come out of a pipe."""

    def __init__(self, source: int) -> None:
        self._source, self._rest = source, b""
        self.ended = False

    def first(self) -> dict[str, Any] | None:
        """The first line, which is JSON; None where the pipe ends before it."""
        while b"\n" not in self._rest:
            if not (more := os.read(self._source, 65536)):
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return dict(json.loads(line))

    def wait(self, seconds: float) -> list[str]:
        """The lines that came within so many seconds, or earlier; `ended` is set at the end."""
        ready, _, _ = select.select([self._source], [], [], seconds)
        if ready:
            more = os.read(self._source, 65536)
            self._rest += more
            self.ended = not more
        *whole, self._rest = self._rest.split(b"\n")
        if self.ended and self._rest:
            whole.append(self._rest)
        lines = [line.decode(errors="replace").rstrip(" \t\r").rpartition("\r")[2] for line in whole]
        if END in lines:
            self.ended = True
            del lines[lines.index(END) :]
        return lines
