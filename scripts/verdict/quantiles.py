"""Exact quantiles of many non-negative numbers in bounded memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from scripts.records.figures import Spread

Floats = NDArray[np.float64]
IN_MEMORY = 16 * 2**20
_BLOCK = 2**20
_SHIFT = np.uint64(44)
_BINS = 2**19  # the sign of a number ≥ 0 is 0


class Quantiles:
    """Numbers ≥ 0, each as often as its weight says, and their quantiles in the way of numpy's default.

    Zeros are only counted; the rest goes to a temporary file once it takes more than 16 MB.
    """

    def __init__(self) -> None:
        self.total = 0
        self.max = 0.0
        self._zeros = 0
        self._spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)
        self._stretches: list[tuple[int, int]] = []
        self._upto: NDArray[np.int64] | None = None  # of each bin, how many are in it and those below

    def add(self, values: Floats, weight: int = 1) -> None:
        """Add numbers, each `weight` times; NaN is left out."""
        known = values[~np.isnan(values)]
        some = known[known > 0]
        self.add_zeros(weight * (len(known) - len(some)))
        if not len(some) or weight == 0:
            return
        self.total += weight * len(some)
        self.max = max(self.max, float(some.max()))
        self._spool.write(some.astype(np.float64).tobytes())
        self._upto = None
        if self._stretches and self._stretches[-1][1] == weight:
            self._stretches[-1] = (self._stretches[-1][0] + len(some), weight)
        else:
            self._stretches.append((len(some), weight))

    def add_zeros(self, count: int) -> None:
        """Add `count` zeros."""
        self._zeros += count
        self.total += count

    def summary(self) -> Spread | None:
        """p50, p99 and max; None where nothing was added."""
        if not self.total:
            return None
        return Spread(p50=self.at(0.5), p99=self.at(0.99), max=self.max)

    def at(self, share: float) -> float:
        """The quantile at `share` of 0 to 1, between two numbers by straight line."""
        if not self.total:
            raise ValueError("no number was added")
        rank = (self.total - 1) * share
        low = math.floor(rank)
        below, above = self._ranked(low), self._ranked(min(low + 1, self.total - 1))
        return float(below + (above - below) * (rank - low))

    def _blocks(self) -> Iterator[tuple[Floats, int]]:
        self._spool.seek(0)
        for count, weight in self._stretches:
            left = count
            while left:
                size = min(left, _BLOCK)
                yield np.frombuffer(self._spool.read(8 * size), dtype=np.float64), weight
                left -= size
        self._spool.seek(0, 2)

    def _ranked(self, rank: int) -> float:
        if rank < self._zeros:
            return 0.0
        rank -= self._zeros
        if self._upto is None:
            histogram = np.zeros(_BINS, dtype=np.int64)
            for values, weight in self._blocks():
                histogram += weight * np.bincount(_bins(values), minlength=_BINS)
            self._upto = np.cumsum(histogram)
        chosen = int(np.searchsorted(self._upto, rank, side="right"))
        rank -= int(self._upto[chosen - 1]) if chosen else 0
        counts: dict[float, int] = {}
        for values, weight in self._blocks():
            distinct, times = np.unique(values[_bins(values) == chosen], return_counts=True)
            for value, count in zip(distinct.tolist(), times.tolist(), strict=True):
                counts[value] = counts.get(value, 0) + weight * count
        for value in sorted(counts):
            rank -= counts[value]
            if rank < 0:
                return value
        raise AssertionError("the histogram and the values disagree")


def _bins(values: Floats) -> NDArray[np.int64]:
    # The bits of non-negative doubles are in the order of the doubles: the first 20 are a bin 0.4 % wide.
    return (values.view(np.uint64) >> _SHIFT).astype(np.int64)
