"""Figures in words, as every message and page writes them."""

from __future__ import annotations

import re


def count(number: int, thing: str) -> str:
    """A number of things: 1 replay, 1,200 replays."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def bare(text: str) -> str:
    """Its letters and digits alone, small, so that `--moe-backend` is `moe_backend` is "MoE backend"."""
    return re.sub(r"[^a-z0-9]", "", text.lower())
