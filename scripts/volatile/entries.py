"""One entry of a log, whatever wrote it: a message, an item, an event, a step, a block; and what it says.

A form is not recognised by its maker's name but by what stands in it. What is common to all: somebody was asked, said
something, called a tool by a name with arguments, and got a result that names the call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scripts.volatile.conversation import Call, Item, Part, Prompt, Result, Said, part, text_of

Object = Mapping[str, Any]


def _words(text: str) -> list[str]:
    return text.split()


_SPEAKERS = {
    "user": "user human humanmessage humanmessagechunk usermessage user_message textmessage",
    "assistant": "assistant ai aimessage aimessagechunk model gemini agent gpt agent_message agent_reasoning reasoning",
    "system": "system developer systemmessage",
    "tool": "tool function toolmessage toolmessagechunk functionmessage environment ipython observation toolresult",
}
ROLES = {name: role for role, names in _SPEAKERS.items() for name in names.split()}
WRAPS = _words("message payload item msg data kwargs llm_message event")
CALL_LISTS = _words("tool_calls toolCalls toolInvocations tool_uses")
RESULT_LISTS = _words("tool_results toolResults")
IDS = _words(
    "tool_use_id toolUseId tool_call_id tool_call_ids toolCallId source_call_id call_id callId callID toolId id"
)
NAMES = _words("toolName tool_name function_name name tool function recipient_name server_tool_name")
ARGUMENTS = _words(
    "arguments args input parameters tool_input kwargs rawArgs action command code queries changes query"
)
OUTPUTS = _words(
    "output outputs result results formatted_output aggregated_output response content error stdout value"
)
SYSTEMS = _words(
    "system instructions system_instruction systemInstruction system_prompt systemPrompt base_instructions"
)
TOOLS = _words("tools functions toolConfig tool_config tool_definitions")
UNSEEN = frozenset(
    _words(
        "item.started item.updated turn_context progress change_agent_state agent_state_changed null recall"
        " condensation"
    )
)
CALLS = _words("tool_call tool_use function_call functioncall tool_invocation file_change")
CALL_ENDS = ("_tool_use", "_call", "_call_begin", "_command_begin", "_execution", "_search")
RESULT_ENDS = (
    "tool_result", "tool_return", "tool_error", "tool_call_response", "_output", "_call_end", "_command_end"
)  # fmt: skip
NATIVE_CALLS = _words("toolUse functionCall function_call toolCall")
NATIVE_RESULTS = _words(
    "toolResult functionResponse function_response codeExecutionResult code_execution_result"
)
SILENT = _words("redacted_thinking step_start step_finish snapshot patch refusal")
MEDIA = _words(
    "image image_url input_image image_data document input_audio audio video file media computer_screenshot"
)
# What may stand beside a part's text and is nothing that a model reads.
BESIDE_TEXT = set(
    _words(
        "type cache_control annotations kind logprobs citations id providerMetadata thoughtSignature signature"
        " reasoning"
    )
)
BESIDE_CONTENT = set(_words("type content is_error isError parts role meta _meta structured_content"))


def read_entry(value: Any) -> list[Item]:
    """What an entry of a list says; nothing where it is no entry of a conversation."""
    return list(_entry(value)) if isinstance(value, dict) else []


def read_context(value: Object) -> tuple[Prompt, ...]:
    """The system prompt and the tools' descriptions that stand beside a list of messages."""
    found: list[Prompt] = []
    for key in SYSTEMS:
        if isinstance(value.get(key), str | list | dict) and (content := _content(value[key])):
            found.append(Prompt("system", content))
    for key in TOOLS:
        given = value.get(key)
        given = given.get("tools", given) if isinstance(given, dict) else given
        if isinstance(given, list) and given and isinstance(given[0], dict | str):
            lines = "\n".join(json.dumps(each, ensure_ascii=False) for each in given)
            found.append(Prompt("tools", (part(lines),)))
    return tuple(found)


