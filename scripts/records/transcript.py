"""The files of a replay: what was said (transcript), what was computed (logprobs), the seconds it took (timing), and
what a server that was not started here said of itself beside its answers (answers).

One canonical JSON object a line, one line a turn, in the order in which they happened. Transcript and logprobs hold
deterministic content only: `sha256sum` over them bears out every k/N of the table. The others are never hashed.
"""

from __future__ import annotations

from scripts.records.base import LineRecord, Record, Value

FinishReason = str | None
"""stop (a stop id ended it), length, or what else a server says: tool_calls, content_filter, …; null where nothing."""
Candidate = tuple[int, float]  # an id and its logprob, nat


class ToolCall(Record, frozen=True, kw_only=True):
    """A call of a tool, as it was parsed from the generated text."""

    name: str
    """The tool's name as the model wrote it, whether there is such a tool or not."""
    arguments: dict[str, Value]
    """Its arguments by name."""


class NativeCall(Record, frozen=True, kw_only=True):
    """A call of a tool in the form of a server's own, beside the text."""

    name: str
    """The tool's name."""
    arguments: str
    """Its arguments as they were generated: JSON text, whether it can be read or not."""


class Answer(Record, frozen=True, kw_only=True):
    """An answer that was recorded."""

    question: int | str
    """The question's number in its scenario, from 1."""
    value: str
    """What was answered."""
    correct: bool
    """Whether that is the true answer."""


class Turn(LineRecord, frozen=True, kw_only=True, omit_defaults=True):
    """One generation by the model in an episode, with what was added to the prompt before it."""

    scenario: str
    """Which episode of the replay."""
    turn: int
    """Its number in the episode, from 0."""
    appended_ids: list[int]
    """Token ids added to the prompt since the last generation; at turn 0 the whole prompt."""
    output_ids: list[int]
    """Token ids generated, the stop id included. Of a chat endpoint the code points of all that was generated."""
    finish_reason: FinishReason
    """What ended it."""
    text: str
    """The generated ids as text, without the stop id."""
    tool_calls: list[ToolCall]
    """What the text calls, in its order."""
    tool_results: list[str]
    """What the tools returned, one a call."""
    answer: Answer | None
    """The answer that the turn recorded; null where it recorded none."""
    thoughts: str | None = None
    """What a server gave of its thoughts beside the text; missing where it gave none."""
    native_calls: list[NativeCall] = []
    """Calls that a server gave beside the text; missing where it gave none. They stand in `tool_calls` too."""
    refusal: str | None = None
    """The server's words of refusal, beside or in place of the text; missing where it gave none."""


class TurnLogprobs(LineRecord, frozen=True, kw_only=True):
    """The logprobs of one turn, in nat. Both lists are empty where the server gave none for the turn.

    A chat endpoint's stand at the first character of their token; candidates are numbers made of their bytes.
    """

    scenario: str
    """Which episode of the replay."""
    turn: int
    """Its number in the episode, from 0."""
    chosen: list[float | None]
    """The logprob of each generated id; null where there is none."""
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


class Usage(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The tokens that a server counted of one answer; missing is what it did not count."""

    prompt_tokens: int | None = None
    """Of the prompt as the server read it."""
    completion_tokens: int | None = None
    """Generated, hidden ones included."""
    cached_tokens: int | None = None
    """Of the prompt, taken from a cache."""
    reasoning_tokens: int | None = None
    """Of those generated, thoughts."""


class ServerSaid(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a server said of itself beside one answer; missing is what it did not say."""

    fingerprint: str | None = None
    """`system_fingerprint`."""
    model: str | None = None
    """The model that it says has answered."""
    provider: str | None = None
    """Who it says has answered, behind a router."""
    headers: dict[str, str] = {}
    """Response headers that name a back end."""
    usage: Usage | None = None
    """Tokens as it counted them."""
    named_tokens: int | None = None
    """Tokens that it names one by one."""
    tokens_with_bits: int | None = None
    """Those of them that stand in the text with a logprob."""
    hidden_tokens: int | None = None
    """At least so many of the completion's tokens are neither in the text nor in the thoughts that it gave."""
    server_prompt: str | None = None
    """The sha256 of the prompt as the server makes it of the conversation, asked of it beside; null where it does
    not say."""
    counters: dict[str, int] = {}
    """Counters of the server after the answer: queued, preempted, cache_queries, cache_hits, drafted, accepted."""
    drafted: int | None = None
    """Tokens that were proposed for this answer by speculative decoding."""
    accepted: int | None = None
    """Those of them that were taken."""
    waits: int = 0
    """How often the server was busy (429, 503) before it answered."""
    wait_seconds: float = 0.0
    """How long was waited for that."""
    reconnections: int = 0
    """How often a connection that had been left open was closed before a byte of the answer came."""


class TurnAnswered(LineRecord, frozen=True, kw_only=True):
    """What a server said beside the answer of one turn."""

    scenario: str
    """Which episode of the replay."""
    turn: int
    """Its number in the episode, from 0."""
    said: ServerSaid
    """What it said."""
