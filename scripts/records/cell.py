"""A cell's verdict, cell.json: how much agrees, where the first differences are, how often it flips."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from scripts.records.base import FileRecord, Record, convert, current, load
from scripts.records.engine import Resolved
from scripts.records.figures import Interval, NoiseSpread, Rate
from scripts.records.forced import CellForced, Mode, with_status
from scripts.records.question import QuestionFound
from scripts.records.session import Refusal
from scripts.records.transcript import Candidate

DifferenceKind = Literal["harness", "model"]
DifferenceClass = Literal[
    "harness", "refusal", "not-greedy", "unclassified", "wide", "first-block", "near-tie"
]
CellClass = Literal[
    "harness",
    "refusal",
    "not-greedy",
    "unclassified",
    "wide",
    "first-block",
    "near-tie",
    "logits-only",
    "none observed",
]
ReadingKind = Literal[
    "not greedy",
    "some bits missing",
    "several back ends",
    "cut prompt",
    "server's prompt changed",
    "hidden tokens",
    "refused",
    "other ends",
    "first answer",
    "busy",
    "queued",
    "preempted",
    "speculation",
    "characters",
]
Account = Literal["consistent", "contradicted", "not testable"]
Parts = Literal["first-replay", "within", "between", "none"]
CauseKind = Literal["resolved", "cache", "tuned"]
NEWER = (
    "agreement",
    "parts",
    "cause",
    "volatile",
    "kernels",
    "resolved",
    "resolved_differently",
    "flags",
    "ignored",
)
"""Keys that files of older versions lack."""


class ReplayHashes(Record, frozen=True, kw_only=True):
    """The two sha256 of a replay."""

    session: int
    """Its session."""
    replay: int
    """Its number in the session."""
    transcript: str
    """What was said."""
    logprobs: str | None
    """What was computed; null where the engine offers no logprobs."""


class ReplayName(Record, frozen=True, kw_only=True):
    """A replay."""

    session: int
    """Its session."""
    replay: int
    """Its number in the session."""


class Pairs(Record, frozen=True, kw_only=True):
    """Pairs of replays, and how many of them are equal."""

    pairs: int
    """How many were compared."""
    equal_text: int
    """Those with one transcript."""
    equal_bits: int | None
    """Those with one logprobs file; null where the engine offers no logprobs."""


class FirstReplay(Record, frozen=True, kw_only=True):
    """How often the first replay of a session stands alone."""

    sessions: int
    """Sessions of at least three replays."""
    odd: int
    """Those of them whose first replay is unlike the others, which are all equal."""


class Agreement(Record, frozen=True, kw_only=True):
    """How replays agree inside sessions and from session to session."""

    within: Pairs
    """Each further replay against the first of its session."""
    between: Pairs
    """The first replay of each further session against session 00's."""
    first_replay: FirstReplay
    """First replays against the others of their sessions."""


class Bits(Record, frozen=True, kw_only=True):
    """Over how much bits were judged, where logprobs are there for a part only."""

    positions: int
    """Generated tokens in all replays, of a chat endpoint their first characters as far as these are known."""
    with_bits: int
    """Those of them that have a logprob and candidates."""
    turns: int
    """Turns in all replays."""
    turns_with_bits: int
    """Those of them with a bit at all."""
    replays: int
    """Replays with a bit at all: the N of k/N in bits."""


class Reading(Record, frozen=True, kw_only=True):
    """What the harness reads of a deployment beside the verdict."""

    kind: ReadingKind
    """What it is."""
    count: int
    """In how many of `of` it was seen."""
    of: int
    """Positions, answers or replays that were looked at, as the sentence says."""
    sentence: str
    """For a reader, with the evidence."""


class CauseSide(Record, frozen=True, kw_only=True):
    """Sessions of the same bits."""

    values: list[str]
    """The values that the fact has in them, and in no others."""
    sessions: list[int]
    """Their numbers."""


class Cause(Record, frozen=True, kw_only=True):
    """A fact that a session's start decided and that tells its bits: seen, not proven."""

    kind: CauseKind
    """A kernel or size that the engine resolved to or the cards that it got, a cache that it began with, or a parameter
    that was tuned."""
    name: str
    """What was resolved, which cache, or the kernel that was tuned."""
    parameter: str | None
    """The parameter of a kernel that was tuned; null of any other kind."""
    sides: list[CauseSide]
    """The sessions by their bits, the largest side first."""
    equally: int
    """How many other facts (kernels count once) tell them as well."""
    varied: int
    """How many facts are not the same in all sessions."""
    chance: float
    """The chance that this fact, or one that would fit as rarely, fits the bits, were none their cause."""


