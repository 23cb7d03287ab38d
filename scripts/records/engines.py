"""The entries of config/engines.yaml: engines with their baseline arguments, tools, and the variants."""

from __future__ import annotations

from scripts.records.base import Record
from scripts.records.settings import Arguments, ContainerSettings, EngineKind, Listing, PrefixCache, Runtime


class Build(Record, frozen=True, kw_only=True):
    """A container image that is built here."""

    folder: str
    """Its folder, containers/NAME."""
    base: str
    """The image that it builds on."""
    lock: str | None = None
    """The lock whose packages go into it."""
    packages: list[str] | None = None
    """Of the lock these alone; all where this is left out."""


class EngineEntry(Record, frozen=True, kw_only=True):
    """An engine: its kind, a pinned image or locked environment, launch arguments.

    Which keys go together is the schema's to check (config/schemas/engines.schema.yaml).
    """

    kind: EngineKind
    """Which engine it is, and so which code drives it."""
    runtime: Runtime
    """How it is started."""
    arguments: Arguments
    """The baseline arguments, by the engine's own names."""
    lock: str | None = None
    """The locked environment, envs/NAME.lock."""
    image: str | None = None
    """The image that is pulled."""
    build: Build | None = None
    """The image that is built here."""
    container: ContainerSettings | None = None
    """How its container is run."""
    image_gb: float | None = None
    """Disk that the image takes, 10^9 bytes."""
    port: int | None = None
    """The port of 127.0.0.1 that it listens on; a free one where this is left out."""
    start_seconds: float | None = None
    """How long it may take until it is ready."""
    gpus: int = 0
    """How many GPUs it takes."""
    nodes: int = 1
    """Over how many machines these are spread."""
    cores: int = 1
    """How many processor cores a session takes."""
    setup: str | None = None
    """One line on what setting it up costs."""
    download_gb: float = 0.0
    """What setting it up downloads, 10^9 bytes."""
    environment: dict[str, str] = {}
    """Environment variables of the engine."""


class Tool(Record, frozen=True, kw_only=True):
    """A tool that quantises weights in a container."""

    build: Build | None = None
    """The image that is built here."""
    image: str | None = None
    """The image that is pulled."""
    image_gb: float | None = None
    """Disk that the image takes, 10^9 bytes."""
    engine: str | None = None
    """The engine whose image has the tool too."""
    program: list[str] | None = None
    """What starts the tool in the image."""


class HarnessChange(Record, frozen=True, kw_only=True):
    """What a variant changes in the harness; null is left as it is."""

    list_files: Listing | None = None
    """What the tool list_files shows."""
    concurrency: int | None = None
    """How many requests are in flight at once."""
    prefix_cache: PrefixCache | None = None
    """What is done with what the engine has read: emptied before each episode, or kept from replay to replay."""


class Variant(Record, frozen=True, kw_only=True):
    """A named change to the baseline; `base` changes nothing."""

    description: str
    """One line on what is changed."""
    arguments: dict[str, Arguments] | None = None
    """Engine kind → the arguments it changes."""
    environment: dict[str, str] | None = None
    """Environment variables that it adds or changes."""
    warm_tuning: bool | None = None
    """Keep a server's tuning results from session to session."""
    harness: HarnessChange | None = None
    """What changes in the harness."""

    @property
    def changes(self) -> list[str]:
        """The keys under which it changes something, sorted."""
        return [
            key
            for key in ("arguments", "environment", "harness", "warm_tuning")
            if getattr(self, key) is not None
        ]


class Engines(Record, frozen=True, kw_only=True):
    """All of config/engines.yaml."""

    engines: dict[str, EngineEntry]
    """Engine → what it is and how it is started."""
    variants: dict[str, Variant]
    """Variant → what it changes."""
    tools: dict[str, Tool] = {}
    """Tool that quantises weights → the image that it is run in."""
