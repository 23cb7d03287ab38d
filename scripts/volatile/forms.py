"""Conversations in whatever JSON an agent, an API or a proxy logged.

A form is not recognised by its maker's name but by what stands in it: messages with a role, blocks and items with a
type, actions and observations, at any depth. What is common to all: somebody was asked, said something, called a tool
by a name with arguments, and got a result that names the call. This is the one module that handles unknown JSON.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.common.errors import DataError
from scripts.common.files import canonical_json
from scripts.volatile.conversation import Call, Conversation, Item, Log, Part, Prompt, Result, Said, text_of
from scripts.volatile.files import READABLE, Source
from scripts.volatile.kinds import strip

ROLES = {
    "user": "user", "human": "user", "humanmessage": "user", "humanmessagechunk": "user", "usermessage": "user",
    "user_message": "user", "textmessage": "user",
    "assistant": "assistant", "ai": "assistant", "aimessage": "assistant", "aimessagechunk": "assistant",
    "model": "assistant", "gemini": "assistant", "agent": "assistant", "gpt": "assistant", "agent_message": "assistant",
    "agent_reasoning": "assistant", "reasoning": "assistant",
    "system": "system", "developer": "system", "systemmessage": "system", "systempromptevent": "system",
    "tool": "tool", "function": "tool", "toolmessage": "tool", "toolmessagechunk": "tool", "functionmessage": "tool",
    "environment": "tool", "ipython": "tool", "observation": "tool", "toolresult": "tool",
}  # fmt: skip
WRAPS = ("message", "payload", "item", "msg", "data", "kwargs", "llm_message", "event")
CALL_LISTS = ("tool_calls", "toolCalls", "toolInvocations", "tool_uses")
RESULT_LISTS = ("tool_results", "toolResults")
IDS = (
    "tool_use_id", "toolUseId", "tool_call_id", "tool_call_ids", "toolCallId", "source_call_id", "call_id", "callId",
    "callID", "toolId", "id",
)  # fmt: skip
NAMES = (
    "toolName", "tool_name", "function_name", "name", "tool", "function", "recipient_name", "server_tool_name",
)  # fmt: skip
ARGUMENTS = (
    "arguments", "args", "input", "parameters", "tool_input", "kwargs", "rawArgs", "action", "command", "code",
    "queries", "changes", "query",
)  # fmt: skip
OUTPUTS = (
    "output", "outputs", "result", "results", "formatted_output", "aggregated_output", "response", "content", "error",
    "stdout",
)  # fmt: skip
SYSTEMS = (
    "system", "instructions", "system_instruction", "systemInstruction", "system_prompt", "systemPrompt",
    "base_instructions", "system_message",
)  # fmt: skip
TOOLS = ("tools", "functions", "toolConfig", "tool_config", "tool_definitions")
TASKS = ("task_id", "instance_id", "sample_id", "problem_id")
REQUEST = ("request", "messages", "input", "contents", "request_body", "body")
RESPONSE = ("choices", "candidates", "output", "response", "response_body", "completion")
IGNORED_EVENTS = frozenset({"change_agent_state", "agent_state_changed", "null", "recall", "condensation"})
_TEXT_OF_JSON = re.compile(r"\s*[\[{].*\"(?:messages|input|contents|choices|output)\"", re.DOTALL)
# What a model that calls no tools natively writes to act: a fenced block, a tag, ReAct's lines, or a JSON object.
_ACTIONS = (
    re.compile(r"```(?P<tool>bash|sh|shell|mswea_bash_command|console|python|tool_code|tool_call|json)?\s*\n(?P<given>.*?)```", re.DOTALL),
    re.compile(r"<(?P<tool>tool_call|function_calls?|invoke|execute\w*|[a-z]+_[a-z_]+|bash|command|action|run)\b(?P<given>[^>]*>.*?)</(?P=tool)>", re.DOTALL),
    re.compile(r"<function=(?P<tool>\w+)>(?P<given>.*?)(?:</function>|$)", re.DOTALL),
    re.compile(r"^Action:\s*(?P<tool>[\w.-]+)\s*\n\s*Action Input:\s*(?P<given>.*?)(?:\nObservation:|\Z)", re.DOTALL | re.MULTILINE),
    re.compile(r"\A\s*(?P<given>\{.*\"(?:commands|action|tool|command|name)\".*\})\s*\Z(?P<tool>)", re.DOTALL),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draft:
    """A conversation that is being read: its items, the task's id, and whether a request or an answer held them."""

    items: tuple[Item, ...]
    task: str = ""
    request: bool = False

    @property
    def results(self) -> Counter[str]:
        """The texts of its results, and how often each occurs."""
        return Counter(text_of(item.content) for item in self.items if isinstance(item, Result))

    @property
    def prompts(self) -> set[tuple[Part, ...]]:
        """The contents of its prompts."""
        return {item.content for item in self.items if isinstance(item, Prompt)}

    @property
    def answers_only(self) -> bool:
        """Whether it is what a model answered, and nothing that it was asked."""
        return all(isinstance(item, Said | Call) for item in self.items)


