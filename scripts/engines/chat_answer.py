"""What an answer in OpenAI's chat form says, whoever wrote it: text, thoughts, calls, refusal, how it ended, and which
of its characters have logprobs.

Servers differ in all of it. What can be read is kept as what it is; logprobs that do not fit the text are none, for
the text stands without them; only an answer without a message is refused (ValueError, with what is wrong of it).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.common.files import canonical_json
from scripts.engines.answers import Candidates, ordered
from scripts.records.transcript import NativeCall, ServerSaid, Usage
from scripts.workload.text_form import END, Said, token_id

THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
WORDS = (
    "text",
    "thinking",
    "reasoning",
    "summary",
    "content",
    "refusal",
)  # keys under which a part has its text
# Parts of a response header's name that names a back end.
BACK_END = (
    "backend", "back-end", "served-by", "upstream", "provider", "replica", "instance", "worker", "node", "region",
    "model-version", "deployment",
)  # fmt: skip
# At most so many tokens of a part that a server parses out of the text are markup.
MARKUP = 12


@dataclass(frozen=True)
class Token:
    """A generated token that a server names: its bytes, its logprob, and the candidates, best first; None without."""

    raw: bytes
    logprob: float | None
    top: Candidates


@dataclass(frozen=True)
class ChatAnswer:
    """An answer. `tokens`: those that the server names with logprobs, in order; empty where it names none."""

    said: Said
    finish_reason: str | None
    tokens: list[Token]

    @property
    def stopped(self) -> bool:
        """Whether it ended as the model wanted."""
        return self.finish_reason == "stop"

    def ids(self) -> list[int]:
        """All that was generated, as ids."""
        return [*self.said.ids(), *([END] if self.stopped else [])]

    def bits(self) -> tuple[list[float | None], list[Candidates]] | None:
        """The logprob and the candidates of each id, at the first character of their token; None without any."""
        chosen: list[float | None] = []
        top: list[Candidates] = []
        at = 0
        joined = b"".join(token.raw for token in self.tokens)
        starts = dict(zip(_starts(self.tokens), self.tokens, strict=True))
        whole = self.said == Said(self.said.text)
        for kind, ids in self.said.parts():
            text = "".join(map(chr, ids)) if kind in ("thoughts", "text") else ""
            # A character that was cut off at the end has no bytes to be found by.
            raw = text.rstrip("\ufffd").encode()
            found = joined.find(raw, at) if raw and not (whole and not _covers(self.tokens, text)) else -1
            for character, begin in zip(ids, _offsets(text) if text else [0] * len(ids), strict=True):
                token = starts.get(found + begin) if found >= 0 and character < END else None
                chosen.append(token.logprob if token else None)
                top.append(token.top if token else [])
            at = found + len(raw) if found >= 0 else at
        if self.stopped:
            last = self.tokens[-1] if self.tokens and at + len(self.tokens[-1].raw) == len(joined) else None
            # Some servers name the end of the turn last, with its text or with none; others leave it out.
            named = last is not None and last.logprob is not None and (at < len(joined) or not last.raw)
            chosen.append(last.logprob if named and last else None)
            own = token_id(last.raw) if last else 0
            top.append(
                [(END if each == own else each, value) for each, value in last.top] if named and last else []
            )
        return (chosen, top) if any(each is not None for each in chosen) else None

    def visible_tokens(self) -> int:
        """At most so many tokens are in what was given: those that are named, else a byte each, and markup."""
        parts = 0
        for kind, ids in self.said.parts():
            if kind == "text" and self.tokens:
                continue
            parts += len("".join(chr(each) for each in ids if each < END).encode())
            parts += MARKUP if kind != "text" else 1
        # Some name the tokens of the thoughts too, so that these are counted twice: it is a bound.
        return parts + len(self.tokens) + 1


def read_answer(answer: Any, top_logprobs: int) -> ChatAnswer:
    """What an answer of /v1/chat/completions says; ValueError where it is none."""
    if not isinstance(answer, dict):
        raise ValueError(f"it is no JSON object but {_kind(answer)}")
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError(f"it has no choice: {_short(answer.get('error', answer))}")
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ValueError(f"its choice has no message but {_kind(message)}")
    return ChatAnswer(
        _read_said(message), _finish_reason(choice.get("finish_reason")), _tokens(choice, top_logprobs)
    )


def filtered(error: Any) -> ChatAnswer | None:
    """The answer that an error stands for where a filter has refused it; None for any other error."""
    inner = error.get("error") if isinstance(error, dict) else None
    if not isinstance(inner, dict) or "content_filter" not in (inner.get("code"), inner.get("type")):
        return None
    return ChatAnswer(Said("", refusal=clean(str(inner.get("message") or ""))), "content_filter", [])


def server_said(answer: Any, headers: Mapping[str, str]) -> ServerSaid:
    """What an answer says of the server: nothing of it is part of what was generated."""
    given = answer if isinstance(answer, dict) else {}
    timings = given.get("timings")
    timings = timings if isinstance(timings, dict) else {}
    usage = read_usage(given.get("usage"))
    if (
        usage is not None
        and usage.cached_tokens is None
        and (cached := _count(timings.get("cache_n"))) is not None
    ):
        usage = Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=cached,
            reasoning_tokens=usage.reasoning_tokens,
        )
    return ServerSaid(
        fingerprint=_word(given.get("system_fingerprint")),
        model=_word(given.get("model")),
        provider=_word(given.get("provider")),
        headers={
            name: clean(value)[:200]
            for name, value in sorted(headers.items())
            if name in ("server", "via") or any(part in name for part in BACK_END)
        },
        usage=usage,
        drafted=_count(timings.get("draft_n")),
        accepted=_count(timings.get("draft_n_accepted")),
    )


def read_usage(given: Any) -> Usage | None:
    """The tokens that an answer counts; None where it counts none."""
    if not isinstance(given, dict):
        return None

    def inner(name: str, key: str) -> int | None:
        details = given.get(name)
        return _count(details.get(key)) if isinstance(details, dict) else None

    return Usage(
        prompt_tokens=_count(given.get("prompt_tokens")),
        completion_tokens=_count(given.get("completion_tokens")),
        cached_tokens=inner("prompt_tokens_details", "cached_tokens"),
        reasoning_tokens=inner("completion_tokens_details", "reasoning_tokens"),
    )


def hidden_tokens(answer: ChatAnswer, usage: Usage | None) -> int | None:
    """At least so many generated tokens are not in what was given; None where that cannot be told, or is none."""
    if usage is None:
        return None
    more = (usage.completion_tokens or 0) - answer.visible_tokens()
    thought = usage.reasoning_tokens or 0 if answer.said.thoughts is None else 0
    return max(more, thought) if max(more, thought) > 0 else None


def clean(text: str) -> str:
    """A text that UTF-8 can write: halves of surrogate pairs are joined, and lone ones become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _read_said(message: Mapping[str, Any]) -> Said:
    text, thoughts, refusal = _content(message.get("content"))
    given = [words for key in THOUGHTS if (words := _words(message.get(key)))]
    # The same thoughts may stand under two names.
    given = list(dict.fromkeys([*([thoughts] if thoughts else []), *given]))
    given = [each for each in given if not any(each in other for other in given if other != each)]
    said = _words(message.get("refusal"))
    refused = "".join(each for each in (refusal, said) if each)
    return Said(text, "".join(given) or None, _calls(message), refused or None)