class KnownCandidates(Record, frozen=True, kw_only=True):
    """What one replay recorded of a position, nat."""

    chosen: float
    """The logprob of the id it chose."""
    top: list[Candidate]
    """The listed ids with their logprobs, best first."""

    def margin_to(self, other: int | None) -> tuple[float, bool]:
        """The chosen id's logprob minus that of `other`, nat, and whether `other` was not among the listed.

        Where it was not (nor could be: None, the other replay ended there), the margin is that to the last
        one listed: the true one is at least as large.
        """
        for candidate, logprob in self.top:
            if candidate == other:
                return self.chosen - logprob, False
        return self.chosen - self.top[-1][1], True


class CandidatePair(Record, frozen=True, kw_only=True):
    """What both sides recorded where they part; null where a side has no logprobs there."""

    reference: KnownCandidates | None
    """The reference's."""
    other: KnownCandidates | None
    """The other replay's."""


class Kernels(Record, frozen=True, kw_only=True):
    """What computed a cell, in short words, as its first session's engine resolved it.

    "?" is what the engine did not say; null does not apply (experts of a dense model, one GPU's all-reduce).
    """

    experts: str | None
    """Products of the experts."""
    dense: str | None
    """All other products with weights."""
    attention: str | None
    """Attention over the cache."""
    linear_attention: str | None
    """Gated DeltaNet layers, where the model has such."""
    all_reduce: str | None
    """Sums over GPUs: what may be taken, in the order of preference."""
    runner: str | None
    """vLLM's model runner, of which it has two."""


class Difference(Record, frozen=True, kw_only=True):
    """Where a replay first differs from the reference in a scenario."""

    session: int
    """The replay's session."""
    replay: int
    """Its number in the session."""
    scenario: str
    """Which episode."""
    turn: int
    """The turn in which it differs."""
    kind: DifferenceKind
    """Whether the prompt differed (harness) or what was generated (model)."""
    position: int
    """Tokens that the episode had generated before it."""
    margin: float | None
    """Logprob of the reference's id minus that of the other one, both in the reference, nat; null without logprobs."""
    margin_censored: bool
    """Whether the other id was not listed: the margin is then that to the last one listed, and at least that."""
    class_: DifferenceClass = msgspec.field(name="class")
    """What kind of difference it is."""
    token: int | None
    """The reference's id; null where it ended, and of the harness."""
    other_token: int | None
    """The other replay's id; null where it ended, and of the harness."""
    other_margin: float | None
    """The margin in the other replay, nat."""
    other_margin_censored: bool
    """Whether that one is censored."""
    candidates: CandidatePair
    """What both recorded there."""
    margin_steps: float | None = None
    """The margin in steps of bf16 logits of that size; null where no step can be told from what was recorded."""


class AtMost(Record, frozen=True, kw_only=True):
    """The one-sided 95 % bound of the rate of flips."""

    flips_per_1000_tokens: float
    """As a rate."""
    one_flip_in_tokens: int
    """As so many tokens."""
    sentence: str
    """For a reader."""


class Score(Record, frozen=True, kw_only=True):
    """Correct answers over questions asked, over replays; a question not answered is wrong."""

    mean: float
    """The mean."""
    min: float
    """The least."""
    max: float
    """The greatest."""


class Tokens(Record, frozen=True, kw_only=True):
    """Tokens generated a replay."""

    mean: float
    """The mean."""
    cv: float | None
    """Standard deviation (over N) over mean; null where nothing was generated."""
    swing: float | None
    """(max − min) / min; null where a replay generated nothing."""


class Predicted(Record, frozen=True, kw_only=True):
    """A predicted rate of flips with its predictive 95 % interval, per 1,000 tokens."""

    rate: float
    """The mean of the draws."""
    low: float
    """The interval's lower bound."""
    high: float
    """The interval's upper bound."""


class HeldOut(Record, frozen=True, kw_only=True):
    """The noise of half of the passes held against the other half."""

    fitted_on: int
    """Passes that the noise was taken from."""
    tested_on: int
    """Passes whose events were predicted."""
    predicted_events: float
    """The mean of the draws."""
    low: float
    """The interval's lower bound, events."""
    high: float
    """The interval's upper bound, events."""
    observed_events: int
    """Events among the rest."""
    consistent: bool
    """Whether these lie in the interval."""


class Ties(Record, frozen=True, kw_only=True):
    """Whether near-ties, as forced passes measured them, explain the flips that were seen."""

    near_tie_account: Account
    """The answer."""
    reason: str
    """Why it is so."""
    mode: Mode | None
    """The mode whose passes were used; null without any."""
    predicted_flips_per_1000_tokens: Predicted | None
    """What follows from the margins; null where it is not testable."""
    observed_flips_per_1000_tokens: Rate | None
    """What was seen on the same contexts."""
    held_out: HeldOut | None
    """The check of the noise; null with fewer than four passes."""


