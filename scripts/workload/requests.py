"""Requests of one's own, in any of the forms that they are kept in, as chat requests that are asked one by one.

A line of a file is a prompt, a chat request, a line of OpenAI's batch files, a captured body, or a recorded
conversation that ends with what the model said: of that one every assistant turn is a request, from its recorded
context. A file that an agent or a proxy logged is read by the reader that finds volatile state in logs, each of its
conversations alike.

A `JsonObject` here is what a line holds: somebody's request.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.common.errors import ConfigError, DataError
from scripts.records.base import JsonObject
from scripts.volatile.conversation import PROMPT_IDS, Call, Conversation, Part, Prompt, Result, Said, text_of
from scripts.volatile.forms import find_conversations, read_log
from scripts.workload.workloads import Request

Body = JsonObject

FORMS = (
    'write one JSON value a line: {"prompt": "…"}, {"messages": […]} with "tools" if there are any, or '
    '{"custom_id": "…", "body": {…}}; or give a log of conversations'
)
# A request's fields that are ours to say: the model, what is drawn and from what, what is recorded, and how it is sent.
OURS = (
    "model", "messages", "tools", "prompt", "input", "instructions", "system", "temperature", "top_p", "seed",
    "max_tokens", "max_completion_tokens", "max_output_tokens", "logprobs", "top_logprobs", "n", "stream",
    "stream_options", "custom_id",
)  # fmt: skip
WRAPS = ("body", "request", "request_body")
# What stands beside the messages of a run that an agent recorded, and in no request.
RECORDED = {
    "info", "trajectory", "trajectory_format", "history", "steps", "events", "samples", "environment", "instance_id",
    "task_id", "traj",
}  # fmt: skip
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PARTS = ("text", "image_url", "input_audio", "file", "refusal")
_NOT_IN_NAMES = re.compile(r"[^\w.:/@+-]+")


def read_requests(path: Path, max_tokens: int) -> tuple[Request, ...]:
    """The requests of a file, in its order; `max_tokens`: ids an answer may have, where a request does not say.

    ConfigError names file, line and remedy where a line is no request, two have one name, or there is none at all.
    """
    values = _values(path)
    if any(_is_request(value) for _, value in values):
        found = [
            request
            for place, value in values
            for request in _requests(value, _name(value, place), f"{path}:{place}", max_tokens)
        ]
    else:
        found = list(_logged(path, max_tokens))
    seen: set[str] = set()
    for request in found:
        if request.name in seen:
            raise ConfigError(
                f"two requests are called {request.name!r}",
                where=str(path),
                remedy="give each custom_id once",
            )
        seen.add(request.name)
    if not found:
        raise ConfigError("the file asks nothing", where=str(path), remedy=FORMS)
    return tuple(found)


def _values(path: Path) -> list[tuple[str, Any]]:
    """A file's values with their lines, or their places in the one list that it holds; none of a zip."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the file cannot be read ({error.strerror})", where=str(path)) from error
    found: list[tuple[str, Any]] = []
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            found.append((str(number), json.loads(line)))
        except (ValueError, RecursionError) as error:
            if not any(_is_request(value) for _, value in found):
                return [] if found else _document(raw)  # of a log, whose reader says what is wrong with it
            what = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"is not JSON ({error})"
            raise ConfigError(f"the line {what}", where=f"{path}:{number}", remedy=FORMS) from error
    return _listed(found[0][1]) or found if len(found) == 1 else found