def read_log(path: Path) -> Log:
    """The conversations in a file; of this project's transcripts one a scenario.

    DataError for a file that cannot be read or in which no conversation is found, with what was looked for and what
    stands there.
    """
    source = Source(path)
    values = source.values()
    first = next(values, None)
    if _is_turn(first):
        return _read_turns(first, values, source)
    rest = [first, *values]
    value = rest[0] if len(rest) == 1 else rest
    del first, rest
    shown = _outline(value)
    drafts = [draft for draft in _walk(value) if draft.items]
    del value
    if not drafts:
        raise DataError(
            f"no conversation was found in it: looked at any depth for messages with a role, for calls of tools and "
            f"their results, for actions and observations; found {shown}",
            where=str(path),
            remedy=READABLE,
        )
    names: Counter[str] = Counter()
    conversations = []
    for number, draft in enumerate(drafts, start=1):
        name = f"task {draft.task}" if draft.task else f"conversation {number}"
        names[name] += 1
        name += f" ({names[name]})" if names[name] > 1 else ""
        conversations.append(Conversation(name, draft.task, draft.items))
    return Log(tuple(conversations), tuple(source.notes))


# ---------------------------------------------------------------- this project's transcripts


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and {"scenario", "tool_results"} <= set(value)


def _read_turns(first: Any, rest: Iterator[Any], source: Source) -> Log:
    """A conversation a scenario. The prompt is known as token ids alone: one part of the medium `token ids`."""
    found: dict[str, list[Item]] = {}
    pending: dict[str, int] = {}
    for line in (first, *rest):
        items = found.setdefault(str(line["scenario"]), [])
        ids = line.get("appended_ids")
        if ids and not pending.get(str(line["scenario"])):
            items.append(Prompt("prompt", (Part(" ".join(map(str, ids)), "token ids"),)))
        items.append(Said(str(line.get("text", ""))))
        calls = line.get("tool_calls") or [{"name": "unnamed tool", "arguments": {}}] * len(
            line["tool_results"]
        )
        for call in calls:
            items.append(Call("", str(call["name"]), _arguments(call["arguments"])))
        items += [Result("", "", (Part(str(result)),)) for result in line["tool_results"]]
        pending[str(line["scenario"])] = len(line["tool_results"])
    if source.notes:
        raise DataError(
            f"the transcript is torn: {source.notes[0]}",
            where=f"{source.path}:{re.sub(r'[^0-9]', '', source.notes[0])}",
            remedy="run its session again: snakemake -R SESSION_JSON -- results/table.md",
        )
    return Log(tuple(Conversation(name, name, tuple(items)) for name, items in found.items()))


# ---------------------------------------------------------------- where conversations are


def _walk(value: Any) -> list[Draft]:
    """The conversations in a value, at any depth."""
    if isinstance(value, str):
        inner = _parsed(value) if _TEXT_OF_JSON.match(value[:100_000]) else None
        return _walk(inner) if isinstance(inner, dict | list) else []
    if isinstance(value, list):
        return _walk_list(value)
    return _walk_object(value) if isinstance(value, dict) else []


