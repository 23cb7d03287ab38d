"""A baseline that is kept to be checked against, and what a check found (results/check.json)."""

from __future__ import annotations

from typing import ClassVar, Literal

from scripts.records.base import FileRecord, Record
from scripts.records.session import WorkloadSum

Outcome = Literal["same", "changed", "could not tell"]


class Distinct(Record, frozen=True, kw_only=True):
    """Replays that are the same bytes."""

    transcript: str
    """The sha256 of what was said."""
    logprobs: str | None
    """The sha256 of what was computed; null without logprobs."""
    streams: dict[str, str]
    """Scenario → its generated ids, one code for each prompt: 32-bit little-endian, zlib, base64."""


class BaselineCell(Record, frozen=True, kw_only=True):
    """A cell as it was."""

    name: str
    """model/precision/engine/variant."""
    workload: WorkloadSum | None
    """What it was asked; null where its sessions do not say."""
    engine: str
    """Its engine, exactly."""
    sessions: list[list[int]]
    """Of each session the replays, in their order, by their place in `distinct`."""
    distinct: list[Distinct]
    """Its replays, those that are the same bytes once."""
    refused: str | None = None
    """The last error of its engine, which refused to start, so that there is no replay; null where it ran."""


class Baseline(FileRecord, frozen=True, kw_only=True):
    """What a later result is held against: all that a check needs, small enough to be committed."""

    REMEDY: ClassVar[str] = "freeze it again: python -m scripts.freeze RESULT BASELINE.json"

    cells: list[BaselineCell]
    """Its cells, by name."""


class CellCheck(Record, frozen=True, kw_only=True):
    """What a check says of one cell."""

    name: str
    """model/precision/engine/variant, as the baseline has it."""
    outcome: Outcome
    """The same, changed, or too little was looked at."""
    reason: str
    """From what that follows, in a sentence."""
    chance: float | None
    """The chance that sessions part as much as these if nothing changed; null where no session could be compared."""
    engine: tuple[str, str] | None
    """The engine of the baseline and of now, where they are not the same."""


class Checked(FileRecord, frozen=True, kw_only=True):
    """results/check.json."""

    REMEDY: ClassVar[str] = "check again: python -m scripts.check BASELINE NOW"

    outcome: Outcome
    """Of all cells: changed where one is, else could not tell where of one too little was looked at."""
    level: float
    """The share of cells called changed that may be so by chance (Benjamini and Hochberg)."""
    cells: list[CellCheck]
    """Each cell of the baseline."""
    new: list[str]
    """Cells that the baseline has not."""
