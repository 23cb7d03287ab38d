"""The files of a replay: what was said (transcript), what was computed (logprobs), and the seconds it took (timing).

One canonical JSON object a line, one line a turn, in the order in which they happened. Transcript and logprobs hold
deterministic content only: `sha256sum` over them bears out every k/N of the table. Timing is never hashed.
"""

from __future__ import annotations

from typing import Literal

from scripts.records.base import LineRecord, Record, Value

FinishReason = Literal["stop", "length"]
Candidate = tuple[int, float]  # an id and its logprob, nat


class ToolCall(Record, frozen=True, kw_only=True):
    """A call of a tool, as it was parsed from the generated text."""

    name: str
    """The tool's name as the model wrote it, whether there is such a tool or not."""
    arguments: dict[str, Value]
    """Its arguments by name."""


class Answer(Record, frozen=True, kw_only=True):
    """An answer that was recorded."""

    question: int | str
    """The question's number in its scenario, from 1."""
    value: str
    """What was answered."""
    correct: bool
    """Whether that is the true answer."""


class Turn(LineRecord, frozen=True, kw_only=True):
    """One generation by the model in an episode, with what was added to the prompt before it."""

    scenario: str
    """Which episode of the replay."""
    turn: int
    """Its number in the episode, from 0."""
    appended_ids: list[int]
    """Token ids added to the prompt since the last generation; at turn 0 the whole prompt."""
    output_ids: list[int]
    """Token ids generated, the stop id included."""
    finish_reason: FinishReason
    """Whether a stop id ended it, or its length."""
    text: str
    """The generated ids as text, without the stop id."""
    tool_calls: list[ToolCall]
    """What the text calls, in its order."""
    tool_results: list[str]
    """What the tools returned, one a call."""
    answer: Answer | None
    """The answer that the turn recorded; null where it recorded none."""


class TurnLogprobs(LineRecord, frozen=True, kw_only=True):
    """The logprobs of one turn, in nat."""

    scenario: str
    """Which episode of the replay."""
    turn: int
    """Its number in the episode, from 0."""
    chosen: list[float]
    """The logprob of each generated id."""
    top: list[list[Candidate]]
    """For each position the k most likely ids with their logprobs, best first, equal ones by id."""


class TurnTiming(LineRecord, frozen=True, kw_only=True, omit_defaults=True):
    """How long one turn took, and how much of its prompt was there before."""

    scenario: str
    """Which episode of the replay."""
    turn: int
    """Its number in the episode, from 0."""
    tokens: int
    """Ids generated."""
    seconds: float
    """Seconds from the request to the whole answer, six digits."""
    prompt_tokens: int | None = None
    """Ids of the prompt; missing in older files."""
    cached_tokens: int | None = None
    """Those of them that the engine took from its cache, as it counts; missing where it does not say."""