def _walk_list(values: list[Any]) -> list[Draft]:
    if any(isinstance(value, dict) and value.get("type") == "response_item" for value in values):
        # A rollout tells most things twice: as what the model was sent, and as events for the screen.
        values = [value for value in values if isinstance(value, dict) and value.get("type") != "event_msg"]
    if any(isinstance(value, list) for value in values) and all(map(_is_pair, values)):
        values = [each for pair in values for each in pair]
    threads: dict[object, list[Item]] = {}
    inner: list[Draft] = []
    for value in values:
        items = list(_entry(value))
        if items:
            threads.setdefault(_thread(value), []).extend(items)
        elif isinstance(value, dict | list):
            inner += _walk(value)
    if threads and any(
        not isinstance(item, Prompt) or item.role != "tools" for each in threads.values() for item in each
    ):
        own = [Draft(tuple(_finished(items))) for items in threads.values()]
        return own if any(draft.results for draft in own) or not inner else _apart([*own, *inner])
    return _without_prefixes(inner)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], dict)


def _thread(value: Any) -> object:
    """What tells conversations apart that one list interleaves: a side chain's own name."""
    return (
        (value.get("isSidechain"), value.get("agentId"), value.get("parent_tool_use_id"))
        if isinstance(value, dict)
        else None
    )


def _walk_object(value: dict[str, Any]) -> list[Draft]:
    if items := list(_entry(value)):
        return [Draft(tuple(_finished(items)))]
    if isinstance(value.get("attachments"), dict):  # inspect keeps long texts aside
        value = {
            key: _attached(each, value["attachments"]) for key, each in value.items() if key != "attachments"
        }
    context = _context(value)
    asks = any(key in value for key in REQUEST) and any(key in value for key in (*RESPONSE, "model"))
    groups: list[list[Draft]] = []
    for key in sorted(value, key=lambda key: (key in RESPONSE, key not in REQUEST)):
        if isinstance(value[key], dict | list | str) and key not in SYSTEMS and key not in TOOLS:
            inner = (
                _walk([{"role": "user", "content": value[key]}])
                if _is_bare_input(key, value)
                else _walk(value[key])
            )
            if key in RESPONSE and inner and groups and len(groups[-1]) == 1 and inner[0].answers_only:
                before, added = groups[-1][0], inner[0].items
                if before.items[-len(added) :] != added:
                    groups[-1][0] = replace(before, items=(*before.items, *added))
            elif inner:
                groups.append(inner)
    drafts = _apart([draft for group in groups for draft in group])
    task = next((str(value[key]) for key in TASKS if isinstance(value.get(key), str | int)), "")
    if not task and isinstance(value.get("id"), str | int) and "epoch" in value:
        task = f"{value['id']}, epoch {value['epoch']}" if value["epoch"] != 1 else str(value["id"])
    return [
        replace(
            draft,
            items=(
                *(context if not any(_is_system(item) for item in draft.items) else _tools_of(context)),
                *draft.items,
            ),
            task=draft.task or task,
            request=draft.request or asks,
        )
        for draft in drafts
    ]