def _document(raw: bytes) -> list[tuple[str, Any]]:
    """The value of a file that holds one alone, or the requests that it lists; nothing where it is no JSON."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return []
    return _listed(value) or [("1", value)]


def _listed(value: Any) -> list[tuple[str, Any]]:
    """The requests in a list of them, with their places from 1; nothing where it is something else."""
    listed = isinstance(value, list) and not _is_request(value) and all(map(_is_request, value))
    return [(f"[{number}]", each) for number, each in enumerate(value, start=1)] if listed else []


def _is_request(value: Any) -> bool:
    """Whether a line asks something by itself; entries of a log do so together."""
    if isinstance(value, str):
        return True
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, dict) and each.get("role") in ROLES for each in value)
    if not isinstance(value, dict) or RECORDED & set(value):
        return False
    return (
        any(isinstance(value.get(key), dict) and _is_request(value[key]) for key in WRAPS)
        or isinstance(value.get("messages"), list)
        or ("prompt" in value and "role" not in value)
        or ("input" in value and bool({"model", "instructions"} & set(value)))
    )


def _name(value: Any, place: str) -> str:
    given = value.get("custom_id") if isinstance(value, dict) else None
    return (
        _slug(str(given))
        if isinstance(given, str | int) and str(given).strip()
        else f"line-{place.strip('[]')}"
    )


def _slug(text: str) -> str:
    return _NOT_IN_NAMES.sub("-", text).strip("-")[:100]


def _requests(value: Any, name: str, where: str, max_tokens: int) -> Iterator[Request]:
    """The requests of one line."""
    if isinstance(value, str):
        value = {"prompt": value}
    elif isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, dict) or not _is_request(value):
        raise ConfigError("the line is no request", where=where, remedy=FORMS)
    for key in WRAPS:
        if isinstance(value.get(key), dict) and _is_request(value[key]):
            if str(value.get("url") or "").endswith(("/v1/completions", "/v1/embeddings")):
                raise ConfigError(
                    f"it asks {value['url']}, which has no chat form",
                    where=where,
                    remedy="ask it as a chat request: messages",
                )
            yield from _requests(value[key], name, where, max_tokens)
            return
    _refuse_half_characters(value, where)
    body = _as_messages(value, where)
    messages, tools = body["messages"], body.get("tools") or []
    _check_messages(messages, tools, where)
    wanted = next(
        (
            value[key]
            for key in ("max_completion_tokens", "max_tokens", "max_output_tokens")
            if value.get(key)
        ),
        max_tokens,
    )
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        raise ConfigError(f"max_tokens is {wanted!r}, no number of tokens", where=where)
    options = {key: each for key, each in body.items() if key not in OURS and each is not None}
    if messages[-1]["role"] != "assistant":
        yield Request(name, messages, tools, options, wanted)
        return
    yield from _turns(name, messages, tools, options, wanted)


def _turns(
    name: str, messages: list[Body], tools: list[Body], options: Body, max_tokens: int
) -> Iterator[Request]:
    """One request for each assistant turn of a conversation that has something before it."""
    turns = [index for index, each in enumerate(messages) if each["role"] == "assistant" and index]
    for number, index in enumerate(turns, start=1):
        yield Request(f"{name}.turn-{number}", messages[:index], tools, options, max_tokens)


def _as_messages(value: Body, where: str) -> Body:
    """A request's body with its conversation as OpenAI's chat messages."""
    prompt, messages = value.get("prompt"), value.get("messages")
    if not isinstance(messages, list) and "input" not in value:
        if not isinstance(prompt, str) or not prompt:
            raise ConfigError("the prompt is no text", where=where, remedy=FORMS)
        return {**value, "messages": [{"role": "user", "content": prompt}]}
    given = value.get("input")
    if not isinstance(messages, list) and isinstance(given, str):
        system = value.get("instructions")
        before = [{"role": "system", "content": system}] if isinstance(system, str) else []
        return {**value, "messages": [*before, {"role": "user", "content": given}]}
    if isinstance(messages, list) and "system" not in value and all(map(_is_chat_message, messages)):
        return value
    # Another maker's form of a request: what it says is read as from a log.
    found = find_conversations(copy.deepcopy(value))
    if len(found) != 1:
        raise ConfigError(f"it holds {len(found)} conversations in place of one", where=where, remedy=FORMS)
    said, tools = _messages(found[0], where)
    return {"messages": said, "tools": tools}


def _is_chat_message(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        return False
    content, calls = message.get("content"), message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(
        isinstance(each, dict) and isinstance(each.get("function"), dict) for each in calls
    ):
        return False
    return (
        content is None
        or isinstance(content, str)
        or (
            isinstance(content, list)
            and all(isinstance(each, dict) and each.get("type") in PARTS for each in content)
        )
    )


def _check_messages(messages: Any, tools: Any, where: str) -> None:
    if not messages:
        raise ConfigError("it has no message", where=where, remedy=FORMS)
    if not isinstance(tools, list) or not all(isinstance(each, dict) for each in tools):
        raise ConfigError("tools is no list of objects", where=where)
    if all(each["role"] in ("system", "developer", "assistant") for each in messages[:-1]) and (
        messages[-1]["role"] == "assistant"
    ):
        raise ConfigError(
            "nobody asks anything in it", where=where, remedy="give what was asked: a user message"
        )


def _refuse_half_characters(value: Body, where: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            "it holds half a character (a lone surrogate), which no server takes",
            where=where,
            remedy="write the character whole, or leave it out",
        ) from error


# ---------------------------------------------------------------- logs


def _logged(path: Path, max_tokens: int) -> Iterator[Request]:
    """Every assistant turn of every conversation in a log."""
    try:
        log = read_log(path)
    except DataError as error:
        raise ConfigError(error.what, where=error.where, remedy=FORMS) from error
    for conversation in log.conversations:
        name = _slug(conversation.name.removeprefix("task "))
        where = f"{path}: {conversation.name}"
        messages, tools = _messages(conversation, where)
        _refuse_half_characters({"messages": messages}, where)
        yield from _turns(name, messages, tools, {}, max_tokens)


def _messages(conversation: Conversation, where: str) -> tuple[list[Body], list[Body]]:
    """A conversation as chat messages, and the tools that were offered."""
    messages: list[Body] = []
    tools: list[Body] = []
    waiting: list[str] = []
    calls = 0
    for item in conversation.items:
        if isinstance(item, Prompt) and item.role == "tools":
            tools = [_tool(json.loads(line)) for line in text_of(item.content).splitlines()]
        elif isinstance(item, Prompt):
            messages.append({"role": item.role, "content": _content(item.content, where)})
        elif isinstance(item, Result):
            if item.written:
                messages.append({"role": "user", "content": _content(item.content, where)})
                continue
            key = item.key if item.key in waiting else (waiting[0] if waiting else item.key)
            waiting = [each for each in waiting if each != key]
            said = {"role": "tool", "content": _content(item.content, where), "tool_call_id": key or "call_0"}
            messages.append(said)
        elif not (isinstance(item, Call) and item.written):
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": ""})
            turn = messages[-1]
            if isinstance(item, Said):
                turn["content"] = "\n\n".join(filter(None, [turn["content"], item.text]))
            else:
                calls += 1
                key = item.key or f"call_{calls}"
                waiting.append(key)
                function = {"name": item.tool, "arguments": item.arguments}
                turn.setdefault("tool_calls", []).append(
                    {"id": key, "type": "function", "function": function}
                )
    return messages, tools


def _tool(given: Any) -> Body:
    """A tool's description as OpenAI's chat requests have it."""
    if not isinstance(given, dict) or "function" in given:
        return given if isinstance(given, dict) else {"type": "function", "function": {"name": str(given)}}
    parameters = given.get("parameters", given.get("input_schema", {}))
    about = {key: given[key] for key in ("name", "description") if key in given}
    return {"type": "function", "function": {**about, "parameters": parameters}}


def _content(parts: Sequence[Part], where: str) -> str | list[Body]:
    """A content: its text, or with pictures the list of its parts."""
    if any(each.media == PROMPT_IDS for each in parts):
        raise ConfigError(
            "this is a transcript of this project, which holds a prompt as token ids",
            where=where,
            remedy="give the requests that it was made from",
        )
    if not any(each.media for each in parts):
        return "\n".join(each.text for each in parts)
    return [_picture(each) if each.media else {"type": "text", "text": each.text} for each in parts]


def _picture(part: Part) -> Body:
    whole = part.text.startswith(("data:", "http:", "https:"))
    url = (
        part.text if whole else f"data:{part.media if '/' in part.media else 'image/png'};base64,{part.text}"
    )
    return {"type": "image_url", "image_url": {"url": url}}
