"""The process that owns the terminal while a workflow runs: it reads what the workflow prints and draws one screen."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from scripts.screen.draw import render
from scripts.screen.output import Output
from scripts.screen.take import END, Given, is_foreground
from scripts.screen.work import Work, find_running

INTERVAL = 0.5  # seconds between two looks
SUSPEND = "\x1a"  # what Ctrl-Z types
Heard = queue.SimpleQueue[str]


def show(source: int, terminal: int, root: Path) -> None:
    """Draw on `terminal` what the workflow that prints into `source` does, until it ends; then say how it ended.

    What it prints before its first job is passed on as it is. The first line of `source` is what `take_terminal`
    gives. Ctrl-C and the like are the workflow's: what it says of them is still shown, and the terminal is left as
    it was found. Once the terminal is gone nothing is shown, and the workflow goes on.
    """
    heard: Heard = queue.SimpleQueue()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGTSTP, lambda _signal, _frame: heard.put(SUSPEND))
    begun, lines = time.time(), open(source, "rb")
    if not (first := lines.readline()):
        return
    given = msgspec.json.decode(first, type=Given)
    threading.Thread(target=hear, args=(lines, heard), daemon=True).start()
    page = other_page(open(terminal, "w", encoding="utf-8", errors="replace", closefd=False))
    output, work = Output(), Work(root, given.cells, begun)
    while (line := _next(heard)) != END:
        with contextlib.suppress(OSError):
            if line == SUSPEND:  # heeded while nothing is half drawn
                page.stop()
                os.kill(os.getpid(), signal.SIGSTOP)
            elif line is not None:
                output.add(line)
                if not output.begun:
                    print(line, file=page.console.file, flush=True)
            if output.begun and heard.empty() and is_foreground(terminal):
                now, running, height = (
                    time.time(),
                    find_running(root, given.cells, begun),
                    page.console.height,
                )
                left = work.left(now, output.measured, running)
                last = output.last(height)
                draw(page, render(given.title, output.steps, left, running, last, begun, now, height))
    with contextlib.suppress(OSError):
        page.stop()
        print(
            *(f"{line}\n" for line in output.conclusion()), sep="", end="", file=page.console.file, flush=True
        )


def other_page(file: TextIO) -> Live:
    """The terminal's other page, as large as it is at the time, to `draw` on; `stop` goes back to the first."""
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)  # as large as it was once
    console = Console(file=file, force_terminal=True, force_jupyter=False, color_system=None)
    return Live(
        console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    )


def draw(page: Live, lines: Sequence[str]) -> None:
    """Show these lines and no others, each as far as there is room."""
    page.start()
    page.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)


def hear(lines: Iterable[bytes], heard: Heard) -> None:
    """Put every line that comes, without its end and what was written over; END at the end."""
    for line in lines:
        heard.put(text := line.decode(errors="replace").rstrip(" \t\r\n").rpartition("\r")[2])
        if text == END:
            return
    heard.put(END)


def _next(heard: Heard) -> str | None:
    """The next line; None where none comes for an INTERVAL."""
    with contextlib.suppress(queue.Empty):
        return heard.get(timeout=INTERVAL)
    return None