def _attached(value: Any, texts: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith("attachment://"):
        return texts.get(value.removeprefix("attachment://"), value)
    if isinstance(value, list):
        return [_attached(each, texts) for each in value]
    return {key: _attached(each, texts) for key, each in value.items()} if isinstance(value, dict) else value


def _is_bare_input(key: str, value: dict[str, Any]) -> bool:
    """Whether it is the Responses API's way of asking in a string."""
    return key == "input" and isinstance(value[key], str) and ("output" in value or "model" in value)


def _is_system(item: Item) -> bool:
    return isinstance(item, Prompt) and item.role == "system"


def _tools_of(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(item for item in items if isinstance(item, Prompt) and item.role == "tools")


def _context(value: Mapping[str, Any]) -> tuple[Item, ...]:
    """The system prompt and the tools' descriptions that stand beside a list of messages."""
    found: list[Item] = []
    for key in SYSTEMS:
        if isinstance(value.get(key), str | list | dict) and (content := _content(value[key])):
            found.append(Prompt("system", content))
    for key in TOOLS:
        given = value.get(key)
        given = given.get("tools", given) if isinstance(given, dict) else given
        if isinstance(given, list) and given and isinstance(given[0], dict | str):
            lines = "\n".join(json.dumps(each, ensure_ascii=False) for each in given)
            found.append(Prompt("tools", (Part(lines),)))
    return tuple(found)


def _apart(drafts: list[Draft]) -> list[Draft]:
    """Without those that tell again what a sibling tells: one run logged as messages and as events."""
    if len(drafts) < 2:
        return drafts
    facts = [(draft.results, draft.prompts, len(draft.items)) for draft in drafts]
    kept = []
    for index, (results, prompts, size) in enumerate(facts):
        told = any(
            other != index
            and results <= theirs
            and (results or prompts <= their_prompts)
            and (results != theirs or (their_size, -other) > (size, -index))
            for other, (theirs, their_prompts, their_size) in enumerate(facts)
        )
        if not told:
            kept.append(drafts[index])
    return kept


def _without_prefixes(drafts: list[Draft]) -> list[Draft]:
    """Without those that another one goes on from: a proxy logs each request with the whole history."""
    if len(drafts) < 2:
        return drafts
    ends: list[int] = []
    begun: set[int] = set()
    for draft in drafts:
        chain, last = hash(draft.task), 0
        for item in draft.items:
            if isinstance(item, Said):
                continue
            begun.add(chain)
            last = hash((chain, _link(item)))
            chain = last
        ends.append(chain)
    latest = {end: index for index, end in enumerate(ends)}
    return [
        draft
        for index, (draft, end) in enumerate(zip(drafts, ends, strict=True))
        if end not in begun and not (draft.request and latest[end] != index)
    ]


def _link(item: Item) -> object:
    if isinstance(item, Call):
        return item.tool, item.arguments
    if isinstance(item, Prompt) and item.role != "user":
        return item.role, strip(text_of(item.content))
    return item.content if isinstance(item, Prompt | Result) else None


# ---------------------------------------------------------------- one entry: a message, an item, an event, a step


def _entry(value: Any) -> Iterator[Item]:
    """What an entry of a list says; nothing where it is no entry of a conversation."""
    if isinstance(value, str) or not isinstance(value, dict):
        return
    kind = str(value.get("type") or value.get("kind") or "")  # of the line or object that wraps it
    if kind in ("item.started", "item.updated", "turn_context", "progress") or (
        kind == "system" and "subtype" in value
    ):
        return
    if kind in ("session_meta", "SystemPromptEvent"):
        yield from _context(value.get("payload", value))
        return
    if {str(value.get("action")), str(value.get("observation"))} & IGNORED_EVENTS:
        return
    if isinstance(value.get("info"), dict) and isinstance(value.get("parts"), list):  # opencode
        value = {**value["info"], "parts": value["parts"]}
    if value.get("from") == "function_call":
        given = _parsed(str(value.get("value")))
        yield _call(given) if isinstance(given, dict) else Call("", "unnamed tool", str(given))
        return
    role = _role(value)
    if role is None or not {"content", "parts", "role", *CALL_LISTS} & set(value):
        for key in WRAPS:
            inner = value.get(key)
            if isinstance(inner, dict) and (found := list(_entry(_named(inner, value)))):
                yield from found
                return
    if "action" in value or "observation" in value or "observations" in value:
        if found := list(_event(value)):
            yield from found
            return
    if (
        found := list(_block(value, "assistant"))
        if role is None or not {"content", "parts"} & set(value) or _result(value)
        else ()
    ):
        yield from found
        return
    if (
        role is None
        and isinstance(parts := value.get("parts"), list)
        and any(isinstance(each, dict) and "part_kind" in each for each in parts)
    ):
        role = "assistant" if kind == "response" else "user"  # Pydantic AI
    if role is not None:
        yield from _message(value, role)
    elif "intermediate_steps" in value:
        for pair in value["intermediate_steps"]:
            if isinstance(pair, list | tuple) and len(pair) == 2:
                yield _call(pair[0] if isinstance(pair[0], dict) else {"name": "tool", "input": pair[0]})
                yield Result("", "", _content(pair[1]))


def _named(inner: dict[str, Any], outer: Mapping[str, Any]) -> dict[str, Any]:
    """The inner object, with the outer one's word for who speaks where it has none of its own."""
    if {"role", "type", "event", "kind"} & set(inner) and _role(inner):
        return inner
    ids = outer.get("id")
    name = (
        str(ids[-1])
        if isinstance(ids, list) and ids
        else outer.get("role") or outer.get("type") or outer.get("source")
    )
    return {**inner, "role": name} if str(name).lower() in ROLES else inner


def _role(value: Mapping[str, Any]) -> str | None:
    for key in ("role", "type", "source", "from", "kind"):
        name = value.get(key)
        if isinstance(name, str) and name.lower() in ROLES and (key in ("role", "from") or _speaks(value)):
            return ROLES[name.lower()]
    if isinstance(value.get("author"), dict):
        return ROLES.get(str(value["author"].get("role")).lower())
    return None


def _speaks(value: Mapping[str, Any]) -> bool:
    """Whether there is something that a message says."""
    return bool({"content", "message", "text", "parts", "value", "data", *CALL_LISTS} & set(value))


def _message(value: Mapping[str, Any], role: str) -> Iterator[Item]:
    """A message: its text by role, the calls and results in it."""
    yield from _tools_of(_context(value))
    content = value.get("content")
    if content is None:
        content = next(
            (value[key] for key in ("parts", "message", "text", "value") if value.get(key) is not None), None
        )
    if isinstance(content, dict) and "parts" in content:
        content = content["parts"]
    if role == "tool" and not _holds_results(content):
        if content is None:
            content = next((value[key] for key in OUTPUTS if value.get(key) is not None), None)
        yield Result(_first(value, IDS), _name(value), _content(content))
        return
    if role == "assistant":
        for key in ("reasoning_content", "reasoning", "thinking", "thought"):
            if isinstance(value.get(key), str) and value[key]:
                yield Said(value[key])
    blocks = content if isinstance(content, list) else [content]
    plain: list[Any] = []
    for block in blocks:
        found = list(_block(block, role)) if isinstance(block, dict) else None
        if found is None or not found:
            plain += [] if block is None or found == [] and _is_silent(block) else [block]
        else:
            yield from _spoken(plain, role)
            plain = []
            yield from found
    yield from _spoken(plain, role)
    called = False
    for key in CALL_LISTS:
        for call in value.get(key) or () if isinstance(value.get(key), list) else ():
            called = True
            yield from _call_and_result(call)
    for key in ("function_call", "functionCall"):
        if isinstance(value.get(key), dict):
            called = True
            yield _call(value[key])
    for key in RESULT_LISTS:
        for result in value.get(key) or () if isinstance(value.get(key), list) else ():
            yield Result(_first(result, IDS), _name(result), _content(_output(result)))
    if role == "assistant" and isinstance(value.get("action"), str) and not called and value["action"]:
        yield Call("", "shell", value["action"].strip())
    observed = value.get("observation")
    if isinstance(observed, dict):
        for result in observed.get("results") or ():
            yield Result(_first(result, IDS), "", _content(result.get("content")))


def _is_silent(block: Any) -> bool:
    """Whether a block holds nothing that is read: a model's thoughts under seal, a mark for the cache."""
    return isinstance(block, dict) and str(block.get("type")) in (
        "redacted_thinking", "step-start", "step-finish", "step_start", "step_finish", "snapshot", "patch", "refusal",
    )  # fmt: skip


def _holds_results(content: Any) -> bool:
    return isinstance(content, list) and any(
        isinstance(each, dict) and _result(each) is not None for each in content
    )


def _spoken(blocks: list[Any], role: str) -> Iterator[Item]:
    content = tuple(part for block in blocks for part in _content(block))
    if not any(part.text for part in content):
        return
    yield (
        Said(text_of(content))
        if role == "assistant"
        else Prompt("system" if role == "system" else "user", content)
    )


def _event(value: Mapping[str, Any]) -> Iterator[Item]:
    """An action, an observation, or a step that holds both."""
    action, observed = value.get("action"), value.get("observation", value.get("observations"))
    kind = str(value.get("kind") or value.get("type") or "")
    if "args" in value and isinstance(action, str):  # OpenHands
        args = value["args"] if isinstance(value["args"], dict) else {}
        text = str(args.get("content") or args.get("thought") or "")
        if action in ("message", "system"):
            role = (
                "system" if action == "system" else "user" if value.get("source") == "user" else "assistant"
            )
            yield from _spoken([text], role)
        else:
            yield from [Said(args["thought"])] if args.get("thought") else []
            given = {
                key: each
                for key, each in args.items()
                if key not in ("thought", "security_risk", "confirmation_state")
            }
            yield Call(_first(value, ("id",)), action, canonical_json(given))
    elif isinstance(observed, str) and "content" in value:
        yield Result(str(value.get("cause", "")), observed, _content(value["content"]))
    elif kind.endswith("ActionEvent") or kind.endswith("ObservationEvent"):  # OpenHands' SDK
        key, tool = _first(value, ("tool_call_id", "id")), str(value.get("tool_name") or "unnamed tool")
        if isinstance(action, dict):
            yield from _spoken([value.get("thought")] if value.get("thought") else [], "assistant")
            given = {name: each for name, each in action.items() if name not in ("kind", "security_risk")}
            yield Call(key, tool, canonical_json(given))
        elif observed is not None:
            yield Result(key, tool, _content(_output(observed) if isinstance(observed, dict) else observed))
    elif isinstance(action, str) and isinstance(observed, str):  # SWE-agent
        yield from [Said(str(value[key])) for key in ("thought",) if value.get(key)]
        yield Call("", "shell", action.strip())
        yield Result("", "", (Part(observed),))
    elif "tool_calls" in value and isinstance(observed, str):  # a step of smolagents
        yield from [Said(str(value[key])) for key in ("model_output",) if value.get(key)]
        calls = value["tool_calls"] or [{"name": "code", "arguments": value.get("code_action", "")}]
        yield from map(_call, calls)
        yield Result("", "", (Part(observed),))


# ---------------------------------------------------------------- blocks


CALLS = ("tool_call", "tool_use", "function_call", "functioncall", "tool_invocation", "file_change")
CALL_ENDS = ("_tool_use", "_call", "_call_begin", "_command_begin", "_execution", "_search")
RESULT_ENDS = ("tool_result", "tool_return", "tool_error", "_output", "_call_end", "_command_end")


def _kind(block: Mapping[str, Any]) -> str:
    return str(block.get("type") or block.get("part_kind") or "").replace("-", "_")


def _block(block: dict[str, Any], role: str) -> Iterator[Item]:
    """The call or result (or both) that a block or item is; nothing where it is content."""
    kind = _kind(block)
    result = _result(block)
    if result is not None:
        yield result
    elif isinstance(block.get("toolInvocation"), dict):
        yield from _call_and_result(block["toolInvocation"])
    elif isinstance(
        each := block.get("toolUse") or block.get("functionCall") or block.get("function_call"), dict
    ):
        yield _call(each)
    elif isinstance(each := block.get("executableCode") or block.get("executable_code"), dict):
        yield Call("", "code execution", _arguments(each.get("code")))
    elif kind.startswith("tool") and isinstance(state := block.get("state"), dict):  # opencode
        yield from _call_and_result({**state, "tool": _name(block), "call_id": _first(block, IDS)})
    elif kind in CALLS or kind.lower() in CALLS or kind.endswith(CALL_ENDS):
        yield from _call_and_result(
            block, re.sub(r"(?:_tool)?_(?:call|use|begin|call_begin|execution)$", "", kind)
        )
    elif (kind.startswith("tool_") or kind == "dynamic_tool") and "toolCallId" in block:
        yield from _call_and_result({"toolName": str(block["type"]).removeprefix("tool-"), **block})
    elif not kind and {"arguments", "name"} <= set(block) and ("id" in block or "call_id" in block):
        yield _call(block)
    elif kind in ("thinking", "reasoning") and role == "assistant":
        text = block.get("thinking") or block.get("text") or block.get("summary")
        yield from _spoken([text] if isinstance(text, str) else list(text or ()), role)
    elif kind in ("user_prompt", "system_prompt"):
        yield from _spoken([block.get("content")], kind.removesuffix("_prompt"))


def _result(block: Mapping[str, Any]) -> Result | None:
    inner = block.get("toolResult") or block.get("functionResponse") or block.get("function_response")
    if isinstance(inner, dict):
        return Result(_first(inner, IDS), _name(inner), _content(_output(inner)))
    inner = block.get("codeExecutionResult") or block.get("code_execution_result")
    if isinstance(inner, dict):
        return Result("", "", _content(inner.get("output")))
    kind = _kind(block)
    if kind.endswith(RESULT_ENDS) or (not kind and "call_id" in block and "content" in block):
        return Result(_first(block, IDS), _name(block), _content(_output(block)))
    return None


def _call_and_result(block: Any, default: str = "") -> Iterator[Item]:
    """A call, and its result where the same object has it."""
    if not isinstance(block, dict):
        return
    call = _call(block, default)
    yield call
    output = next((block[key] for key in OUTPUTS if block.get(key) is not None and key != "content"), None)
    if output is not None and block.get("status") not in ("in_progress", "pending"):
        yield Result(call.key, "", _content(output))


def _call(block: Mapping[str, Any], default: str = "") -> Call:
    function = block.get("function")
    inner = function if isinstance(function, dict) else block
    given = next((inner[key] for key in ARGUMENTS if inner.get(key) is not None), None)
    tool = _name(inner) or default or "unnamed tool"
    if isinstance(server := block.get("server_label") or block.get("server"), str) and server:
        tool = f"{server}.{tool}"
    return Call(_first(block, IDS), tool, _arguments(given))


def _output(block: Mapping[str, Any]) -> Any:
    return next((block[key] for key in OUTPUTS if block.get(key) is not None), None)


def _first(value: Any, keys: Iterable[str]) -> str:
    """The first of these ids that there is, as text."""
    for key in keys if isinstance(value, dict) else ():
        found = value.get(key)
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
            return str(found)
    return ""


def _name(value: Any) -> str:
    found = (
        next((value[key] for key in NAMES if isinstance(value.get(key), str) and value[key]), "")
        if isinstance(value, dict)
        else ""
    )
    return str(found)


# ---------------------------------------------------------------- contents


def _parsed(text: str) -> Any:
    """The value that a text is as JSON, else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _arguments(given: object) -> str:
    """Arguments in one form, whether they come as JSON or as its text; text that is no JSON as it is."""
    if isinstance(given, str):
        given = _parsed(given)
        if isinstance(given, str):
            return given
    try:
        return canonical_json({} if given is None else given)
    except ValueError:
        return json.dumps(given, sort_keys=True, ensure_ascii=False)


def _content(value: Any) -> tuple[Part, ...]:
    """A content as parts: its texts, its media, and as JSON what is neither."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (Part(value),)
    if isinstance(value, list):
        if all(isinstance(each, dict | str) for each in value) and any(_is_part(each) for each in value):
            return tuple(part for each in value for part in _content(each))
        return (Part(json.dumps(value, ensure_ascii=False)),) if value else ()
    if isinstance(value, dict):
        if (medium := _medium(value)) is not None:
            return (medium,)
        for key in ("text", "thinking", "value", "json"):
            if isinstance(value.get(key), str) and (
                set(value)
                <= {
                    key,
                    "type",
                    "cache_control",
                    "annotations",
                    "kind",
                    "logprobs",
                    "citations",
                    "id",
                    "providerMetadata",
                    "thoughtSignature",
                    "signature",
                    "reasoning",
                }
            ):
                return (Part(value[key]),)
        if set(value) <= {
            "type",
            "content",
            "is_error",
            "isError",
            "parts",
            "role",
            "meta",
            "_meta",
            "structured_content",
        } and isinstance(value.get("content", value.get("parts")), list | str):
            return _content(value.get("content", value.get("parts")))
        if set(value) == {"type", "value"}:
            return _content(value["value"])
        if set(value) == {"output"} and isinstance(value["output"], str):
            return (Part(value["output"]),)
    return (Part(json.dumps(value, ensure_ascii=False)),)


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and (
        "type" in value or "text" in value or "json" in value or _medium(value) is not None
    )


def _medium(value: dict[str, Any]) -> Part | None:
    """An image, a sound or a file, wherever its data stands."""
    kind = str(value.get("type") or "")
    inner = value.get("image_url") or value.get("input_audio") or value.get("file")
    if isinstance(inner, dict | str) and kind in (
        "image_url",
        "input_image",
        "input_audio",
        "file",
        "computer_screenshot",
    ):
        data = (
            inner
            if isinstance(inner, str)
            else inner.get("url") or inner.get("data") or inner.get("file_data")
        )
        return _data(data or canonical_json(inner), kind or "image")
    if isinstance(inner := value.get("inlineData") or value.get("inline_data"), dict):
        return _data(inner.get("data"), str(inner.get("mimeType") or inner.get("mime_type") or "image"))
    if kind in (
        "image",
        "document",
        "audio",
        "media",
        "image-data",
        "file",
        "input_image",
        "computer_screenshot",
        "video",
    ):
        source = value.get("source") if isinstance(value.get("source"), dict) else value
        data = next(
            (source[key] for key in ("data", "image", "url", "file_id", "image_url") if source.get(key)), None
        )
        return _data(
            data, str(source.get("media_type") or source.get("mediaType") or source.get("mimeType") or kind)
        )
    if (
        isinstance(inner := value.get("image") or value.get("document"), dict)
        and "source" in inner
        and not kind
    ):
        return _data(inner["source"].get("bytes"), f"image/{inner.get('format', '')}".rstrip("/"))
    return None


def _data(data: Any, media: str) -> Part:
    text = data if isinstance(data, str) else json.dumps(data, sort_keys=True)
    head = re.match(r"data:([\w.+-]+/[\w.+-]+);base64,", text)
    return Part(text, head[1] if head else {"image_url": "image", "input_image": "image"}.get(media, media))


# ---------------------------------------------------------------- what a conversation means as a whole


def _finished(items: list[Item]) -> Iterator[Item]:
    """The items; where a model wrote its calls as text, with these, and what answers them in user messages as results."""
    written = not any(isinstance(item, Call) for item in items)
    answered = any(isinstance(item, Result) for item in items)
    waiting = False
    for item in items:
        if isinstance(item, Prompt) and item.role == "user" and waiting and not answered:
            waiting = False
            yield Result("", "", item.content)
            continue
        yield item
        if isinstance(item, Said) and written and (call := _written(item.text)) is not None:
            yield call
            waiting = True
        waiting = waiting or isinstance(item, Call)


def _written(text: str) -> Call | None:
    """The call that a model wrote as text; None where it only talked."""
    for pattern in _ACTIONS:
        if found := pattern.search(text):
            tool, given = found["tool"] or "", found["given"].strip().lstrip(">").strip()
            tool = {
                "": "text action",
                "mswea_bash_command": "bash",
                "sh": "bash",
                "shell": "bash",
                "console": "bash",
            }.get(tool, tool)
            named = _parsed(given)
            if isinstance(named, dict) and isinstance(named.get("name"), str):
                return _call(named)
            return Call("", tool, _arguments(given))
    return None


def _outline(value: Any, depth: int = 2) -> str:
    """What stands in a value, in a few words."""
    if isinstance(value, dict):
        keys = [
            f"{key}: {_outline(each, depth - 1)}" if depth > 1 else str(key)
            for key, each in list(value.items())[:8]
        ]
        return "{" + ", ".join(keys) + (", …" if len(value) > 8 else "") + "}"
    if isinstance(value, list):
        return f"a list of {len(value):,}" + (
            f", the first {_outline(value[0], depth - 1)}" if value and depth > 0 else ""
        )
    return {"str": "text", "NoneType": "null", "bool": "true or false"}.get(type(value).__name__, "a number")
