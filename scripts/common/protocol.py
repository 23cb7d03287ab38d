"""What a session asks of any engine: token ids in, token ids and logprobs out, nothing decoded between."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from scripts.records.engine import Described
from scripts.records.settings import GREEDY, Sampling
from scripts.records.transcript import Candidate, FinishReason, NativeCall, ServerSaid


@dataclass(frozen=True)
class Generation:
    """One generation.

    `output_ids`: the ids generated, the stop id included where one ended it.
    `chosen`: logprob of each output id, nat. `top`: for each position the k most likely
    `(id, logprob)`, best first, equal ones by id. Both are None where an engine offers no logprobs; a position
    without one is None in `chosen` and empty in `top`. `thoughts`, `native_calls`, `refusal`: what a chat endpoint
    gives beside the text; `output_ids` hold it too.
    `cached_tokens`: how many ids of the prompt the engine took from its cache, as it counts; None where it does not
    say. `said`: what a server that was not started here said of itself beside the answer. Both are no part of the
    answer, and equal generations may differ in them.
    """

    output_ids: list[int]
    finish_reason: FinishReason
    chosen: Sequence[float | None] | None
    top: list[list[Candidate]] | None
    cached_tokens: int | None = field(default=None, compare=False)
    thoughts: str | None = None
    native_calls: tuple[NativeCall, ...] = ()
    refusal: str | None = None
    said: ServerSaid | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Scores:
    """Logprobs of given ids under forcing, position by position, from index `first` of the ids on.

    `digests`: for each position a sha256 (16 hexadecimal digits) over all that the engine returned
    of its distribution: the full logits row where it has one, else the chosen and top logprobs.
    `chosen`, `top`: as in `Generation`. `routing`: for each position a digest of the experts that the layers
    chose in the step that computed it. `before`: one digest of the experts of all that was read before
    the step of the first position. Both are None where the engine does not say.
    """

    first: int
    digests: list[str]
    chosen: list[float]
    top: list[list[Candidate]]
    routing: list[str] | None = None
    before: str | None = None


class Engine(Protocol):
    """An engine that runs. Errors of the engine are `EngineError`, with the end of its log."""

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_tokens: int,
        stop_ids: Sequence[int],
        top_logprobs: int,
        sampling: Sampling = GREEDY,
    ) -> Generation:
        """Continue `prompt_ids` until a stop id or `max_tokens` ids were generated.

        Logprobs are the model's own, before temperature and top_p.
        """
        ...

    def score(self, ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Prefill `ids` at once and return the logprobs of ids[1:] (first = 1). UnsupportedError where it cannot."""
        ...

    def force(self, prompt_ids: Sequence[int], output_ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Decode `output_ids` after `prompt_ids`, one step an id, and return their logprobs.

        `first` = len(prompt_ids). UnsupportedError where it cannot.
        """
        ...

    def reset(self) -> None:
        """Empty every cache; called before each episode."""
        ...

    def describe(self) -> Described:
        """Version, resolved kernels and backends (None where unresolved), and arguments."""
        ...


@runtime_checkable
class Shared(Protocol):
    """What an engine is besides that takes several requests at once."""

    def another(self) -> AbstractContextManager[Engine]:
        """A further client of the same server, over a connection of its own, closed on leaving it."""
        ...