def parsed(text: str) -> Any:
    """The value that a text is as JSON, else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _entry(value: dict[str, Any]) -> Iterator[Item]:
    kind = str(value.get("type") or value.get("kind") or "")
    marks = {kind, str(value.get("action")), str(value.get("observation"))}
    if marks & UNSEEN or (kind == "system" and "subtype" in value):
        return
    if kind in ("session_meta", "SystemPromptEvent"):
        yield from read_context(value.get("payload", value))
        return
    if isinstance(value.get("info"), dict) and isinstance(value.get("parts"), list):  # opencode
        value = {**value["info"], "parts": value["parts"]}
    role = _role(value)
    if role is None or not {"content", "parts", "role", *CALL_LISTS} & set(value):
        for key in WRAPS:
            inner = value.get(key)
            if isinstance(inner, dict) and (found := read_entry(_named(inner, value))):
                yield from found
                return
    if (found := list(_event(value))) or (
        found := list(_block(value, "assistant")) if _is_block(value, role) else []
    ):
        yield from found
    elif role is not None:
        yield from _message(value, role)
    steps = value.get("intermediate_steps")
    for pair in steps if isinstance(steps, list) else ():  # LangChain's agents
        if isinstance(pair, list) and len(pair) == 2:
            yield _call(pair[0] if isinstance(pair[0], dict) else {"name": "tool", "input": pair[0]})
            yield Result("", "", _content(pair[1]))


def _is_block(value: Object, role: str | None) -> bool:
    return role is None or not {"content", "parts"} & set(value) or _result(value) is not None


def _named(inner: dict[str, Any], outer: Object) -> dict[str, Any]:
    """The inner object, with the outer one's word for who speaks where it has none of its own."""
    if {"role", "type", "event", "kind"} & set(inner) and _role(inner):
        return inner
    ids = outer.get("id")
    name = ids[-1] if isinstance(ids, list) and ids else _pick(outer, ("role", "type", "source"))
    return {**inner, "role": name} if str(name).lower() in ROLES else inner


def _role(value: Object) -> str | None:
    """Who speaks, where the object is a message."""
    for key in ("role", "type", "source", "from", "kind"):
        name = value.get(key)
        if isinstance(name, str) and name.lower() in ROLES and (key in ("role", "from") or _speaks(value)):
            return ROLES[name.lower()]
    parts = value.get("parts")
    if isinstance(parts, list) and any(isinstance(each, dict) and "part_kind" in each for each in parts):
        return "assistant" if value.get("kind") == "response" else "user"  # Pydantic AI
    return None


def _speaks(value: Object) -> bool:
    """Whether there is something that a message says."""
    return bool({"content", "message", "text", "parts", "value", "data", *CALL_LISTS} & set(value))


def _message(value: Object, role: str) -> Iterator[Item]:
    """A message: its text by role, the calls and results in it."""
    yield from _tools(value)
    content = _pick(value, ("content", "parts", "message", "text", "value"))
    content = content.get("parts", content) if isinstance(content, dict) else content
    blocks = content if isinstance(content, list) else [content]
    if role == "tool" and not any(isinstance(each, dict) and _result(each) for each in blocks):
        yield Result(
            _first(value, IDS), _name(value), _content(_output(value) if content is None else content)
        )
        return
    if role == "assistant":
        thoughts = (value.get(key) for key in ("reasoning_content", "reasoning", "thinking", "thought"))
        yield from (Said(each) for each in thoughts if each and isinstance(each, str))
    plain: list[Any] = []
    for block in blocks:
        if isinstance(block, dict) and (found := list(_block(block, role))):
            yield from _spoken(plain, role)
            plain = []
            yield from found
        elif not (isinstance(block, dict) and _kind(block) in SILENT):
            plain.append(block)
    yield from _spoken(plain, role)
    calls = [item for call in _lists(value, CALL_LISTS) for item in _call_and_result(call)]
    calls += [
        _call(value[key]) for key in ("function_call", "functionCall") if isinstance(value.get(key), dict)
    ]
    if role == "assistant" and not calls and value.get("action") and isinstance(value["action"], str):
        calls = [Call("", "shell", value["action"].strip())]
    yield from calls
    observed = value.get("observation")
    for result in (
        *_lists(value, RESULT_LISTS),
        *_lists(observed if isinstance(observed, dict) else {}, ["results"]),
    ):
        yield Result(_first(result, IDS), _name(result), _content(_output(result)))


def _tools(value: Object) -> Iterator[Prompt]:
    return (prompt for prompt in read_context(value) if prompt.role == "tools")


def _lists(value: Object, keys: Iterable[str]) -> list[dict[str, Any]]:
    """The objects in the lists under these keys."""
    return [
        each
        for key in keys
        if isinstance(value.get(key), list)
        for each in value[key]
        if isinstance(each, dict)
    ]


