"""Figures in words, as every message and page writes them."""

from __future__ import annotations


def count(number: int, thing: str) -> str:
    """A number of things: 1 replay, 1,200 replays."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
