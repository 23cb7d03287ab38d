"""A session's record, session.json: what it ran on, when, and which replays it holds. Never hashed."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Self

from scripts.records.base import FileRecord, Record
from scripts.records.engine import Described, EngineRecord, with_server_version
from scripts.records.machine import Code, Machine
from scripts.records.settings import Architecture, Sampling, Settings
from scripts.records.tuning import CacheState, Tuned


class FileSum(Record, frozen=True, kw_only=True):
    """A file beside the record."""

    path: str
    """Its name."""
    sha256: str
    """Its sha256 in hexadecimal."""


class ReplayFiles(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The files of one replay."""

    replay: int
    """The replay's number in the session, from 0."""
    transcript: FileSum | None = None
    """What was said."""
    logprobs: FileSum | None = None
    """What was computed; missing where the engine offers no logprobs."""


class InFlight(Record, frozen=True, kw_only=True):
    """How many requests beside the replay's were being answered, looked at as each measured turn ended."""

    mean: float
    """The mean over turns."""
    min: int
    """The least."""


class LoadRecord(Record, frozen=True, kw_only=True):
    """The requests beside the replay."""

    streams: int
    """How many background streams there were."""
    requests: int
    """How many of their requests were answered."""
    tokens: int
    """Tokens generated for them."""
    seconds: float
    """How long they ran."""
    in_flight: InFlight | None
    """How full the batch was; null where no turn was measured."""
    caches_between_episodes: str
    """What was done with caches between episodes, in words."""


class Waits(Record, frozen=True, kw_only=True):
    """How often a server that was not started here had to be waited for; nothing was asked again once it had begun."""

    answers: int
    """Answers that were waited for."""
    refusals: int
    """How often the server was busy (429, 503)."""
    seconds: float
    """How long was waited, in all."""
    reconnections: int
    """How often a connection that had been left open was closed before a byte of the answer came."""


class WorkloadSum(Record, frozen=True, kw_only=True):
    """The workload that was played."""

    name: str
    """Its file in config/workloads/, without .yaml."""
    sha256: str
    """The sha256 of all that it asks."""


class WeightsSum(Record, frozen=True, kw_only=True):
    """The weights that were served."""

    manifest_sha256: str
    """The sha256 of their manifest.json."""


class Refusal(Record, frozen=True, kw_only=True):
    """Why an engine did not start: it refused what the cell's variant asks of it."""

    sentence: str
    """The last error in its log."""
    named: list[str]
    """The variant's arguments and variables that the sentence names."""
    ended: str
    """How the engine ended, before it was ready."""


class SessionRecord(FileRecord, frozen=True, kw_only=True):
    """One engine process: all its replays and what makes them what they are.

    A verdict needs the first seven fields alone; null (or missing) in the others is what was not recorded.
    """

    REMEDY: ClassVar[str] = "run the session again: snakemake -R SESSION_JSON -- results/table.md"

    model: str
    """The model's name."""
    precision: str
    """The precision's name."""
    engine: str
    """The engine's name."""
    variant: str
    """The variant's name."""
    session: int
    """The session's number in its cell, from 0."""
    tokens: int
    """Tokens generated in all replays."""
    seconds: float
    """Seconds in the engine, summed over all turns."""
    architecture: Architecture | None = None
    """dense, moe, or unknown."""
    replays: int | None = None
    """How many replays it holds."""
    files: list[ReplayFiles] | None = None
    """The files of each replay."""
    replay_tokens: list[int] | None = None
    """Tokens generated in each replay."""
    replay_seconds: list[float] | None = None
    """Seconds in the engine of each replay."""
    wall_seconds: float | None = None
    """Seconds from the first replay's start to the last one's end."""
    start_seconds: float | None = None
    """Seconds until the engine was ready; null where it refused to start, and in older files."""
    load: LoadRecord | None = None
    """The requests beside the replay; null at a concurrency of 1."""
    waits: Waits | None = None
    """How often the server was waited for; null where it never was."""
    sampling: Sampling | None = None
    """How each id was drawn; null is greedily."""
    template_time: str | None = None
    """What the chat template was told of the time, ISO 8601; null where it did not ask, or was not rendered here."""
    questions: int | None = None
    """Questions that a replay asks."""
    workload: WorkloadSum | None = None
    """What was played."""
    weights: WeightsSum | None = None
    """What was served."""
    engine_record: EngineRecord | None = None
    """results/engines/ENGINE.json as it was."""
    resolved: Described | None = None
    """What the engine said of itself."""
    caches: dict[str, CacheState] | None = None
    """Cache → with what the engine began; null of an engine that keeps none, or is not ours to look into."""
    tuned: list[Tuned] | None = None
    """What auto-tuning chose, where its files say so; null as `caches` is."""
    settings: Settings | None = None
    """The cell's settings."""
    argv: list[str] | None = None
    """The command that ran the session, paths from the root."""
    environment: dict[str, str] | None = None
    """Variables that an engine may heed; no secrets."""
    machine: Machine | None = None
    """The machine that it ran on."""
    code: Code | None = None
    """The checkout that ran it."""
    started: str | None = None
    """When it began, UTC, ISO 8601."""
    ended: str | None = None
    """When it ended, UTC, ISO 8601."""
    refused: Refusal | None = None
    """Why its engine refused to start, so that there is no replay; null where it ran."""
    ignored: dict[str, str] | None = None
    """Argument or variable of the variant → what the engine's log says of not heeding it; null in older files."""

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """Its beginning and its end, the engine's start included; None where it does not say."""
        if self.started is None or self.ended is None:
            return None
        return datetime.fromisoformat(self.started), datetime.fromisoformat(self.ended)

    @property
    def elapsed_seconds(self) -> float | None:
        """Seconds of its span; None where it does not say."""
        return None if self.span is None else (self.span[1] - self.span[0]).total_seconds()

    @classmethod
    def parse(cls, content: object, where: str) -> Self:
        """The record of a file's JSON value, its engine's record as it is now."""
        if isinstance(content, dict) and "engine_record" in content:
            content = {**content, "engine_record": with_server_version(content["engine_record"])}
        return super().parse(content, where)
