"""Where conversations are in a log, whatever wrote it: at any depth, once each, whole.

This module and `entries`, which reads one entry, are the ones that handle unknown JSON.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.common.errors import DataError
from scripts.volatile.conversation import (
    PROMPT_IDS,
    Call,
    Conversation,
    Item,
    Log,
    Part,
    Prompt,
    Result,
    Said,
    part,
    text_of,
)
from scripts.volatile.entries import SYSTEMS, TOOLS, in_one_form, parsed, read_context, read_entry
from scripts.volatile.files import READABLE, Source

TASKS = ("task_id", "instance_id", "sample_id", "problem_id")
REQUEST = ("request", "messages", "input", "contents", "request_body", "body")
RESPONSE = ("choices", "candidates", "output", "response", "response_body", "completion")
SETTINGS = ("agent", "kwargs", "params", "config")
MANY = 10_000  # pairs of conversations beyond which siblings are not held against one another
_TEXT_OF_JSON = re.compile(r"\s*[\[{].*\"(?:messages|input|contents|choices|output|role)\"", re.DOTALL)
_DIGITS = re.compile(r"[0-9a-f]*[0-9][0-9a-f]*")
# What a model that calls no tools natively writes to act: a fenced block, a tag, ReAct's lines, or a JSON object.
_FENCES = "bash|sh|shell|mswea_bash_command|console|python|tool_code|tool_call|json"
_TAGS = r"tool_call|function_calls?|invoke|execute\w*|[a-z]+_[a-z_]+|bash|command|action|run"
_ACTIONS = tuple(
    re.compile(pattern, re.DOTALL | re.MULTILINE)
    for pattern in (
        rf"```(?P<tool>{_FENCES})?\s*\n(?P<given>.*?)```",
        rf"<(?P<tool>{_TAGS})\b(?P<given>[^>]*>.*?)</(?P=tool)>",
        r"<function=(?P<tool>\w+)>(?P<given>.*?)(?:</function>|\Z)",
        r"^Action:\s*(?P<tool>[\w.-]+)\s*\n\s*Action Input:\s*(?P<given>.*?)(?:\nObservation:|\Z)",
        r"\A\s*(?P<given>\{.*\"(?:commands|action|tool|command|name)\".*\})\s*\Z(?P<tool>)",
    )
)


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
        return not any(isinstance(item, Prompt) for item in self.items)


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
    conversations = find_conversations(value)
    del value
    if not conversations:
        raise DataError(
            f"no conversation was found in it: looked at any depth for messages with a role, for calls of tools and "
            f"their results, for actions and observations; found {shown}",
            where=str(path),
            remedy=READABLE,
        )
    return Log(conversations, tuple(source.notes))


def find_conversations(value: Any) -> tuple[Conversation, ...]:
    """The conversations in a JSON value, at any depth, once each; its lists are emptied as they are read."""
    names: Counter[str] = Counter()
    conversations = []
    for number, draft in enumerate((draft for draft in _walk(value) if draft.items), start=1):
        name = f"task {draft.task}" if draft.task else f"conversation {number}"
        names[name] += 1
        name += f" ({names[name]})" if names[name] > 1 else ""
        conversations.append(Conversation(name, draft.task, draft.items))
    return tuple(conversations)


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
            items.append(Prompt("prompt", (part(" ".join(map(str, ids)), PROMPT_IDS),)))
        items.append(Said(str(line.get("text", ""))))
        unnamed = {"name": "unnamed tool", "arguments": {}}
        for call in line.get("tool_calls") or [unnamed] * len(line["tool_results"]):
            items.append(Call("", str(call["name"]), in_one_form(call["arguments"])))
        items += [Result("", "", (part(str(result)),)) for result in line["tool_results"]]
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
        inner = parsed(value) if _TEXT_OF_JSON.match(value[:100_000]) else None
        return _walk(inner) if isinstance(inner, dict | list) else []
    if isinstance(value, list):
        return _walk_list(value)
    return _walk_object(value) if isinstance(value, dict) else []


def _walk_list(values: list[Any]) -> list[Draft]:
    if any(isinstance(value, dict) and value.get("type") == "response_item" for value in values):
        # A rollout tells most things twice: as what the model was sent, and as events for the screen.
        values = [value for value in values if isinstance(value, dict) and value.get("type") != "event_msg"]
    if values and all(
        isinstance(each, list) and len(each) == 2 and isinstance(each[0], dict) for each in values
    ):
        values = [each for pair in values for each in pair]
    threads: dict[object, list[Item]] = {}
    inner: list[Draft] = []
    for index, value in enumerate(values):
        values[index] = None  # what has been read is not needed again, and a long log is much memory
        if items := read_entry(value):
            thread = tuple(
                map(value.get, ("isSidechain", "agentId", "parent_tool_use_id"))
            )  # a side chain's name
            threads.setdefault(thread, []).extend(items)
        elif isinstance(value, dict | list):
            inner += _walk(value)
    own = [Draft(tuple(_finished(items))) for items in threads.values()]
    return _apart([own, _without_prefixes(inner)])


def _walk_object(value: dict[str, Any]) -> list[Draft]:
    if items := read_entry(value):
        return [Draft(tuple(_finished(items)))]
    if isinstance(texts := value.get("attachments"), dict):  # inspect keeps long texts aside
        value = {key: _attached(each, texts) for key, each in value.items() if key != "attachments"}
    groups: list[list[Draft]] = []
    for key in sorted(value, key=lambda key: (key in RESPONSE, key not in REQUEST)):
        if key in SYSTEMS or key in TOOLS:
            continue
        given = value[key]
        if key == "input" and isinstance(given, str) and {"output", "model"} & set(value):
            given = [{"role": "user", "content": given}]  # how the Responses API is asked in short
        inner = _walk(given)
        if key in RESPONSE and inner and groups and len(groups[-1]) == 1 and inner[0].answers_only:
            before, added = groups[-1][0], inner[0].items
            if before.items[-len(added) :] != added:
                groups[-1][0] = replace(before, items=(*before.items, *added))
        else:
            groups.append(inner)
    task = next((str(value[key]) for key in TASKS if isinstance(value.get(key), str | int)), "")
    if not task and isinstance(value.get("id"), str | int) and "epoch" in value:
        task = f"{value['id']}, epoch {value['epoch']}" if value["epoch"] != 1 else str(value["id"])
    asks = any(key in value for key in REQUEST) and any(key in value for key in (*RESPONSE, "model"))
    settings = [value[key] for key in SETTINGS if isinstance(value.get(key), dict)]
    context = [prompt for each in (value, *settings) for prompt in read_context(each)]
    return [
        Draft((*_missing(context, draft), *draft.items), draft.task or task, draft.request or asks)
        for draft in _apart(groups)
    ]


def _missing(context: Iterable[Prompt], draft: Draft) -> Iterator[Item]:
    """The prompts beside a conversation that are not in it."""
    roles = {item.role for item in draft.items if isinstance(item, Prompt)}
    return (prompt for prompt in context if prompt.role not in roles)


def _attached(value: Any, texts: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith("attachment://"):
        return texts.get(value.removeprefix("attachment://"), value)
    if isinstance(value, list):
        return [_attached(each, texts) for each in value]
    return {key: _attached(each, texts) for key, each in value.items()} if isinstance(value, dict) else value


def _apart(groups: list[list[Draft]]) -> list[Draft]:
    """All of them but those that tell again what a sibling tells: one run logged as messages and as events."""
    groups = [group for group in groups if group]
    drafts = [(number, draft) for number, group in enumerate(groups) for draft in group]
    if len(groups) < 2 or len(drafts) ** 2 > MANY:
        return [draft for _, draft in drafts]
    facts = [(number, draft.results, draft.prompts, len(draft.items)) for number, draft in drafts]

    def told(index: int) -> bool:
        number, results, prompts, size = facts[index]
        return any(
            group != number
            and results <= theirs
            and (bool(results) or prompts <= their_prompts)
            and (results != theirs or (their_size, -other) > (size, -index))
            for other, (group, theirs, their_prompts, their_size) in enumerate(facts)
        )

    again = [told(index) for index in range(len(drafts))]
    kept = [draft for (_, draft), known in zip(drafts, again, strict=True) if not known]
    if len(kept) == 1:  # the tools' descriptions may stand in the other telling alone
        prompts = [item for _, draft in drafts[::-1] for item in draft.items if isinstance(item, Prompt)]
        tools = [prompt for prompt in prompts if prompt.role == "tools"][:1]
        kept = [replace(kept[0], items=(*_missing(tools, kept[0]), *kept[0].items))]
    return kept


def _without_prefixes(drafts: list[Draft]) -> list[Draft]:
    """Without those that another one goes on from: a proxy logs each request with the whole history."""
    ends: list[int] = []
    begun: set[int] = set()
    for draft in drafts:
        chain = hash(draft.task)
        for item in draft.items:
            if not isinstance(item, Said):
                begun.add(chain)
                chain = hash((chain, _link(item)))
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
        return item.role, _DIGITS.sub("0", text_of(item.content))  # a clock in it makes no other conversation
    return item.content if isinstance(item, Prompt | Result) else None


# ---------------------------------------------------------------- calls that were written as text


def _finished(items: list[Item]) -> Iterator[Item]:
    """The items; where a model wrote its calls as text, these and what answers them in user messages too."""
    written = not any(isinstance(item, Call) for item in items)
    answered = any(isinstance(item, Result) for item in items)
    waiting = False
    for item in items:
        if isinstance(item, Prompt) and item.role == "user" and waiting and not answered:
            waiting = False
            yield Result("", "", item.content, written=True)
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
            tool = (
                "bash" if tool in ("mswea_bash_command", "sh", "shell", "console") else tool or "text action"
            )
            named = parsed(given)
            if isinstance(named, dict):
                given, tool = in_one_form(named.get("arguments", named)), str(named.get("name", tool))
            return Call("", tool, given, written=True)
    return None


def _outline(value: Any, depth: int = 2) -> str:
    """What stands in a value, in a few words."""
    if isinstance(value, dict):
        keys = (
            f"{key}: {_outline(each, depth - 1)}" if depth > 1 else key
            for key, each in list(value.items())[:8]
        )
        return "{" + ", ".join(keys) + (", …" if len(value) > 8 else "") + "}"
    if isinstance(value, list):
        first = f", the first {_outline(value[0], depth - 1)}" if value and depth else ""
        return f"a list of {len(value):,}{first}"
    return {"str": "text", "NoneType": "null", "bool": "true or false"}.get(type(value).__name__, "a number")