def _spoken(blocks: list[Any], role: str) -> Iterator[Item]:
    content = tuple(each for block in blocks for each in _content(block))
    if any(each.data for each in content):
        yield (
            Said(text_of(content))
            if role == "assistant"
            else Prompt(role if role == "system" else "user", content)
        )


def _event(value: Object) -> Iterator[Item]:
    """An action, an observation, or a step that holds both."""
    action, observed = value.get("action"), value.get("observation", value.get("observations"))
    kind = str(value.get("kind") or "")
    if isinstance(action, str) and isinstance(given := value.get("args"), dict):  # OpenHands
        if action in ("message", "system"):
            role = (
                "system" if action == "system" else "user" if value.get("source") == "user" else "assistant"
            )
            yield from _spoken([given.get("content")], role)
            yield from _tools(given)
        else:
            yield from _spoken([given.get("thought")], "assistant")
            yield Call(
                _first(value, ["id"]),
                action,
                _without(given, "thought", "security_risk", "confirmation_state"),
            )
    elif isinstance(observed, str) and "content" in value:
        yield Result(str(value.get("cause", "")), observed, _content(value["content"]))
    elif kind.endswith("ActionEvent") and isinstance(action, dict):  # OpenHands' SDK
        yield from _spoken([value.get("thought")], "assistant")
        yield Call(_first(value, IDS), _name(value), _without(action, "kind", "security_risk"))
    elif kind.endswith("ObservationEvent") and observed is not None:
        yield Result(
            _first(value, IDS),
            _name(value),
            _content(_output(observed) if isinstance(observed, dict) else observed),
        )
    elif isinstance(observed, str) and (
        isinstance(action, str) or "tool_calls" in value
    ):  # SWE-agent, smolagents
        yield from _spoken([_pick(value, ("thought", "model_output"))], "assistant")
        calls = [_call(each) for each in _lists(value, ["tool_calls"])]
        yield from calls or [Call("", "shell", str(action or value.get("code_action", "")).strip())]
        yield Result("", "", (part(observed),))


def _without(given: Object, *keys: str) -> str:
    return in_one_form({key: each for key, each in given.items() if key not in keys})


# ---------------------------------------------------------------- blocks


def _kind(block: Object) -> str:
    return str(block.get("type") or block.get("part_kind") or "").replace("-", "_")


def _block(block: dict[str, Any], role: str) -> Iterator[Item]:
    """The call or result (or both) that a block or item is; nothing where it is content."""
    kind = _kind(block)
    native = _pick(block, NATIVE_CALLS)
    code = block.get("executableCode") or block.get("executable_code")
    if (result := _result(block)) is not None:
        yield result
    elif isinstance(block.get("toolInvocation"), dict):
        yield from _call_and_result(block["toolInvocation"])
    elif isinstance(native, dict):
        yield _call(
            {"id": block.get("id"), **(native["value"] if isinstance(native.get("value"), dict) else native)}
        )
    elif isinstance(code, dict):
        yield Call("", "code execution", _arguments(code.get("code")))
    elif block.get("from") == "function_call":
        given = parsed(str(block.get("value")))
        yield _call(given) if isinstance(given, dict) else Call("", "unnamed tool", str(given))
    elif kind.startswith("tool") and isinstance(state := block.get("state"), dict):  # opencode
        yield from _call_and_result({**state, "tool": _name(block), "call_id": _first(block, IDS)})
    elif kind.lower() in CALLS or kind.endswith(CALL_ENDS):
        short = re.sub(r"(?:_tool)?_(?:call|use|begin|call_begin|execution)$", "", kind)
        yield from _call_and_result(block, short)
    elif (kind.startswith("tool_") or kind == "dynamic_tool") and "toolCallId" in block:
        yield from _call_and_result({"toolName": str(block["type"]).removeprefix("tool-"), **block})
    elif not kind and {"arguments", "name"} <= set(block) and {"id", "call_id"} & set(block):
        yield _call(block)
    elif kind in ("thinking", "reasoning") and role == "assistant":
        text = _pick(block, ("thinking", "text", "summary"))
        yield from _spoken(text if isinstance(text, list) else [text], role)
    elif kind in ("user_prompt", "system_prompt"):
        yield from _spoken([block.get("content")], kind.removesuffix("_prompt"))


def _result(block: Object) -> Result | None:
    if isinstance(inner := _pick(block, NATIVE_RESULTS), dict):
        return Result(_first(inner, IDS) or _first(block, ["id"]), _name(inner), _content(_output(inner)))
    kind = _kind(block)
    if kind.endswith(RESULT_ENDS) or (not kind and {"call_id", "content"} <= set(block)):
        return Result(_first(block, IDS), _name(block), _content(_output(block)))
    return None


