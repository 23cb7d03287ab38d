"""Whose the terminal is."""

from __future__ import annotations

import os


def is_foreground(terminal: int) -> bool:
    """Whether what this process draws on the terminal is what the person waits for: false after `&` or `bg`."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True  # nobody's jobs are controlled there
