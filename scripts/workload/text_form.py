"""The chat form where there is no tokenizer: text, as a chat endpoint takes it, behind the same ids.

Ids here are no model's: a prompt is its characters' code points, with a mark before each message; generated ids are
tokens where the endpoint names them with its logprobs (a number made of a token's sha256), else code points.
What an id means can so be read back, and equal ids are equal text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from scripts.common.errors import DataError
from scripts.records.base import Value
from scripts.workload.chat import Message
from scripts.workload.workloads import Request

END = 0x110000  # the first number that is no code point
_MARKS = {"system": END + 1, "user": END + 2, "assistant": END + 3}
_REQUEST = END + 4  # before a request that is sent as it is: its JSON
_ROLES = {mark: role for role, mark in _MARKS.items()}
_FIRST_TOKEN = 2**24
_tokens: dict[int, bytes] = {}  # what the token ids of this process mean

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


def token_id(token: bytes) -> int:
    """The id of a token by its bytes, from 2**24 to 2**31; DataError where two share one (2,000 tokens: 0.1 %)."""
    number = _FIRST_TOKEN + int.from_bytes(hashlib.sha256(token).digest()[:8], "big") % (2**31 - _FIRST_TOKEN)
    if _tokens.setdefault(number, token) != token:
        raise DataError(
            f"the tokens {token!r} and {_tokens[number]!r} have one id",
            remedy="name the folder of the model's tokenizer: tokenizer=FOLDER",
        )
    return number


def code_points(text: str) -> list[int]:
    """A text as ids."""
    return [ord(each) for each in text]


def read_ids(ids: Sequence[int]) -> str:
    """The text of ids, marks left out."""
    raw = b"".join(
        _tokens[each] if each >= _FIRST_TOKEN else chr(each).encode("utf-8", "surrogatepass")
        for each in ids
        if not END <= each < _FIRST_TOKEN
    )
    return raw.decode("utf-8", "replace")


def read_messages(ids: Sequence[int]) -> list[Message]:
    """The conversation that prompt ids stand for; the empty message at its end, which is to be written, left out."""
    messages: list[Message] = []
    start = 0
    for index in [*(i for i, each in enumerate(ids) if each in _ROLES), len(ids)]:
        if index > start:
            messages.append({"role": _ROLES[ids[start]], "content": read_ids(ids[start + 1 : index])})
        start = index
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
        """Ids to text."""
        return read_ids(ids)

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
        """The ids to append after a generation; tool results go back in a user's message."""
        parts = [
            f"<tool_response>\n{each['content']}\n</tool_response>"
            if each["role"] == "tool"
            else each["content"]
            for each in new
        ]
        return [*([] if stopped else [END]), *_framed([{"role": "user", "content": "\n".join(parts)}])]


def _framed(messages: Sequence[Message]) -> list[int]:
    ids: list[int] = []
    for each in messages:
        ids += [_MARKS[each["role"]], *code_points(each["content"])]
    return [*ids, _MARKS["assistant"]]
