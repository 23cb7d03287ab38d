"""Tool calls and their results from a transcript of ours or from a chat log, whatever wrote it.

A chat log is what the OpenAI API is sent: a JSON list of messages, an object with `messages`, JSON Lines of messages or
of such objects, and the `input` and `output` items of its Responses API. Results in content blocks (`tool_use`,
`tool_result`) are read too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.common.errors import DataError
from scripts.common.files import canonical_json

READABLE = (
    "give a replay's transcript.jsonl, or a chat log: a JSON list of messages, JSON Lines, or "
    '{"messages": […]}'
)
LISTS = ("messages", "input", "output", "conversation", "response", "request")


@dataclass(frozen=True)
class Exchange:
    """One call of a tool. `arguments`: canonical where they are JSON. `said`: what the model had said before."""

    tool: str
    arguments: str
    result: str
    said: str = field(repr=False)

    @property
    def call(self) -> tuple[str, str]:
        """What was asked of which tool."""
        return self.tool, self.arguments


Conversations = dict[str, list[Exchange]]


def read_exchanges(path: Path) -> Conversations:
    """The tool calls of each conversation in a file, in their order; of our transcripts one conversation a scenario.

    DataError for a file that is missing, not JSON, or holds neither turns nor messages.
    """
    values = _values(path)
    if all(isinstance(value, dict) and {"scenario", "tool_results"} <= set(value) for value in values):
        return _turns(values)
    conversations = _logs(values)
    if not any(map(_is_message, (each for messages in conversations for each in messages))):
        raise DataError("there is neither a turn nor a chat message in it", where=str(path), remedy=READABLE)
    return {f"conversation {number}": _messages(each) for number, each in enumerate(conversations, start=1)}


def _values(path: Path) -> list[Any]:
    """The file's one JSON value, or those of its lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror})", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError("the file is not UTF-8 text", where=str(path), remedy=READABLE) from error
    if not text.strip():
        raise DataError("the file is empty", where=str(path), remedy=READABLE)
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        values = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise DataError(
                    f"this is not JSON ({error.msg})", where=f"{path}:{number}", remedy=READABLE
                ) from error
    return values


def _turns(lines: Iterable[Mapping[str, Any]]) -> Conversations:
    found: Conversations = {}
    said: dict[str, str] = {}
    for line in lines:
        name = str(line["scenario"])
        said[name] = said.get(name, "") + "\n" + str(line.get("text", ""))
        for call, result in zip(line.get("tool_calls", ()), line["tool_results"], strict=False):
            arguments = _arguments(call["arguments"])
            said[name] += f"\n{arguments}"
            exchange = Exchange(str(call["name"]), arguments, str(result), said[name])
            found.setdefault(name, []).append(exchange)
    return found


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and (
        "role" in value or value.get("type") in ("function_call", "function_call_output")
    )


def _logs(values: list[Any]) -> list[list[Any]]:
    """The messages of each conversation."""
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    if any(map(_is_message, values)):
        return [values]
    return [messages for value in values if (messages := _inside(value))]


def _inside(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return []
    messages = []
    for key in LISTS:
        if isinstance(value.get(key), list | dict):
            messages += _inside(value[key])
    for choice in value.get("choices", ()):
        messages += (
            [choice["message"]] if isinstance(choice, dict) and _is_message(choice.get("message")) else []
        )
    return messages


def _messages(messages: Iterable[Any]) -> list[Exchange]:
    """The exchanges of one conversation; a result finds its call by its id, else by its order."""
    found: list[Exchange] = []
    waiting: dict[str, tuple[str, str]] = {}
    said = ""

    def asked(key: object, name: object, arguments: object) -> None:
        nonlocal said
        given = _arguments(arguments)
        said += f"\n{given}"
        waiting[str(key) if key else f"#{len(waiting)}"] = str(name), given

    def answered(key: object, name: object, content: object) -> None:
        ready = str(key) if str(key) in waiting else next(iter(waiting), "")
        tool, arguments = waiting.pop(ready, (str(name or "unnamed tool"), ""))
        found.append(Exchange(tool, arguments, _text(content), said))

    for message in messages:
        if not isinstance(message, dict):
            continue
        kind, role, content = message.get("type"), message.get("role"), message.get("content")
        if kind == "function_call":
            asked(message.get("call_id"), message.get("name"), message.get("arguments"))
        elif kind == "function_call_output":
            answered(message.get("call_id"), None, message.get("output"))
        elif role in ("tool", "function"):
            answered(message.get("tool_call_id"), message.get("name"), content)
        else:
            if role == "assistant":
                said += f"\n{_text(content)}"
            for block in content if isinstance(content, list) else ():
                if isinstance(block, dict) and block.get("type") == "tool_use":
                    asked(block.get("id"), block.get("name"), block.get("input"))
                elif isinstance(block, dict) and block.get("type") == "tool_result":
                    answered(block.get("tool_use_id"), None, block.get("content"))
            for call in message.get("tool_calls") or ():
                function = call.get("function") or call
                asked(call.get("id"), function.get("name"), function.get("arguments"))
            if isinstance(message.get("function_call"), dict):
                function = message["function_call"]
                asked(None, function.get("name"), function.get("arguments"))
    return found


def _arguments(given: object) -> str:
    """Arguments in one form, whether they come as JSON or as its text."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError:
            return str(given)
    return canonical_json(given)


def _text(content: object) -> str:
    """A message's content as text: itself, its text blocks, or its JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        blocks = [
            str(each["text"]) if isinstance(each, dict) and isinstance(each.get("text"), str) else ""
            for each in content
        ]
        if any(blocks):
            return "\n".join(block for block in blocks if block)
    return json.dumps(content, ensure_ascii=False)
