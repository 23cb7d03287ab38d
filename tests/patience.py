"""How long a test waits. No measure of speed: that is for the benchmarks, on a machine with nothing beside it."""

from __future__ import annotations

import time
from collections.abc import Callable

HANGS = 900.0
"""Seconds after which something hangs; a machine that tests share can be many times slower than it is."""
ENDS = 60.0
"""Seconds in which what a signal ends is gone, with all that it started: seconds are promised."""


def wait_until(holds: Callable[[], object], why: Callable[[], object] = str, seconds: float = HANGS) -> None:
    """Return once it holds; AssertionError with what `why` says after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)