def _content(content: Any) -> tuple[str, str, str]:
    """Text, thoughts and refusal of a message's content: null, a text, or a list of parts."""
    if content is None or isinstance(content, str):
        return clean(content or ""), "", ""
    parts = content if isinstance(content, list) else [content]
    found = {"text": "", "thoughts": "", "refusal": ""}
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else "text"
        kind = kind if isinstance(kind, str) else ""
        where = (
            "thoughts"
            if "thinking" in kind or "reasoning" in kind
            else "refusal"
            if kind == "refusal"
            else "text"
        )
        found[where] += _words(part) or ""
    return found["text"], found["thoughts"], found["refusal"]


def _words(value: Any) -> str | None:
    """The text of a part, however deep it stands; what has none is kept as JSON. None for nothing at all."""
    if value is None or value == "" or value == [] or value == {}:
        return None
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return "".join(_words(each) or "" for each in value) or None
    if isinstance(value, dict):
        if "encrypted" in str(value.get("type")):  # other bytes every time, and no text: it counts as hidden
            return None
        for key in WORDS:
            if key in value:
                return _words(value[key])
    return _json(value)


def _calls(message: Mapping[str, Any]) -> tuple[NativeCall, ...]:
    given = message.get("tool_calls") or []
    listed = given if isinstance(given, list) else [given]
    if message.get("function_call"):
        listed = [*listed, {"function": message["function_call"]}]
    found = []
    for each in listed:
        inner = each if isinstance(each, dict) else {"name": "", "arguments": each}
        inner = next(
            (inner[key] for key in ("function", "custom") if isinstance(inner.get(key), dict)), inner
        )
        arguments = inner.get("arguments", inner.get("input", ""))
        found.append(
            NativeCall(
                name=_words(inner.get("name")) or "",
                arguments=clean(arguments) if isinstance(arguments, str) else _json(arguments),
            )
        )
    return tuple(found)


