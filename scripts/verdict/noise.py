"""How much the logprobs of one context differ between replays, and where the best two are exactly equal.

Noise is taken over positions at which two replays had one context and chose one id: at a flip there is no
one chosen token, and a flip must not widen the noise by which it is judged. Pairs are stars, so that the
cost stays linear: each replay is compared with one centre, the first replay that had this context and chose
this id, the reference before all others. Where n replays do, there are n - 1 pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.records.figures import NoiseSpread
from scripts.verdict.contexts import Path, Run
from scripts.verdict.logprobs import StreamLogprobs
from scripts.verdict.quantiles import Quantiles
from scripts.verdict.streams import Shape


@dataclass(frozen=True)
class _Centre:
    first: int
    arrays: StreamLogprobs

    def cut(self, start: int, stop: int) -> StreamLogprobs:
        begin, end = start - self.first, stop - self.first
        return StreamLogprobs(self.arrays.chosen[begin:end], self.arrays.margin[begin:end])


class Noise:
    """Adds up one scenario after the other, one replay after the other; centres must come before the rest."""

    def __init__(self) -> None:
        self.chosen = Quantiles()
        self.margin = Quantiles()
        self._centres: dict[Run, _Centre] = {}
        self._ties = 0
        self._late_ties: set[tuple[Run, int]] = set()

    @property
    def exact_ties(self) -> int:
        """Contexts at which some replay's best two logprobs are equal, each counted once."""
        return self._ties + len(self._late_ties)

    def summary(self) -> NoiseSpread | None:
        """The `noise` of cell.json; None where no position had one context in two replays."""
        chosen, margin = self.chosen.summary(), self.margin.summary()
        return None if chosen is None and margin is None else NoiseSpread(chosen=chosen, margin=margin)

    def add_first(
        self, arrays: StreamLogprobs, shape: Shape, path: Path, replays: int, *, alone: bool
    ) -> None:
        """Add the first logprobs file of a trajectory, which `replays` replays share bit by bit.

        `alone`: the trajectory has no other logprobs file, so that its own run need only be kept as far as
        other trajectories came.
        """
        flipped = self._along(arrays, shape, path, replays)
        if path.own is None:
            return
        start = _token(shape, path.own.start)
        known = int(np.count_nonzero(~np.isnan(arrays.margin[start:])))
        self.chosen.add_zeros((replays - 1) * int(np.count_nonzero(~np.isnan(arrays.chosen[start:]))))
        self.margin.add_zeros((replays - 1) * known)
        self._ties += int(np.count_nonzero(arrays.margin[start + flipped :] == 0))
        end = min(_token(shape, path.own.shared), shape.tokens) if alone else shape.tokens
        if end > start:
            kept = StreamLogprobs(arrays.chosen[start:end].copy(), arrays.margin[start:end].copy())
            self._centres[path.own] = _Centre(start, kept)

    def add_unknown(self, shape: Shape, path: Path) -> None:
        """Add a trajectory of which no replay has logprobs: whoever comes along it later finds nothing known."""
        if path.own is not None:
            start = _token(shape, path.own.start)
            nothing = np.full(shape.tokens - start, np.nan)
            self._centres[path.own] = _Centre(start, StreamLogprobs(nothing, nothing))

    def add_further(self, arrays: StreamLogprobs, shape: Shape, path: Path, replays: int) -> None:
        """Add another logprobs file of a trajectory whose first one was added before."""
        flipped = self._along(arrays, shape, path, replays)
        if path.own is not None:
            start, stop = _token(shape, path.own.start), shape.tokens
            self._compare(arrays, path.own, start, stop, replays)
            self._note_ties(arrays, path.own, start + flipped, stop)

    def _along(self, arrays: StreamLogprobs, shape: Shape, path: Path, replays: int) -> bool:
        """Compare along older runs; whether the last of them was left by a flip, both ids being there."""
        flipped = False
        for segment in path.segments:
            start, stop = _token(shape, segment.start), _token(shape, segment.stop)
            self._compare(arrays, segment.run, start, stop, replays)
            # The context of a flip belongs to the run that was left, once.
            self._note_ties(arrays, segment.run, start + flipped, stop + segment.flipped)
            flipped = segment.flipped
        return flipped

    def _compare(self, arrays: StreamLogprobs, run: Run, start: int, stop: int, replays: int) -> None:
        if start < stop:
            centre = self._centres[run].cut(start, stop)
            self.chosen.add(np.abs(arrays.chosen[start:stop] - centre.chosen), replays)
            self.margin.add(np.abs(arrays.margin[start:stop] - centre.margin), replays)

    def _note_ties(self, arrays: StreamLogprobs, run: Run, start: int, stop: int) -> None:
        if start < stop:
            centre = self._centres[run].cut(start, stop)
            late = np.flatnonzero((arrays.margin[start:stop] == 0) & (centre.margin != 0)) + start
            self._late_ties.update((run, int(position)) for position in late)


def _token(shape: Shape, index: int) -> int:
    return shape.place(index).position
