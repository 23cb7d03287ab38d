"""A sweep over one axis: as a grid asks for it, and what one session of a cell saw along it (sweep.json)."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, Literal

from scripts.records.base import FileRecord, Record
from scripts.records.engine import Described, EngineRecord
from scripts.records.machine import Code, Machine
from scripts.records.session import WeightsSum, WorkloadSum
from scripts.records.settings import Settings

Axis = Literal["prompt_tokens", "in_flight", "gpus"]
SweepMode = Literal["prefill", "decode", "free"]
Purpose = Literal["listed", "bisected", "confirmed"]


class SweepAsked(Record, frozen=True, kw_only=True):
    """A block's key `sweep`, all that a grid leaves out filled in."""

    name: str
    """The name of its page in results/curves/."""
    axis: Axis = "prompt_tokens"
    """What is varied: tokens of the prompt, requests in flight, or GPUs, of which each engine has its own number."""
    values: tuple[int, ...] = ()
    """Where it is looked at, ascending; none over GPUs."""
    mode: SweepMode = "prefill"
    """Whether given ids are read at once (prefill) or one by one (decode), or the model goes on by itself (free)."""
    prompts: int = 3
    """How many prompts, each beginning with another scenario, or request, of the workload."""
    passes: int = 10
    """Passes at each value, of each prompt."""
    confirm: int = 30
    """Further passes at the values beside a threshold."""
    looks: int = 40
    """How often at most a session looks, for each prompt, at other values than those listed."""
    tokens: int = 16
    """Ids that follow the prompt, in decode and free."""
    prompt_tokens: int = 512
    """Tokens of the prompt, where another axis is varied."""
    sessions: int = 2
    """Sessions a cell, each a fresh engine process."""
    session_seconds: float = 240
    """How long a session is expected to take."""

    @property
    def longest(self) -> int:
        """The most ids that prompt and what follows it have together."""
        prompt = max(self.values) if self.axis == "prompt_tokens" else self.prompt_tokens
        return prompt + (1 if self.mode == "prefill" else self.tokens)


class SweepPoint(Record, frozen=True, kw_only=True):
    """Passes of one prompt at one value, compared position by position.

    In the mode free a position counts while all passes have the same ids before it. Over requests in flight the usual
    pass at the smallest value is compared with them too.
    """

    prompt: int
    """The prompt's number, from 0."""
    value: int
    """The value on the axis."""
    purpose: Purpose
    """Why it was looked at: the grid lists it, bisection came to it, or a threshold beside it was confirmed."""
    digests: list[str]
    """Of each pass the first 16 hexadecimal digits of a sha256 over all that was returned of every position."""
    positions: int
    """Positions that were compared."""
    unequal: int
    """Those of them at which not all passes have the same bits."""
    flips: int
    """Those at which not all passes have the same most likely id; in free, the id that was generated."""
    first: int | None
    """The first unequal position; null where there is none."""
    largest: float
    """The largest |Δ logprob| of one id between two passes, nat."""
    seconds: float
    """How long the passes took."""
    unlike: int | None = None
    """Over requests in flight, passes with other bits than most had at the smallest value; else null."""

    @property
    def passes(self) -> int:
        """How many passes there were."""
        return len(self.digests)

    @property
    def usual(self) -> str:
        """The digest that most passes have, the earliest of several."""
        return Counter(self.digests).most_common(1)[0][0]

    @property
    def differing(self) -> int:
        """How many passes have other bits than the largest group of equal ones; over requests in flight, `unlike`."""
        return self.passes - self.digests.count(self.usual) if self.unlike is None else self.unlike


class SweepRecord(FileRecord, frozen=True, kw_only=True):
    """sweeps/NAME/session-NN/sweep.json: what one engine process showed along the axis."""

    REMEDY: ClassVar[str] = "run the session again: snakemake -R SWEEP_JSON -- results/curves/NAME.md"

    session: int
    """The session's number, from 0."""
    sweep: SweepAsked
    """What was asked."""
    points: list[SweepPoint]
    """What was seen, in the order in which it was looked at."""
    settings: Settings
    """The cell's settings."""
    workload: WorkloadSum
    """What the prompts were made of."""
    weights: WeightsSum
    """What was served."""
    engine_record: EngineRecord | None
    """results/engines/ENGINE.json as it was."""
    resolved: Described
    """What the engine said of itself."""
    argv: list[str]
    """The command that ran the session, paths from the root."""
    environment: dict[str, str]
    """Variables that an engine may heed; no secrets."""
    machine: Machine
    """The machine that it ran on."""
    code: Code
    """The checkout that ran it."""
    started: str
    """When it began, UTC, ISO 8601."""
    ended: str
    """When it ended, UTC, ISO 8601."""

    @property
    def cell(self) -> str:
        """model/precision/engine/variant."""
        each = self.settings
        return f"{each.model}/{each.precision}/{each.engine}/{each.variant}"
