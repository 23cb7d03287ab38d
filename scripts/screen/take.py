"""Giving the terminal to the screen: what a workflow and its jobs print goes through a pipe from then on."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Sequence

import msgspec

from scripts.screen.work import Plan

END = "\x1e"  # a line that the workflow sends when it is done; its jobs may live on a moment

VARIABLE = "TEMPZERO_PLAIN"
PATIENCE = 10  # seconds that the screen gets to say its last words


class Given(msgspec.Struct, frozen=True):
    """What the screen is told first: its title, and the plan of each cell."""

    title: str
    cells: list[Plan]


def is_foreground(terminal: int) -> bool:
    """Whether what this process draws on the terminal is what the person waits for: false after `&` or `bg`."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True  # nobody's jobs are controlled there


def wants_screen() -> bool:
    """Whether stderr is a terminal that can be drawn on and waits for this, and TEMPZERO_PLAIN is not set."""
    able = os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get(VARIABLE)
    return able and sys.stderr is not None and sys.stderr.isatty() and is_foreground(sys.stderr.fileno())


def take_terminal(title: str, plans: Sequence[Plan]) -> None:
    """Show this process and what it starts on one screen until it ends.

    Standard error, and standard output where it is a terminal too, become a pipe to a process that draws; both are
    the terminal again before this process ends. Where it is killed, the pipe's end ends the screen.
    """
    shown = [stream for stream in (sys.stdout, sys.stderr) if stream is not None and stream.isatty()]
    descriptors = [stream.fileno() for stream in shown]
    terminal = os.dup(sys.stderr.fileno())
    source, sink = os.pipe()
    command = [sys.executable, "-m", "scripts.show_progress"]
    screen = subprocess.Popen(command, stdin=source, stdout=terminal, stderr=terminal)
    os.close(source)
    os.write(sink, msgspec.json.encode(Given(title, list(plans))) + b"\n")
    for stream, descriptor in zip(shown, descriptors, strict=True):
        stream.flush()
        os.dup2(sink, descriptor)
    os.close(sink)
    atexit.register(_give_back, screen, terminal, descriptors, os.getpid())


def _give_back(screen: subprocess.Popen[bytes], terminal: int, descriptors: Sequence[int], pid: int) -> None:
    """End the screen and have the terminal back, in the process that gave it and in no fork of it."""
    if os.getpid() != pid:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(descriptors[-1], f"\n{END}\n".encode())
    except OSError:
        pass  # the screen has ended before
    for descriptor in descriptors:
        os.dup2(terminal, descriptor)
    try:
        screen.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        screen.kill()