def _finish_reason(given: Any) -> str | None:
    return given if given is None else clean(given) if isinstance(given, str) else _json(given)


def _tokens(choice: Mapping[str, Any], count: int) -> list[Token]:
    """The tokens that a choice names with logprobs; none of them where one cannot be read."""
    try:
        rows = (choice.get("logprobs") or {}).get("content") or []
        return [_token(row, count) for row in rows]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return []


def _token(row: Mapping[str, Any], count: int) -> Token:
    raw, logprob = _bytes(row), _finite(row.get("logprob"))
    best: dict[int, float] = {}
    for each in row.get("top_logprobs") or []:
        if (value := _finite(each.get("logprob"))) is not None:
            number = token_id(_bytes(each))
            best[number] = max(value, best.get(number, value))
    if logprob is None or (
        not best and logprob == 0
    ):  # what a server that drafts writes in place of a logprob
        return Token(raw, None, [])
    own = token_id(raw)
    best.setdefault(own, logprob)
    top = ordered(list(best.items()), max(count, 1))
    # The chosen one is listed even where it is none of the most likely: what it is can be told by nothing else.
    return Token(raw, logprob, top if own in dict(top) else [*top, (own, best[own])])


def _bytes(row: Mapping[str, Any]) -> bytes:
    given = row.get("bytes")
    if given is None:
        return clean(str(row["token"])).encode()
    if not isinstance(given, list) or not all(type(each) is int for each in given):
        raise TypeError("bytes are no list of numbers")
    return bytes(given)


def _starts(tokens: Sequence[Token]) -> list[int]:
    """Where each token begins among the bytes of all. Tokens without a byte begin where nothing does."""
    starts, at = [], 0
    for number, token in enumerate(tokens):
        starts.append(at if token.raw else -1 - number)
        at += len(token.raw)
    return starts


def _offsets(text: str) -> list[int]:
    """Where each character begins among the text's bytes."""
    found, at = [], 0
    for each in text:
        found.append(at)
        at += len(each.encode())
    return found


def _covers(tokens: Sequence[Token], text: str) -> bool:
    """Whether tokens are those of a text, but for the end of the turn and for space at either end."""
    joined = b"".join(token.raw for token in tokens).decode("utf-8", "replace")
    without_end = b"".join(token.raw for token in tokens[:-1]).decode("utf-8", "replace")
    return text.strip() in (joined.strip(), without_end.strip())


def _finite(value: Any) -> float | None:
    """A number as a double; None for NaN, infinities, and what is too large or no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


def _word(value: Any) -> str | None:
    return clean(value)[:200] if isinstance(value, str) and value else None


def _json(value: Any) -> str:
    """A value as canonical JSON, in which NaN and infinities are text."""
    try:
        return clean(canonical_json(value))
    except ValueError:
        return clean(json.dumps(value, sort_keys=True))


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {_short(value)}"


def _short(value: Any) -> str:
    return clean(repr(value))[:200]
