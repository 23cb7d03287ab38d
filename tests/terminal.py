"""A terminal for the tests: a pseudo-terminal with a process on it, and what a person would see there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wcwidth import wcwidth

from tests.patience import HANGS

_PIECE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|(.)", re.DOTALL)


class Page:
    """One page of a terminal: letters in cells, a cursor, and how often it scrolled."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self.cells = [[" "] * columns for _ in range(lines)]
        self.row = self.column = self.scrolled = 0
        self.history: list[str] = []

    @property
    def text(self) -> list[str]:
        """The lines as they stand there."""
        return ["".join(row).rstrip() for row in self.cells]

    def put(self, letter: str) -> None:
        """A letter at the cursor; in the next line where there is no room for it."""
        width = wcwidth(letter)
        assert width >= 0, f"{letter!r} is no letter"
        if width == 0:
            return
        if self.column + width > self.columns:
            self.column = 0
            self.feed()
        self.cells[self.row][self.column : self.column + width] = [letter, *[""] * (width - 1)]
        self.column += width

    def feed(self) -> None:
        """One line down."""
        if self.row < self.lines - 1:
            self.row += 1
            return
        self.scrolled += 1
        self.history.append("".join(self.cells.pop(0)).rstrip())
        self.cells.append([" "] * self.columns)

    def erase(self, what: str) -> None:
        """From the cursor, which stands on the last letter of a full line, to the end of the line or page."""
        column = min(self.column, self.columns - 1)
        self.cells[self.row][column:] = [" "] * (self.columns - column)
        if what == "J":
            for row in self.cells[self.row + 1 :]:
                row[:] = [" "] * self.columns


class Terminal:
    """What the bytes that a program writes look like. Knows no more than what is written here, and says so."""

    def __init__(self, columns: int, lines: int) -> None:
        self.main, self.other = Page(columns, lines), Page(columns, lines)
        self.page = self.main
        self.cursor = True
        self.entered = 0

    def write(self, text: str) -> None:
        """Take text as a terminal does."""
        for found in _PIECE.finditer(text):
            private, values, command, letter = found.groups()
            if letter == "\r":
                self.page.column = 0
            elif letter == "\n":
                self.page.feed()
            elif letter is not None:
                self.page.put(letter)
            elif private:
                self._mode(values, command == "h")
            elif command == "H" and not values:
                self.page.row = self.page.column = 0
            elif command in "KJ" and not values:
                self.page.erase(command)
            else:
                assert command == "m", found.group()

    def resize(self, columns: int, lines: int) -> None:
        """Another size; what is drawn anew is all that is kept."""
        is_other = self.page is self.other
        self.main, self.other = Page(columns, lines), Page(columns, lines)
        self.page = self.other if is_other else self.main

    def _mode(self, value: str, on: bool) -> None:
        if value == "25":
            self.cursor = on
        else:
            assert value == "1049"
            self.entered += on
            self.other = Page(self.main.columns, self.main.lines) if on else self.other
            self.page = self.other if on else self.main


class Process:
    """A process in the foreground of a terminal of its own."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        size: tuple[int, int] = (100, 30),
        known: bool = True,
        **more: Any,
    ) -> None:
        """`known`: the terminal knows its size; `more` goes to Popen."""
        self._master, slave = pty.openpty()
        columns, lines = size if known else (0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.terminal = Terminal(*size)
        self.raw = ""
        self.flags = termios.tcgetattr(slave)
        streams = {"stdin": slave, "stdout": slave, "stderr": slave, **more}
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=lambda: _take(slave),
            env={**environment(), **streams.pop("env", {})},
            **streams,
        )
        self.slave = slave

    def read(self, until: Callable[[], object], seconds: float = HANGS) -> None:
        """Take what is written until something holds; AssertionError with all of it where it does not."""
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, f"{self.raw[-4000:]!r}\n" + "\n".join(self.terminal.page.text)
            ready, _, _ = select.select([self._master], [], [], 0.05)
            if ready:
                with contextlib.suppress(OSError):  # nobody has it open any more
                    text = os.read(self._master, 65536).decode(errors="replace")
                    self.raw += text
                    self.terminal.write(text)

    def ended(self) -> bool:
        """Whether the process has ended and all that it wrote was read."""
        ready, _, _ = select.select([self._master], [], [], 0)
        return self.process.poll() is not None and not ready

    def type(self, text: str) -> None:
        """What a person types."""
        os.write(self._master, text.encode())

    def resize(self, columns: int, lines: int) -> None:
        """The window as large as that from now on."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.terminal.resize(columns, lines)

    def hang_up(self) -> None:
        """No terminal from now on."""
        for each in (self.slave, self._master):
            if each >= 0:
                os.close(each)
        self.slave = self._master = -1

    def close(self) -> None:
        """End whatever lives there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.hang_up()

    def is_as_it_was(self) -> bool:
        """Whether the terminal is on its page, with a cursor and the settings that it had."""
        flags = termios.tcgetattr(self.slave)
        return self.terminal.page is self.terminal.main and self.terminal.cursor and flags == self.flags


def environment() -> Mapping[str, str]:
    """This process's, as in a terminal that can be drawn on."""
    return {**{key: value for key, value in os.environ.items() if key != "TEMPZERO_PLAIN"}, "TERM": "xterm"}


@contextlib.contextmanager
def on_terminal(command: Sequence[str], **more: Any) -> Iterator[Process]:
    """A process on a terminal, which is gone afterwards."""
    process = Process(command, **more)
    try:
        yield process
    finally:
        process.close()


def _take(slave: int) -> None:
    """Have the terminal as the one that controls this process, and heed what is typed there."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for each in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(each, signal.SIG_DFL)
