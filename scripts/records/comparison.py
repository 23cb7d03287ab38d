"""Two cells side by side: what `python -m scripts.compare --format json` prints and results/compare/ is made from."""

from __future__ import annotations

from typing import ClassVar, Literal

from scripts.records.base import FileRecord, Record
from scripts.records.cell import DifferenceKind, KnownCandidates

Sameness = Literal["same bits", "same text", "other text", "text varies", "bits vary"]
"""All replays of both are equal in bits; in text; each is equal in itself, and the texts differ; the replays of one of
them differ among themselves in text; or in bits alone."""


class SideRecord(Record, frozen=True, kw_only=True):
    """One of the two cells."""

    name: str
    """model/precision/engine/variant."""
    sessions: int
    """How many sessions it has."""
    replays: int
    """How many replays, over all sessions."""
    text_identical: int
    """The largest group of replays that are equal in text."""
    logprobs_identical: int | None
    """The same in bits; null without logprobs."""


class EqualPairs(Record, frozen=True, kw_only=True):
    """Pairs of one replay of A and one of B."""

    pairs: int
    """How many pairs there are."""
    equal_text: int
    """Those of one transcript."""
    equal_bits: int | None
    """Those of one transcript and one logprobs file; null without logprobs."""


class Parting(Record, frozen=True, kw_only=True):
    """Where a scenario of the reference replays first differs."""

    scenario: str
    """Which scenario."""
    turn: int
    """Its turn, from 0."""
    position: int
    """Ids that the episode had generated before."""
    kind: DifferenceKind
    """harness: the prompt differed before the model did."""
    a: int | None
    """The id that A chose there; null where it ended, and for the harness's."""
    b: int | None
    """The id that B chose there; null where it ended, and for the harness's."""
    known_a: KnownCandidates | None
    """What A recorded of the position; null without logprobs."""
    known_b: KnownCandidates | None
    """What B recorded of the position; null without logprobs."""


class OverPositions(Record, frozen=True, kw_only=True):
    """Quantiles over positions."""

    mean: float
    """The mean."""
    p50: float
    """The median."""
    p99: float
    """The 99th percentile."""
    max: float
    """The greatest."""


class Along(Record, frozen=True, kw_only=True):
    """What both computed at positions with one context: the contexts that their reference replays share, or one
    trajectory that both were fed."""

    positions: int
    """How many positions."""
    top1_equal: int
    """Those with the same most likely id."""
    equal_bits: int
    """Those at which all that was recorded is equal."""
    unequal_from: int | None
    """The first of them, in the order of scenarios, at which not all that was recorded is equal; null without one."""
    logprob_change: OverPositions | None
    """|Δ logprob| of the id that A chose, nat; null where B recorded it nowhere."""
    divergence: OverPositions | None
    """A lower bound of the Kullback-Leibler divergence of B from A, nat; null without logprobs."""


class ProvenanceDifference(Record, frozen=True, kw_only=True):
    """Something that is not the same in the two records."""

    what: str
    """What it is, in words: engine, kernels, weights, …"""
    a: str
    """What A has."""
    b: str
    """What B has."""


class Comparison(Record, frozen=True, kw_only=True):
    """Two cells side by side."""

    a: SideRecord
    """The first."""
    b: SideRecord
    """The second."""
    sameness: Sameness
    """How equal they are."""
    pairs: EqualPairs
    """Replays of A against replays of B."""
    partings: list[Parting]
    """The first difference of each scenario of the reference replays, in their order."""
    free: Along | None
    """At the contexts that the reference replays share; null without logprobs on both sides."""
    forced: dict[str, Along]
    """mode → along one trajectory that both were fed; empty where there is none."""
    forced_not: str | None
    """Why there is none; null where there is one."""
    provenance: list[ProvenanceDifference]
    """What differs in what they are, the likeliest cause first."""


class Comparisons(FileRecord, frozen=True, kw_only=True):
    """All pairs of cells of two results."""

    REMEDY: ClassVar[str] = "compare again: python -m scripts.compare A B --format json"

    a: str
    """Where the first result is from, as it was named."""
    b: str
    """Where the second is from."""
    pairs: list[Comparison]
    """The cells that both have."""
    only_a: list[str]
    """Cells that the first alone has."""
    only_b: list[str]
    """Cells that the second alone has."""
    refused: dict[str, str]
    """Cell → why it cannot be compared."""
