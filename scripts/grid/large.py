"""What makes a grid of thousands of cells quick to look at."""

from __future__ import annotations

import gc


def expect_many_jobs() -> None:
    """Look for garbage rarely: jobs stay until the end, and to look through them again and again takes time."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
