"""From one row of logits to what is recorded of it: logprobs, the most likely ids, a digest."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from scripts.records.settings import Sampling

Row = NDArray[np.float32]
LogRow = NDArray[np.float64]


def log_softmax(logits: Row) -> LogRow:
    """Logits [vocabulary] in float32 to logprobs [vocabulary] in float64, nat."""
    row = logits.astype(np.float64)
    row -= np.maximum.reduce(row)
    row -= np.log(np.add.reduce(np.exp(row)))
    return row


def most_likely(row: LogRow | Row, count: int) -> NDArray[np.intp]:
    """The `count` ids with the largest values, best first, equal ones by id."""
    count = min(count, len(row))
    if count <= 0:
        return np.empty(0, dtype=np.intp)
    parted = row.copy()
    parted.partition(len(row) - count)
    found: NDArray[np.intp] = (row >= parted[len(row) - count]).nonzero()[0]
    return found[np.argsort(-row[found], kind="stable")][:count]  # found is sorted by id


def top_candidates(row: LogRow, count: int) -> list[tuple[int, float]]:
    """The `count` most likely `(id, logprob)` of logprobs [vocabulary]."""
    found = most_likely(row, count)
    return list(zip(found.tolist(), row[found].tolist(), strict=True))


def draw_id(logits: Row, sampling: Sampling, random: np.random.Generator) -> int:
    """An id drawn from logits [vocabulary] at a temperature above 0, among the most likely that reach `top_p`."""
    scaled = log_softmax(logits) / sampling.temperature
    chances = np.exp(scaled - scaled.max())
    order = np.argsort(-chances, kind="stable")
    reached = np.cumsum(chances[order])
    if sampling.top_p is not None:
        order = order[: int(np.searchsorted(reached, sampling.top_p * reached[-1])) + 1]
    reached = reached[: len(order)]
    found = int(np.searchsorted(reached, random.random() * reached[-1], "right"))
    return int(order[min(found, len(order) - 1)])


def row_digest(logits: Row) -> str:
    """16 hexadecimal digits of the sha256 of a row's bytes: equal bits, equal digest."""
    return hashlib.sha256(np.ascontiguousarray(logits).data).hexdigest()[:16]
