"""An engine: the record of its image or environment (results/engines/ENGINE.json), and what it says of itself."""

from __future__ import annotations

from typing import Self

from scripts.records.base import FileRecord, Record, Value
from scripts.records.machine import ContainerFacts
from scripts.records.tuning import Tuning

Resolved = dict[str, str | int | float | bool | None]


class Adopted(FileRecord, frozen=True, kw_only=True):
    """How an environment that was there before differs from the lock whose place it takes (adopted.json)."""

    missing: dict[str, str]
    """Package → the version that the lock pins, of packages that are not there."""
    other: dict[str, str]
    """Package → "pinned, there is …", of packages in another version."""


class BaseImage(Record, frozen=True, kw_only=True):
    """The image that an image of ours was built on."""

    image: str
    """Its name."""
    image_id: str
    """Its id."""
    digest: str | None
    """The digest it was pulled by; null of an image made on this machine."""
    bytes: int | None
    """Its size; null where Docker does not say."""


class Ability(Record, frozen=True, kw_only=True):
    """What became of asking a server that runs for something."""

    can: bool
    """Whether it can."""
    said: str
    """By what that is known, for a reader."""
    path: str | None = None
    """Where it is asked, where there are several such paths."""


class EngineRecord(FileRecord, frozen=True, kw_only=True, omit_defaults=True):
    """What an engine is, exactly: an image by digest, an environment by its lock, or a server that runs elsewhere."""

    engine: str
    """Its name in engines.yaml."""
    kind: str
    """Which engine it is: vllm, sglang, llamacpp, …"""
    runtime: str
    """process, docker or external."""
    image: str | None
    """The image's name; null without a container."""
    digest: str | None
    """The digest it was pulled by; null of an image built here, and without a container."""
    image_id: str | None = None
    """The image's id, of a container."""
    lock: str | None = None
    """The lock, from the root, of an environment or of an image built from one."""
    lock_sha256: str | None = None
    """The lock's sha256."""
    packages: dict[str, str] | None = None
    """Package → version, of an environment: what of the lock is installed."""
    adopted: Adopted | None = None
    """How it differs from its lock, of an environment that was there before."""
    base: BaseImage | None = None
    """What it was built on, of an image built here."""
    build: dict[str, str] | None = None
    """File → sha256, of an image built here: what it was built from beside the lock."""
    interface: str | None = None
    """By which interface a server that runs is asked."""
    model: str | None = None
    """The model that a server that runs is asked for."""
    server_version: str | None = None
    """The version that a server that runs says it has."""
    abilities: dict[str, Ability] | None = None
    """What can be asked of a server that runs → what became of asking it."""

    @classmethod
    def parse(cls, content: object, where: str) -> Self:
        """The record of a file's JSON value."""
        return super().parse(with_server_version(content), where)


def with_server_version(record: object) -> object:
    """An engine's record as it is now: in a file of version 0 a server's version stands as `version`."""
    if not isinstance(record, dict) or not isinstance(record.get("version"), str):
        return record
    return {**record, "server_version": record["version"], "version": 0}


class Speculation(Record, frozen=True, kw_only=True):
    """What a server counted of speculative decoding since its start."""

    drafted: int
    """Tokens proposed."""
    accepted: int
    """Tokens taken."""


class PrefixCacheCount(Record, frozen=True, kw_only=True):
    """What a server counted of its prefix cache since its start, warm-up included."""

    queries: int
    """Tokens of prompts that were looked up."""
    hits: int
    """Those that were there."""


class Described(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a running engine says of itself."""

    version: str | None
    """Its version; null where it does not say."""
    arguments: dict[str, Value]
    """What it was started with, by the engine's own names."""
    resolved: Resolved
    """Kernel, backend or size → what it made of its arguments; null where neither its API nor its log says."""
    context_between_turns: str
    """kept, read again, or unknown."""
    cache_reset: bool | None = None
    """Whether its caches are emptied between episodes; null where that is not known."""
    build: str | None = None
    """The instruction sets it was built with, of llama.cpp."""
    logprobs: bool | None = None
    """Whether it offers logprobs, of a chat endpoint."""
    mode: str | None = None
    """text, of an endpoint that is sent text."""
    speculation: Speculation | None = None
    """What was drafted and accepted, with speculative decoding."""
    prefix_cache: PrefixCacheCount | None = None
    """What was looked up and found, of a server that counts it over all requests."""
    container: ContainerFacts | None = None
    """What Docker gave its container."""
    tuning: Tuning | None = None
    """Its caches and what was tuned; missing in session.json, where they are keys of their own."""
