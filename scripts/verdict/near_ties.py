"""Margins and flips, context by context: how often a token flips at a margin, and whether that foretells other turns.

A context is what the design's rate counts: all that a request holds up to one generated token, where two or more free
replays share it. Its margin is the best logprob minus the second best, as the replay recorded that walked there first.
The chance of a flip in a class of margins is its events over its exposure, as everywhere. Whether margins foretell
flips is tested on what was not used: classes are fitted on every other turn, and the rest is foretold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.records.figures import Rate
from scripts.records.forced import Mode
from scripts.verdict.contexts import Path as Walk
from scripts.verdict.contexts import Walks
from scripts.verdict.forced import read_passes
from scripts.verdict.logprobs import Known, Spot, read_arrays
from scripts.verdict.rates import flips_per_1000
from scripts.verdict.replays import Replay, find_replays, find_sessions
from scripts.verdict.steps import pooled_steps, step_likelihoods
from scripts.verdict.streams import Shape
from scripts.verdict.summary import Said, Walked, read_said

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

EDGES = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""nat: a class holds margins above the edge before it up to its own; the steps of bf16 logits lie among them."""
STEP_EDGES = (0, 1, 2, 3, 4, 8)
"""Steps of the logit, likewise."""
NEAR = EDGES[-1]
"""nat: steps are told of margins up to this one."""
STRETCH = 64
"""Generated tokens of a turn that are held out, or not, together."""
DRAWS = 2000


@dataclass(frozen=True)
class Contexts:
    """Contexts that two or more replays share, an entry each.

    `stretches`: the number of its stretch of `STRETCH` tokens of a turn. `margins`: nat, NaN where it is not known.
    `steps`: the margin in steps of the logit, NaN where the step is not told. `replays`, `events`: n, and n minus the
    largest agreeing group.
    """

    stretches: Counts
    margins: Floats
    steps: Floats
    replays: Counts
    events: Counts

    @property
    def known(self) -> Contexts:
        """Those whose margin is known."""
        return self.where(~np.isnan(self.margins))

    def where(self, chosen: NDArray[np.bool_]) -> Contexts:
        """Those that are chosen."""
        return Contexts(
            self.stretches[chosen],
            self.margins[chosen],
            self.steps[chosen],
            self.replays[chosen],
            self.events[chosen],
        )

    def rate(self) -> Rate:
        """Their events over their exposure, per 1,000 tokens."""
        return flips_per_1000(int(self.events.sum()), int(self.replays.sum()))


@dataclass(frozen=True)
class MarginClass:
    """A class of margins. `label`: its bounds; `contexts`: how many there are; `flipped`: at how many any replay took
    another token; `rate`: events over exposure."""

    label: str
    contexts: int
    flipped: int
    rate: Rate


@dataclass(frozen=True)
class Foretold:
    """Events on what was held out: `low` to `high` were to be expected (95 %), `observed` were seen.

    `constant`: what one rate for all margins expects. `fitted`: events on the other half.
    """

    expected: float
    low: float
    high: float
    constant: float
    observed: int
    fitted: int

    @property
    def consistent(self) -> bool:
        """Whether what was seen is among what was expected."""
        return self.low <= self.observed <= self.high


def free_contexts(cell: Path) -> Contexts | None:
    """The contexts of the free replays of the cell in that folder; None where no replay has logprobs.

    DataError: missing or torn files.
    """
    replays = find_replays(find_sessions(cell))
    if not any(each.logprobs for each in replays):
        return None
    said = read_said(replays)
    parts = [part for walked in said.walked for part in _of_trajectory(walked, said, replays)]
    return _join(parts)


def forced_contexts(cell: Path, mode: Mode) -> Contexts | None:
    """The positions of the cell's forced passes as contexts, passes as replays; None without two passes.

    A pass keeps its margins, not its candidates, so steps are not told.
    """
    passes = read_passes(cell, mode)
    if passes is None or passes.passes < 2:
        return None
    agreeing = np.array([(passes.argmax == row).sum(axis=0) for row in passes.argmax]).max(axis=0)
    places = [(name, turn, at) for name, turn, ids in passes.turns for at in range(ids)]
    replays = np.full(passes.positions, passes.passes)
    return _join([_Part(places, passes.margins[0], replays, passes.passes - agreeing, {})])


