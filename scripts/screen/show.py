"""The process that owns the terminal while a workflow runs: it reads what the workflow prints and draws one screen."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.screen.draw import render
from scripts.screen.output import Output
from scripts.screen.work import Plan, Work, find_running

END = "\x1e"  # a line that the workflow sends when it is done; its jobs may live on a moment
INTERVAL = 0.5  # seconds between two looks
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the terminal's other page, without a cursor


def show(source: int, terminal: int, root: Path) -> None:
    """Draw on `terminal` what the workflow that prints into `source` does, until it ends; then say how it ended.

    What it prints before its first job is passed on as it is. The first line of `source` is
    JSON: the title, and the plan of each cell. Ctrl-C is the workflow's: what it says of it is still shown.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines = Lines(source)
    begun = time.time()
    first = lines.first()
    if first is None:
        return
    plans = [Plan(**each) for each in first["cells"]]
    output, work, drawn = Output(), Work(root, plans, begun), False
    write = writer(terminal)
    try:
        while not lines.ended:
            for line in lines.wait(INTERVAL):
                output.add(line)
                if not output.begun:
                    write(f"{line}\r\n")
            if output.begun:
                running = find_running(root, plans, begun)
                now = time.time()
                size = os.get_terminal_size(terminal)
                screen = render(
                    title=first["title"],
                    steps=output.steps,
                    left=work.left(now, output.measured, running),
                    running=running,
                    last=output.last(size.lines),
                    begun=begun,
                    now=now,
                    size=size,
                )
                write(("" if drawn else ENTER) + page(screen))
                drawn = True
    finally:
        write((LEAVE if drawn else "") + "".join(f"{line}\r\n" for line in output.conclusion()))


def page(lines: Sequence[str]) -> str:
    """The lines in place of those before them; the last one is not ended, so that nothing scrolls."""
    return "\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J"


def writer(terminal: int) -> Callable[[str], None]:
    """What writes text to the terminal, all of it; nothing once the terminal is gone."""

    def _write(text: str) -> None:
        rest = text.encode(errors="replace")
        try:
            while rest:
                rest = rest[os.write(terminal, rest) :]
        except OSError:
            return

    return _write


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
        lines = [line.decode(errors="replace").rpartition("\r")[2].rstrip() for line in whole]
        if END in lines:
            self.ended = True
            del lines[lines.index(END) :]
        return lines
