"""The chat form where there is no tokenizer: text, as a chat endpoint takes it, behind the same ids.

Ids here are no model's: they are the code points of what was said, with a mark before each part, whatever tokens the
endpoint made of it. What an id means can so be read back, and equal ids are equal text, whether an answer came with
logprobs or without.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from scripts.records.base import Value
from scripts.records.transcript import NativeCall

if TYPE_CHECKING:  # a verdict reads this form without a tokenizer at hand
    from scripts.workload.chat import Message
    from scripts.workload.workloads import Request

END = 0x110000  # the first number that is no code point
_MARKS = {"system": END + 1, "user": END + 2, "assistant": END + 3, "tool": END + 5}
_REQUEST = END + 4  # before a request that is sent as it is: its JSON
_ROLES = {mark: role for role, mark in _MARKS.items()}
# Before the parts of an answer: what stands before the first of them is its text.
_THOUGHTS, _TEXT, _CALL, _ARGUMENTS, _REFUSAL = range(END + 8, END + 13)
FIRST_TOKEN = 2**24  # numbers of tokens among candidates are from here on

CALLS = """

# Tools

You have these tools:
{tools}

To call one, write nothing but this, the value of each parameter on its own lines:
<tool_call>
<function=NAME>
<parameter=KEY>
value
</parameter>
</function>
</tool_call>"""


@dataclass(frozen=True)
class Said:
    """All that one answer says: its text, and what a server gives beside it."""

    text: str
    thoughts: str | None = None
    calls: tuple[NativeCall, ...] = ()
    refusal: str | None = None

    def parts(self) -> Iterator[tuple[str, list[int]]]:
        """Its parts as ids, in the order in which they were generated, by what they are; marks are parts too."""
        if self.thoughts is not None:
            yield "mark", [_THOUGHTS]
            yield "thoughts", code_points(self.thoughts)
            yield "mark", [_TEXT]
        yield "text", code_points(self.text)
        for call in self.calls:
            yield "call", [_CALL, *code_points(call.name), _ARGUMENTS, *code_points(call.arguments)]
        if self.refusal is not None:
            yield "refusal", [_REFUSAL, *code_points(self.refusal)]

    def ids(self) -> list[int]:
        """All of it as ids, without an end."""
        return [each for _, ids in self.parts() for each in ids]


def read_said(ids: Sequence[int]) -> Said:
    """What the ids of an answer say; an end is left out."""
    found: dict[int, str] = {}
    calls: list[list[str]] = []
    for mark, text in _split(ids, range(_THOUGHTS, _REFUSAL + 1)):
        if mark == _CALL:
            calls.append([text, ""])
        elif mark == _ARGUMENTS and calls:
            calls[-1][1] = text
        else:
            found[mark] = found.get(mark, "") + text
    return Said(
        found.get(0, "") + found.get(_TEXT, ""),
        found.get(_THOUGHTS),
        tuple(NativeCall(name=name, arguments=arguments) for name, arguments in calls),
        found.get(_REFUSAL),
    )


def token_id(token: bytes) -> int:
    """A number for a token among candidates, by its bytes: from 2**24 to 2**31, above all ids of text."""
    return FIRST_TOKEN + int.from_bytes(hashlib.sha256(token).digest()[:8], "big") % (2**31 - FIRST_TOKEN)


def code_points(text: str) -> list[int]:
    """A text as ids."""
    return [ord(each) for each in text]


def read_ids(ids: Sequence[int]) -> str:
    """The text of ids, marks left out."""
    return "".join(chr(each) for each in ids if each < END)


def _split(ids: Sequence[int], marks: Sequence[int]) -> Iterator[tuple[int, str]]:
    """The texts between `marks`, each with the one before it; 0 for what stands before the first."""
    starts = [index for index, each in enumerate(ids) if each in marks]
    if text := read_ids(ids[: starts[0]] if starts else ids):
        yield 0, text
    for start, stop in pairwise([*starts, len(ids)]):
        yield ids[start], read_ids(ids[start + 1 : stop])


def read_messages(ids: Sequence[int]) -> list[Message]:
    """The conversation that prompt ids stand for, as a chat endpoint takes it; the empty message at its end, which is
    to be written, is left out. Thoughts are not sent back; native calls are, and their results in their order."""
    messages: list[Message] = []
    starts = [index for index, each in enumerate(ids) if each in _ROLES]
    called = 0
    for start, stop in pairwise([*starts, len(ids)]):
        role, part = _ROLES[ids[start]], ids[start + 1 : stop]
        if role == "assistant":
            said = read_said(part)
            message: Message = {"role": role, "content": said.text or said.refusal or ""}
            if said.calls:
                called = len(messages)
                message["tool_calls"] = [
                    {
                        "id": f"call_{called}_{number}",
                        "type": "function",
                        "function": {"name": call.name, "arguments": call.arguments},
                    }
                    for number, call in enumerate(said.calls)
                ]
            messages.append(message)
        elif role == "tool":
            messages.append(
                {
                    "role": role,
                    "tool_call_id": f"call_{called}_{len(messages) - called - 1}",
                    "content": read_ids(part),
                }
            )
        else:
            messages.append({"role": role, "content": read_ids(part)})
    return messages[:-1]


def read_body(ids: Sequence[int]) -> dict[str, Value]:
    """What a chat endpoint is sent for prompt ids: the conversation, or the request as somebody wrote it."""
    if ids[:1] == [_REQUEST]:
        body: dict[str, Value] = json.loads(read_ids(ids))
        return body
    return {"messages": read_messages(ids)}


class TextForm:
    """Stands in for `ChatForm`: the same methods, over text. Tools are explained in the system's message, since what a
    server's own parser makes of calls would be one more thing that differs."""

    stop_ids = (END,)

    def encode(self, text: str) -> list[int]:
        """Text to code points."""
        return code_points(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's ids, without what was given beside it."""
        return read_said(ids).text

    def first_prompt(self, messages: Sequence[Message], tools: Sequence[dict[str, Value]]) -> list[int]:
        """The ids of an episode's first prompt."""
        listing = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        first, *rest = messages
        return _framed([{**first, "content": first["content"] + CALLS.format(tools=listing)}, *rest])

    def request_prompt(self, request: Request) -> list[int]:
        """The ids of a request: its body, which is sent as it is."""
        return [_REQUEST, *code_points(json.dumps(request.body, ensure_ascii=False, separators=(",", ":")))]

    def next_prompt(
        self,
        history: Sequence[Message],
        new: Sequence[Message],
        tools: Sequence[dict[str, Value]],
        *,
        stopped: bool,
    ) -> list[int]:
        """The ids to append after a generation; tool results go back in a user's message, those of native calls, which
        are marked `native`, each in a message of its own."""
        ids = [] if stopped else [END]
        for each in new:
            if each.get("native"):
                ids += [_MARKS["tool"], *code_points(each["content"])]
        parts = [
            f"<tool_response>\n{each['content']}\n</tool_response>"
            if each["role"] == "tool"
            else each["content"]
            for each in new
            if not each.get("native")
        ]
        said: list[Message] = [{"role": "user", "content": "\n".join(parts)}] if parts else []
        return [*ids, *_framed(said)]


def _framed(messages: Sequence[Message]) -> list[int]:
    ids: list[int] = []
    for each in messages:
        ids += [_MARKS[each["role"]], *code_points(each["content"])]
    return [*ids, _MARKS["assistant"]]