class Cell(FileRecord, frozen=True, kw_only=True):
    """The verdict of a cell that is done."""

    VERSION: ClassVar[int] = 3
    REMEDY: ClassVar[str] = "summarise the cell again: snakemake -R summarise_cell -- results/table.md"

    model: str
    """The model's name."""
    precision: str
    """The precision's name."""
    engine: str
    """The engine's name."""
    variant: str
    """The variant's name."""
    sessions: int
    """How many sessions there are."""
    replays: int
    """N: how many replays, over all sessions."""
    text_identical: int
    """k: the largest group of replays whose transcripts are equal; 0 where there are several and no two agree."""
    logprobs_identical: int | None
    """The same over logprobs files; null where the engine offers no logprobs."""
    class_: CellClass = msgspec.field(name="class")
    """The first class that occurs among its differences."""
    differences: list[Difference]
    """First differences from the reference, of each other replay and scenario."""
    flips_per_1000_tokens: Rate
    """Over the trees of contexts of all scenarios, all replays counting."""
    noise: NoiseSpread | None
    """Between replays; null where no position had one context in two of them."""
    exact_ties: int | None
    """Positions whose best two logprobs are equal; null without logprobs."""
    score: Score | None
    """Correct answers; null where no question was asked."""
    tokens: Tokens
    """Tokens generated a replay."""
    tokens_per_second: float | None
    """Tokens generated over seconds in the engine; null where none was spent."""
    hashes: list[ReplayHashes] = []
    """The two sha256 of each replay, in reading order."""
    reference: ReplayName | None = None
    """The earliest replay of the largest text group."""
    agreement: Agreement | None = None
    """How replays agree inside sessions and from session to session; null in files before version 2."""
    parts: Parts | None = None
    """Where replays part, the first that holds; null in files before version 2."""
    cause: Cause | None = None
    """What a start decided and tells the bits of its sessions; null where nothing does, and before version 3."""
    volatile: str | None = None
    """What of its harness is volatile, tool by tool; null where the prompts never part, and before version 2."""
    flips_bootstrap: Interval | None = None
    """The rate's interval with sessions resampled; null below five of them, and without an event."""
    at_most: AtMost | None = None
    """The one-sided bound; null where nothing was compared."""
    forced: CellForced | None = None
    """What forced passes showed; null without any."""
    deterministic: bool | None = None
    """Whether it is, as far as was looked; null where too little was."""
    ties: Ties | None = None
    """Whether near-ties explain the flips; null in older files."""
    question: QuestionFound | None = None
    """What its sessions answer; null without a question."""
    first_block: int | None = None
    """Differences before this position count as of the first block."""
    tie_margin: float | None = None
    """A larger margin, nat, is no near-tie."""
    kernels: Kernels | None = None
    """What computed it; null where its sessions recorded nothing of their engine, and before version 3."""
    resolved: Resolved | None = None
    """What the first session's engine made of its arguments; null as `kernels` is."""
    resolved_differently: list[str] | None = None
    """In what the sessions' engines resolved otherwise, a line each; null as `kernels` is."""
    flags: dict[str, str] | None = None
    """The engine's arguments and variables → their JSON values; null where they were not recorded, as `kernels` is."""
    ignored: dict[str, str] | None = None
    """Of what its variant sets → what the engine's log says of not heeding it; null in older files."""
    bits: Bits | None = None
    """Over how much bits were judged; null where that is all there is."""
    readings: list[Reading] = []
    """What else was read of the deployment; empty where nothing was, and in files before version 3."""
    status: Literal["done"] = "done"
    """What became of the cell."""
    reason: None = None
    """Nothing: it is done."""

    @property
    def path(self) -> str:
        """model/precision/engine/variant."""
        return f"{self.model}/{self.precision}/{self.engine}/{self.variant}"

    @classmethod
    def upgrade(cls, content: dict[str, Any], version: int) -> dict[str, Any]:
        """Version 0 had no status in its forced modes, 1 did not say where replays part, 2 not what computed them."""
        said = {**dict.fromkeys(NEWER), "readings": [], **content}
        if isinstance(differences := said.get("differences"), list):
            said["differences"] = [
                {"margin_steps": None, **each} if isinstance(each, dict) else each for each in differences
            ]
        if version == 0 and "forced" in said:
            said["forced"] = with_status(said["forced"])
        return said


class CellNotDone(FileRecord, frozen=True, kw_only=True):
    """A cell that was not run: never identical."""

    status: Literal["failed", "planned", "refused"]
    """What became of it."""
    model: str | None = None
    """The model's name; missing where the file says no more than its status."""
    precision: str | None = None
    """The precision's name."""
    engine: str | None = None
    """The engine's name."""
    variant: str | None = None
    """The variant's name."""
    reason: str | None = None
    """Why; null where nobody said."""
    refused: Refusal | None = None
    """What its engine refused, of a cell that is refused."""


def read_cell(path: Path) -> Cell | CellNotDone:
    """The verdict in a cell.json; DataError where it is missing, torn, of a newer version or lacks a key."""
    content = current(Cell, load(path, Cell.REMEDY), str(path))
    kind: type[Cell] | type[CellNotDone] = Cell if content.get("status") == "done" else CellNotDone
    return convert(kind, content, str(path), Cell.REMEDY)
