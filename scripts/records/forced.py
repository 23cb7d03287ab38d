"""Forced passes: the lines of a pass file, and the summary of all passes, forced.json."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from scripts.records.base import FileRecord, LineRecord, Record
from scripts.records.figures import NoiseSpread, Share
from scripts.records.session import LoadRecord

Mode = Literal["prefill", "decode"]
MODES: tuple[Mode, ...] = ("prefill", "decode")
FORCE_AGAIN = "force the cell again: snakemake -R force_cell -- results/table.md"


class Read(Record, frozen=True, kw_only=True):
    """What a turn read before its first generated id."""

    digests: list[str]
    """Digests of its logits, one a position, 16 hexadecimal digits; empty where they were not asked for."""
    routing: list[str]
    """Digests of its experts, as many; where there are no logits one for all that was read."""


class PassTurn(LineRecord, frozen=True, kw_only=True, omit_defaults=True):
    """One turn in a pass file; of each generated id of the trajectory one entry. Experts: both keys or none."""

    REMEDY: ClassVar[str] = FORCE_AGAIN

    scenario: str
    """Which episode of the trajectory."""
    turn: int
    """Its number in the episode, from 0."""
    digests: list[str]
    """16 hexadecimal digits of all that was returned of the position's distribution."""
    margins: list[float]
    """Best minus second, nat."""
    argmax: list[int]
    """The best id."""
    chosen: list[float]
    """The logprob of the id that was forced, nat."""
    routing: list[str] | None = None
    """Digests of the experts that the layers chose in the step that computed the position."""
    read: Read | None = None
    """What was read since the turn before."""


class FirstDiffering(Record, frozen=True, kw_only=True):
    """What differed first, counted over comparisons of a pass and an episode with pass 0."""

    comparisons: int
    """How many comparisons there were."""
    logits: int
    """Logits, with every expert up to and with that step the same."""
    same_step: int
    """Experts and logits in one step."""
    experts: int
    """Experts, in a step whose logits are the same."""
    prompt: int
    """Experts in what was read, whose logits were not looked at."""
    neither: int
    """Nothing."""


class RoutingFound(Record, frozen=True, kw_only=True):
    """What differed in the experts that were chosen."""

    other_experts: Share
    """Positions at which not all passes chose the same experts."""
    unequal_bits_same_experts: Share
    """Positions at which they did though not all logits are equal."""
    first: FirstDiffering
    """What differed first."""


class NoiseP99(Record, frozen=True, kw_only=True):
    """The 99th percentiles of the noise between passes, nat; null where no two could be compared."""

    chosen: float | None
    """|Δ logprob of the forced id|."""
    margin: float | None
    """|Δ margin|."""


class MarginQuantiles(Record, frozen=True, kw_only=True):
    """Quantiles of the mean margin over positions, nat; null without a position."""

    p0_1: float | None = msgspec.field(name="p0.1")
    """The 0.1st percentile."""
    p1: float | None
    """The 1st percentile."""
    p10: float | None
    """The 10th percentile."""
    p50: float | None
    """The median."""


class ModeNotRun(Record, frozen=True, kw_only=True, tag_field="status", tag="not run"):
    """A mode that was not forced."""

    not_run: str
    """Why."""


class ModeForced(Record, frozen=True, kw_only=True, tag_field="status", tag="run", omit_defaults=True):
    """A mode that was forced, as cell.json keeps it."""

    passes: int
    """How often the trajectory was fed back."""
    positions: int
    """Ids forced in each pass."""
    unequal_bits: Share
    """Positions at which not all passes returned the same bits."""
    other_argmax: Share
    """Positions at which not all passes have the same best id."""
    under_noise: Share
    """Positions whose mean margin is below the 99th percentile of the margin's noise."""
    noise_p99: NoiseP99
    """How large the noise is."""
    routing: RoutingFound | None = None
    """What differed in the experts; missing where they were not recorded."""


