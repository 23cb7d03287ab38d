"""With which caches a session began, and what auto-tuning chose in it."""

from __future__ import annotations

from typing import Literal

from scripts.records.base import Record, Value

CacheState = Literal["empty", "kept", "not used"]
Tuner = Literal["triton", "flashinfer"]


class Tuned(Record, frozen=True, kw_only=True):
    """One choice of an auto-tuner: by time, among configurations of one kernel."""

    by: Tuner
    """Which auto-tuner chose."""
    kernel: str
    """The kernel's name; of FlashInfer the operation's."""
    key: str
    """What it was tuned for, as the auto-tuner writes it: sizes and types."""
    config: dict[str, Value]
    """What was chosen, by the auto-tuner's own names; empty where the form of its file is not known."""
    ranks: list[int]
    """The processes that chose it, by their rank; empty where all have one choice by the engine's own doing."""


class Tuning(Record, frozen=True, kw_only=True):
    """The caches of a server and what was chosen in them."""

    caches: dict[str, CacheState]
    """Cache → whether it was empty as the server started, had files from before (kept), or has none to this day."""
    tuned: list[Tuned]
    """What was chosen."""