def _call_and_result(block: Object, default: str = "") -> Iterator[Item]:
    """A call, and its result where the same object has it."""
    call = _call(block, default)
    yield call
    output = _pick(block, (key for key in OUTPUTS if key != "content"))
    if output is not None and block.get("status") not in ("in_progress", "pending"):
        yield Result(call.key, "", _content(output))


def _call(block: Object, default: str = "") -> Call:
    function = block.get("function")
    inner = function if isinstance(function, dict) else block
    tool = _name(inner) or default or "unnamed tool"
    server = _pick(block, ("server_label", "server"))
    return Call(
        _first(block, IDS),
        f"{server}.{tool}" if isinstance(server, str) else tool,
        _arguments(_pick(inner, ARGUMENTS)),
    )


def _pick(value: Object, keys: Iterable[str]) -> Any:
    """What stands under the first of these keys that there is."""
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _output(block: Object) -> Any:
    return _pick(block, OUTPUTS)


def _first(value: Object, keys: Iterable[str]) -> str:
    """The first of these ids that there is, as text."""
    for key in keys:
        found = value.get(key)
        found = found[0] if isinstance(found, list) and found else found
        if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
            return str(found)
    return ""


def _name(value: Object) -> str:
    return next((str(value[key]) for key in NAMES if value.get(key) and isinstance(value[key], str)), "")


# ---------------------------------------------------------------- contents


def _arguments(given: object) -> str:
    """Arguments in one form, whether they come as JSON or as its text; text that is no JSON as it is."""
    given = parsed(given) if isinstance(given, str) else given
    return given if isinstance(given, str) else in_one_form({} if given is None else given)


def in_one_form(value: Any) -> str:
    """The value as canonical JSON; not a number and infinity, which a log may hold, as Python writes them."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _content(value: Any) -> tuple[Part, ...]:
    """A content as parts: its texts, its media, and as JSON what is neither."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (part(value),)
    if isinstance(value, list):
        if all(isinstance(each, dict | str) for each in value) and any(map(_is_part, value)):
            return tuple(inner for each in value for inner in _content(each))
        return (part(json.dumps(value, ensure_ascii=False)),) if value else ()
    if isinstance(value, dict):
        if isinstance(inner := _pick(value, NATIVE_RESULTS), dict):
            return _content(_output(inner))
        if (medium := _medium(value)) is not None:
            return (medium,)
        for key in ("text", "thinking", "value", "json", "output"):
            if isinstance(value.get(key), str) and set(value) - {key} <= BESIDE_TEXT:
                return (part(value[key]),)
        inner = value.get("content", value.get("parts"))
        if isinstance(inner, list | str) and set(value) <= BESIDE_CONTENT:
            return _content(inner)
        if set(value) == {"type", "value"}:
            return _content(value["value"])
    return (part(json.dumps(value, ensure_ascii=False)),)


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and (
        bool({"type", "text", "json", *NATIVE_RESULTS} & set(value)) or _medium(value) is not None
    )


def _medium(value: Object) -> Part | None:
    """An image, a sound or a file, wherever its data stands."""
    kind = _kind(value)
    inner = _pick(value, ("inlineData", "inline_data"))
    if isinstance(inner, dict):
        return _data(inner.get("data"), _pick(inner, ("mimeType", "mime_type")))
    if kind in MEDIA:
        inner = _pick(value, ("source", "image_url", "input_audio", "file"))
        inner = inner if isinstance(inner, dict) else value
        data = _pick(inner, ("data", "image", "url", "image_url", "file_data", "file_id"))
        return _data(data or dict(inner), _pick(inner, ("media_type", "mediaType", "mimeType")) or kind)
    inner = value.get("image") or value.get("document")
    if not kind and isinstance(inner, dict) and isinstance(inner.get("source"), dict):  # Bedrock
        return _data(inner["source"].get("bytes"), f"image/{inner.get('format', '')}".rstrip("/"))
    return None


def _data(data: Any, media: Any) -> Part:
    text = data if isinstance(data, str) else json.dumps(data, sort_keys=True)
    head = re.match(r"data:([\w.+-]+/[\w.+-]+);base64,", text)
    return part(text, head[1] if head else str(media or "image").replace("image_url", "image"))
