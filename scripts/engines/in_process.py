"""What the engines in process share: greedy decoding, scoring and forcing over full rows of logits.

The context only grows inside an episode, and each prompt extends what it holds. Where one does not, the longest common
prefix is used again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from scripts.common.errors import EngineError
from scripts.common.protocol import Generation, Scores
from scripts.engines.distribution import Row, draw_id, log_softmax, row_digest, top_candidates
from scripts.records.settings import GREEDY, Sampling
from scripts.records.transcript import Candidate

# Rows of logits that are turned into logprobs one after another: between two decodings each would find the processor's
# caches cold, and take five times as long.
ROWS_AT_ONCE = 32


class InProcess(ABC):
    """An engine in process of one sequence. `batch`: how many ids of a prompt are read in one call; `room`: how many
    ids the context takes; `room_key`: the argument that says so.

    A kind says how ids are read (`_read`, `_read_rows`), where the last row of logits is, and how the context is cut.
    """

    def __init__(self, *, batch: int, room: int, room_key: str) -> None:
        self._batch, self._room, self._room_key = batch, room, room_key
        self._held: list[int] = []
        self._kept = 0  # of the prompt that was read last, how many ids the context held

    @abstractmethod
    def _read(self, ids: Sequence[int]) -> None:
        """Read ids after those that the context holds."""

    @abstractmethod
    def _read_rows(self, ids: Sequence[int]) -> Iterator[Row]:
        """As `_read`, with the logits [vocabulary] after each id."""

    @abstractmethod
    def _last_row(self) -> Row:
        """The logits [vocabulary] after the id that was read last; the next reading may overwrite them."""

    @abstractmethod
    def _cut(self, keep: int) -> None:
        """Cut what the context holds to its first `keep` ids; 0 empties it."""

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_tokens: int,
        stop_ids: Sequence[int],
        top_logprobs: int,
        sampling: Sampling = GREEDY,
    ) -> Generation:
        """Greedy decoding: the most likely id, the smallest where several are equal; else a draw from the seed."""
        random = None if sampling.greedy else np.random.default_rng(sampling.seed)
        self._extend_to(prompt_ids)
        output: list[int] = []
        chosen: list[float] = []
        top: list[list[Candidate]] = []
        kept: list[Row] = []
        while True:
            logits = self._last_row().copy()
            token = int(logits.argmax()) if random is None else draw_id(logits, sampling, random)
            output.append(token)
            kept.append(logits)
            ended = token in stop_ids
            if ended or len(output) == max_tokens or len(kept) == ROWS_AT_ONCE:
                for each, row in zip(output[-len(kept) :], map(log_softmax, kept), strict=True):
                    chosen.append(float(row[each]))
                    top.append(top_candidates(row, top_logprobs))
                kept.clear()
            if ended or len(output) == max_tokens:
                return Generation(output, "stop" if ended else "length", chosen, top, self._kept)
            self._extend([token])

    def score(self, ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Prefill in batches, logits of every position; the context is emptied first."""
        self._empty()

        def rows() -> Iterator[Row]:
            for start in range(0, len(ids), self._batch):
                part = ids[start : start + self._batch]
                self._check_room(len(part))
                found = self._read_rows(part)
                self._held.extend(part)
                yield from found

        return _scores(1, rows(), ids[1:], top_logprobs)

    def force(self, prompt_ids: Sequence[int], output_ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Decode the given ids one by one and keep the logits before each."""
        self._extend_to(prompt_ids)

        def rows() -> Iterator[Row]:
            for token in output_ids:
                yield self._last_row()
                self._extend([token])

        # The last id is not decoded: nobody asks for what comes after it.
        return _scores(len(prompt_ids), rows(), output_ids, top_logprobs)

    def reset(self) -> None:
        """Empty the context."""
        self._empty()

    def _empty(self) -> None:
        self._cut(0)
        self._held = []

    def _extend_to(self, ids: Sequence[int]) -> None:
        """Bring the context to exactly `ids`, reading what it does not hold; the last id is always read anew
        where nothing else is left to read."""
        wanted, held = list(ids), self._held
        if not wanted:
            raise EngineError("the prompt is empty")
        keep = len(held) if wanted[: len(held)] == held else _common(held, wanted)
        keep = min(keep, len(wanted) - 1)
        if keep < len(held):
            self._cut(keep)
            self._held = held[:keep]
        self._kept = keep
        for start in range(keep, len(wanted), self._batch):
            self._extend(wanted[start : start + self._batch])

    def _extend(self, ids: Sequence[int]) -> None:
        self._check_room(len(ids))
        self._read(ids)
        self._held.extend(ids)

    def _check_room(self, ids: int) -> None:
        if len(self._held) + ids > self._room:
            raise EngineError(
                f"no room left in a context of {self._room} ids",
                remedy=f"raise {self._room_key} in config/engines.yaml",
            )


def _scores(first: int, rows: Iterator[Row], ids: Sequence[int], top_logprobs: int) -> Scores:
    digests, chosen, top = [], [], []
    for token, logits in zip(ids, rows, strict=False):
        row = log_softmax(logits)
        digests.append(row_digest(logits))
        chosen.append(float(row[token]))
        top.append(top_candidates(row, top_logprobs))
    return Scores(first, digests, chosen, top)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """The length of the longest common prefix."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
