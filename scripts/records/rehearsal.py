"""What a rehearsal of a grid came to: results/rehearsal/GRID.json, which results/rehearsal.md is made from."""

from __future__ import annotations

from typing import Literal

from scripts.records.base import FileRecord, Record
from scripts.records.cell import Kernels
from scripts.records.settings import Architecture

Outcome = Literal[
    "starts", "refused", "fails", "no engine", "no weights", "no stand-in", "not run", "not reached"
]


class RehearsedCell(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A cell of the grid and what its rehearsal came to."""

    model: str
    """The model."""
    precision: str
    """Its precision."""
    engine: str
    """The engine."""
    variant: str
    """The variant."""
    outcome: Outcome
    """`starts`: its engine started and answered. `refused`: the engine ended before it was ready, with a sentence.
    `fails`: the session broke off otherwise. `no engine`, `no weights`: the engine's environment or image, or the
    stand-in, could not be had. `no stand-in`: none is named. `not run`: this machine cannot. `not reached`: the
    rehearsal ended before it."""
    architecture: Architecture = "unknown"
    """dense, moe, or unknown."""
    said: str | None = None
    """The engine's sentence, or why there is nothing."""
    started_as: str | None = None
    """The engine of the runtime `process` that stood in for a container; null where it was the cell's own."""
    version: str | None = None
    """The engine's version, as it said."""
    start_seconds: float | None = None
    """Seconds until it was ready."""
    gpu_memory_gib: float | None = None
    """GPU memory of the weights on a card, 2^30 bytes, by the engine's log; of several cards the most."""
    tokens: int | None = None
    """Tokens generated in the replays."""
    kernels: Kernels | None = None
    """What computed it."""
    ignored: dict[str, str] = {}
    """Argument or variable of the variant → what the log says of not heeding it."""
    flags: str | None = None
    """Of a cell that was not run, what a parser of its kind of engine makes of its arguments; null without one here."""
    image: str | None = None
    """Of a cell that was not run, whether the image of its engine is here; null where it has none."""

    @property
    def path(self) -> str:
        """model/precision/engine/variant."""
        return "/".join((self.model, self.precision, self.engine, self.variant))


class StandIn(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What stood in for the weights of a quant."""

    model: str
    """The model."""
    precision: str
    """Its precision."""
    weights: str
    """What was served in its place, in words."""
    unlike: str | None = None
    """In what its format differs from that of the weights, beside their number of layers."""


class Rehearsal(FileRecord, frozen=True, kw_only=True):
    """The rehearsal of a grid."""

    grid: str
    """The grid."""
    gpus: list[str]
    """The GPUs of the machine, by nvidia-smi."""
    cells: list[RehearsedCell]
    """Its cells, in the order of the grid's rows."""
    stand_ins: list[StandIn]
    """What stood in for the quants of those that were tried."""
    commit: str | None = None
    """The commit of the checkout; null outside of one."""
    parser: dict[str, str] = {}
    """Kind of engine → what its arguments were parsed by, where cells were not run."""