@dataclass(frozen=True)
class _Part:
    """Contexts with their places (scenario, turn, index in it). `likely`: by index how likely each step is."""

    places: list[tuple[str, int, int]]
    margins: Floats
    replays: Counts
    events: Counts
    likely: dict[int, Floats]


def _join(parts: Sequence[_Part]) -> Contexts:
    """Contexts of all parts; the steps are told from all of them."""
    numbers: dict[tuple[str, int, int], int] = {}
    stretches = [
        numbers.setdefault((scenario, turn, index // STRETCH), len(numbers))
        for part in parts
        for scenario, turn, index in part.places
    ]
    margins, replays, events = (
        np.concatenate([np.empty(0), *(getattr(part, name) for part in parts)])
        for name in ("margins", "replays", "events")
    )
    steps = np.where(margins == 0, 0.0, np.nan)
    starts = np.cumsum([0, *(len(part.places) for part in parts)])
    likely = {
        int(start) + index: row
        for start, part in zip(starts, parts, strict=False)
        for index, row in part.likely.items()
    }
    if likely:
        where = np.array(list(likely))
        steps[where] = margins[where] / pooled_steps(np.array(list(likely.values())))
    return Contexts(
        np.array(stretches, dtype=np.int64),
        margins,
        steps,
        replays.astype(np.int64),
        events.astype(np.int64),
    )


def _of_trajectory(walked: Walked, said: Said, replays: Sequence[Replay]) -> Iterator[_Part]:
    """The contexts at which this trajectory was the first, scenario by scenario."""
    first = next((replays[index] for index in walked.replays if replays[index].logprobs), None)
    margins: dict[str, Floats] = {}
    if first is not None and first.logprobs is not None:
        arrays, _ = read_arrays(first.logprobs, first.transcript, walked.trajectory, ())
        margins = {scenario: stream.margin for scenario, stream in arrays.items()}
    spots: list[Spot] = []
    parts: list[tuple[list[Spot], Floats, Counts, Counts]] = []
    for scenario, walk in walked.walks.items():
        shape = walked.trajectory.shapes[scenario]
        shared, events, here = _own(said, scenario, walk, shape)
        places = [(scenario, turn, at) for turn, ids in enumerate(shape.lengths) for at in range(ids)]
        margin = margins.get(scenario, np.full(shape.tokens, np.nan))[here]
        mine = [places[position] for position in here]
        parts.append((mine, margin, shared[here], events[here]))
        spots += [mine[index] for index in np.flatnonzero((margin > 0) & (margin <= NEAR))]
    known: dict[Spot, Known] = {}
    if spots and first is not None and first.logprobs is not None:
        _, known = read_arrays(first.logprobs, first.transcript, walked.trajectory, spots)
    for mine, margin, shared, events in parts:
        at = {spot: index for index, spot in enumerate(mine)}
        likely = {
            at[spot]: found
            for spot, each in known.items()
            if spot in at
            and (found := step_likelihoods(each.candidates.top[0][0], [each.candidates])) is not None
        }
        yield _Part(mine, margin, shared, events, likely)


def _own(said: Said, scenario: str, walk: Walk, shape: Shape) -> tuple[Counts, Counts, Counts]:
    """Replays and events at each generated token, and the positions whose contexts are shared and first walked here."""
    shared, events = Walks(said.trees[scenario]).along(walk, shape.tokens)
    here = shared >= 2
    if walk.own is None:
        here[:] = False
    elif walk.own.start:
        # The token by which the trajectory left an older run was taken at that run's context.
        start = shape.place(walk.own.start).position + (walk.own.symbol(walk.own.start) >= 0)
        here[:start] = False
    return shared.astype(np.int64), events.astype(np.int64), np.flatnonzero(here)


def by_margin(contexts: Contexts) -> list[MarginClass]:
    """Classes of margins in nat, exact ties first; `contexts` of unknown margin are in none."""
    of = _classes(contexts.margins, EDGES)
    labels = ["0", *(f"to {_fraction(edge)}" for edge in EDGES[1:]), f"above {_fraction(EDGES[-1])}"]
    return [_margin_class(label, contexts.where(of == index)) for index, label in enumerate(labels)]


def by_step(contexts: Contexts) -> list[MarginClass]:
    """Classes of margins in steps of the logits, exact ties first, of contexts whose step is told."""
    of = _classes(np.round(contexts.steps, 2), STEP_EDGES)
    labels = ["0"] + [
        f"{low + 1}" if high == low + 1 else f"{low + 1} to {high}" for low, high in pairwise(STEP_EDGES)
    ]
    return [_margin_class(label, contexts.where(of == index)) for index, label in enumerate(labels)]


def _classes(values: Floats, edges: Sequence[float]) -> Counts:
    """The number of each value's class; -1 where it is not known."""
    found = np.searchsorted(np.asarray(edges, dtype=np.float64) + 1e-5, values, side="left")
    return np.where(np.isnan(values), -1, found)


def _fraction(edge: float) -> str:
    return f"1/{round(1 / edge)}" if edge < 1 else f"{edge:g}"


def _margin_class(label: str, contexts: Contexts) -> MarginClass:
    return MarginClass(
        label, int(contexts.margins.size), int(np.count_nonzero(contexts.events)), contexts.rate()
    )


def foretell(contexts: Contexts) -> Foretold | None:
    """Fit the classes of margins on every other stretch of text, expect the events of the rest; None without two.

    In each draw a class has a rate of contexts that flip (gamma, from those of the fitted half over its exposure, with
    one more over all classes), so many of the other half's flip (Poisson), and each of them has the events of one that
    was seen to flip in the fitted half, one where none was. A class of which the fitted half has no exposure has the
    rate of all. Seeded.
    """
    known = contexts.known
    stretches = np.unique(known.stretches)
    if stretches.size < 2:
        return None
    fitted = np.searchsorted(stretches, known.stretches) % 2 == 0
    fit, test = known.where(fitted), known.where(~fitted)
    classes = len(EDGES) + 1
    flipped = np.bincount(_classes(fit.margins, EDGES)[fit.events > 0], minlength=classes)
    seen = np.bincount(_classes(fit.margins, EDGES), weights=fit.replays, minlength=classes)
    asked = np.bincount(_classes(test.margins, EDGES), weights=test.replays, minlength=classes)
    sizes = fit.events[fit.events > 0] if flipped.any() else np.ones(1, dtype=np.int64)
    total = max(float(seen.sum()), 1.0)
    overall = flipped.sum() / total
    rates = np.divide(flipped, seen, out=np.full(classes, overall), where=seen > 0)
    generator = np.random.default_rng(0)
    shapes = np.where(seen > 0, flipped, flipped.sum()) + 1 / classes
    drawn = generator.gamma(shapes, 1 / np.where(seen > 0, seen, total), (DRAWS, classes)) * asked
    flips = generator.poisson(drawn).sum(axis=1)
    values, shares = np.unique(sizes, return_counts=True)
    events = generator.multinomial(flips, shares / sizes.size) @ values
    low, high = np.quantile(events, [0.025, 0.975], method="inverted_cdf")
    size = float(sizes.mean())
    return Foretold(
        expected=float(asked @ rates) * size,
        low=float(low),
        high=float(high),
        constant=float(asked.sum() * overall) * size,
        observed=int(test.events.sum()),
        fitted=int(fit.events.sum()),
    )


def moved_ties(contexts: Contexts) -> tuple[int, int]:
    """Exact ties among the contexts, and at how many of them another token was ever taken."""
    tied = contexts.margins == 0
    return int(np.count_nonzero(tied)), int(np.count_nonzero(tied & (contexts.events > 0)))
