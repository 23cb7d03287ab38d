"""Runs a server and sees to its end: `python -m scripts.engines.guard_process COMMAND…`.

It reads its standard input, the pipe of whoever started it, and takes its end (closed, or its owner dead by whatever
signal) as the order to stop. It ends when the server and all processes that the server started are gone, with the
server's exit status (128 + n where signal n ended it). It must run in a session of its own, so that a Ctrl-C reaches
the owner alone.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.1
GRACE_SECONDS = 15.0


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _die_with_guard() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _ordered_to_stop(selector: selectors.BaseSelector) -> bool:
    """Wait a moment; True once the pipe has ended."""
    return any(os.read(0, 4096) == b"" for _ in selector.select(POLL_SECONDS))


def _end(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _reap() -> None:
    """Collect what was handed down to this process and has ended."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


def _end_all() -> None:
    """End every descendant: asked first, then killed, until none is left."""
    until = time.monotonic() + GRACE_SECONDS
    asked: set[int] = set()
    while left := psutil.Process().children(recursive=True):
        new = [process for process in left if process.pid not in asked]
        _end(new, signal.SIGTERM)
        asked |= {process.pid for process in new}
        if time.monotonic() > until:
            _end(left, signal.SIGKILL)
        time.sleep(0.05)
        _reap()


def main() -> int:
    """Run the command, guard it, end with its status."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    def start() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _die_with_guard()

    server = subprocess.Popen(
        sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=start
    )
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        while server.poll() is None and not _ordered_to_stop(selector):
            pass
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    code = server.returncode
    _end_all()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
