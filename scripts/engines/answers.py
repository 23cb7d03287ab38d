"""From a server's answers to what is recorded: shapes checked, candidates ordered, digests made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from scripts.common.errors import EngineError
from scripts.common.files import canonical_json, sha256_bytes
from scripts.common.protocol import Generation, Scores
from scripts.engines.routing import Layer, routing_digest, routing_digests
from scripts.records.transcript import Candidate, FinishReason

Candidates = list[Candidate]


def ordered(candidates: Sequence[Candidate], count: int) -> Candidates:
    """The `count` most likely, best first, equal ones by id."""
    return sorted(candidates, key=lambda each: (-each[1], each[0]))[:count]


def digest(chosen: float, top: Candidates) -> str:
    """16 hexadecimal digits of the sha256 over what was returned of one position: equal doubles, equal digest."""
    return sha256_bytes(canonical_json([chosen, top]).encode())[:16]


def scores(
    first: int, chosen: list[float], top: list[Candidates], layers: Sequence[Layer] | None = None
) -> Scores:
    """Scores from the logprobs of ids from index `first` on.

    `layers`: the experts of every id but the last, in each layer; the step of an id computed the position after it.
    ValueError where their positions are not as many.
    """
    digests = [digest(*each) for each in zip(chosen, top, strict=True)]
    if layers is None:
        return Scores(first, digests, chosen, top)
    if {len(each) for each in layers} != {first - 1 + len(chosen)}:
        raise ValueError(f"experts of {[len(each) for each in layers]} ids, for {first - 1 + len(chosen)}")
    routing = routing_digests(layers, len(chosen))
    return Scores(first, digests, chosen, top, routing, routing_digest(layers, but=len(chosen)))


def generation(
    ids: list[int],
    chosen: Sequence[float | None] | None,
    top: list[Candidates] | None,
    *,
    max_tokens: int,
    stop_ids: Sequence[int],
    cached_tokens: int | None = None,
    ended: str | None = None,
) -> Generation:
    """A generation, checked: as many logprobs as ids, and ended by a stop id or by its length alone.

    `ended`: what a server that was not started here says has ended it, which is then as it is. Raises ValueError for
    anything else.
    """
    if ended is not None:
        return Generation(ids, ended, chosen, top, cached_tokens)
    stopped = [index for index, each in enumerate(ids) if each in stop_ids]
    if stopped and stopped[0] != len(ids) - 1:
        raise ValueError(f"the generation went on after the stop id {ids[stopped[0]]}")
    if not stopped and len(ids) != max_tokens:
        raise ValueError(f"the generation ended after {len(ids)} of {max_tokens} ids, without a stop id")
    reason: FinishReason = "stop" if stopped else "length"
    return Generation(ids, reason, chosen, top, cached_tokens)


@contextmanager
def checked(what: str, failure: Callable[[str], EngineError]) -> Iterator[None]:
    """Whatever a wrong shape raises while an answer is read becomes an EngineError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise failure(
            f"the answer to {what} has an unexpected shape ({type(error).__name__}: {error})"
        ) from error


def require_ids(value: Any) -> list[int]:
    """A list of token ids; ValueError for anything else."""
    if not isinstance(value, list) or any(type(each) is not int for each in value):
        raise ValueError("a list of token ids is expected")
    return value