class ModeSummary(Record, frozen=True, kw_only=True, tag_field="status", tag="run", omit_defaults=True):
    """A mode that was forced, as forced.json keeps it."""

    passes: int
    """How often the trajectory was fed back."""
    positions: int
    """Ids forced in each pass."""
    unequal_bits: Share
    """Positions at which not all passes returned the same bits."""
    other_argmax: Share
    """Positions at which not all passes have the same best id."""
    noise: NoiseSpread
    """Over all pairs of passes and positions; where another id was best its margin counts as negative."""
    exact_ties: int
    """Positions whose best two logprobs are equal in some pass."""
    under_noise: Share
    """Positions whose mean margin is below the 99th percentile of the margin's noise."""
    margins: MarginQuantiles
    """Quantiles of the mean margin."""
    routing: RoutingFound | None = None
    """What differed in the experts; missing where they were not recorded."""

    def short(self) -> ModeForced:
        """What cell.json keeps of it."""
        chosen, margin = self.noise.chosen, self.noise.margin
        return ModeForced(
            passes=self.passes,
            positions=self.positions,
            unequal_bits=self.unequal_bits,
            other_argmax=self.other_argmax,
            under_noise=self.under_noise,
            noise_p99=NoiseP99(
                chosen=None if chosen is None else chosen.p99, margin=None if margin is None else margin.p99
            ),
            routing=self.routing,
        )


class Trajectory(Record, frozen=True, kw_only=True):
    """Whose transcript was fed back."""

    session: int
    """The session."""
    replay: int
    """The replay in it."""
    scenarios: list[str]
    """Its episodes, in order."""


class Modes(Record, frozen=True, kw_only=True):
    """Both modes, which are never compared with one another: their argmax differ by construction."""

    prefill: ModeSummary | ModeNotRun
    """The whole episode read at once."""
    decode: ModeSummary | ModeNotRun
    """The recorded ids given one by one."""

    def short(self) -> CellForced:
        """What cell.json keeps of them."""
        prefill, decode = (
            each.short() if isinstance(each, ModeSummary) else each for each in (self.prefill, self.decode)
        )
        return CellForced(prefill=prefill, decode=decode)


class Forced(FileRecord, frozen=True, kw_only=True, omit_defaults=True):
    """forced.json: one recorded trajectory fed back several times, and what differed between the passes."""

    REMEDY: ClassVar[str] = FORCE_AGAIN

    passes: int
    """Passes of the mode that has most."""
    trajectory: Trajectory
    """What was fed back."""
    modes: Modes
    """What was found."""
    load: LoadRecord | None = None
    """The requests beside the passes; missing at a concurrency of 1."""
    transcript_sha256: str | None = None
    """The sha256 of the transcript that was fed back."""
    seconds: dict[Mode, float] | None = None
    """Mode → seconds in all its passes, digests and files included; missing in older files, and of a refused start."""
    wall_seconds: float | None = None
    """Seconds from the engine's start to its end; missing as `seconds` is."""
    gpus: int | None = None
    """How many GPUs the engine took; missing as `seconds` is."""

    @classmethod
    def upgrade(cls, content: dict[str, Any], version: int) -> dict[str, Any]:
        """Version 0 had no status in its modes."""
        return {**content, "modes": with_status(content.get("modes"))}


class CellForced(Record, frozen=True, kw_only=True):
    """What cell.json keeps of forced.json."""

    prefill: ModeForced | ModeNotRun
    """The whole episode read at once."""
    decode: ModeForced | ModeNotRun
    """The recorded ids given one by one."""

    def run(self) -> dict[Mode, ModeForced]:
        """The modes that were forced, in the order in which tables name them."""
        modes: dict[Mode, ModeForced | ModeNotRun] = {"decode": self.decode, "prefill": self.prefill}
        return {mode: each for mode, each in modes.items() if isinstance(each, ModeForced)}


def with_status(modes: object) -> object:
    """Modes of a file of version 0, each with the status that follows from its keys."""
    if not isinstance(modes, dict):
        return modes
    return {
        name: {**each, "status": "not run" if "not_run" in each else "run"}
        if isinstance(each, dict)
        else each
        for name, each in modes.items()
    }
