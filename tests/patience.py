"""How long a test waits before it says that something hangs.

No measure of speed: how fast something ends is for the benchmarks, on a machine with nothing beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

HANGS = 900.0
"""Seconds; a machine that tests share can be many times slower than it is."""


def wait_until(holds: Callable[[], object], why: Callable[[], object] = str, often: float = 0.1) -> None:
    """Return once it holds; AssertionError with what `why` says after HANGS seconds.

    It is looked at every `often` seconds.
    """
    deadline = time.monotonic() + HANGS
    while not holds():
        assert time.monotonic() < deadline, why()
        time.sleep(often)
