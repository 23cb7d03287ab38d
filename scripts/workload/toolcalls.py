"""One parser for tool calls, used for every engine, so that no server's parser can make a difference.

The form is Qwen3.5's: `<tool_call>`, `<function=NAME>`, one `<parameter=KEY>` with the value on its own
lines for each argument, and the closing tags.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from scripts.records.transcript import NativeCall

_CALL = re.compile(r"<tool_call>(.*?)(</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"\s*<function=([^>\n]*)>\n?(.*?)</function>\s*\Z", re.DOTALL)
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]*)>\n?(.*?)\n?</parameter>", re.DOTALL)


@dataclass(frozen=True)
class ParsedCall:
    """A call as the model wrote it; `error` says what is malformed, in words the model can act on."""

    name: str
    arguments: dict[str, str]
    error: str | None = None


def _parse_one(body: str, closed: bool) -> ParsedCall:
    if not closed:
        return ParsedCall("", {}, "the call has no closing </tool_call>")
    function = _FUNCTION.match(body)
    if function is None:
        return ParsedCall("", {}, "the call is not of the form <function=NAME> … </function>")
    name, inside = function.group(1).strip(), function.group(2)
    arguments: dict[str, str] = {}
    position = 0
    for parameter in _PARAMETER.finditer(inside):
        if inside[position : parameter.start()].strip():
            return ParsedCall(name, arguments, "there is text outside of <parameter=…> … </parameter>")
        key = parameter.group(1).strip()
        if key in arguments:
            return ParsedCall(name, arguments, f"the parameter {key} is given twice")
        arguments[key] = parameter.group(2)
        position = parameter.end()
    if inside[position:].strip():
        return ParsedCall(name, arguments, "there is text outside of <parameter=…> … </parameter>")
    return ParsedCall(name, arguments)


def parse_tool_calls(text: str) -> list[ParsedCall]:
    """All tool calls in a generated text, in order; malformed ones carry their `error`."""
    return [_parse_one(call.group(1), call.group(2) != "") for call in _CALL.finditer(text)]


def parse_native_call(call: NativeCall) -> ParsedCall:
    """A call in a server's own form; one whose arguments are no JSON object carries its `error`."""
    try:
        given = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        return ParsedCall(call.name, {}, "the arguments of the call are no JSON object")
    return ParsedCall(
        call.name,
        {key: each if isinstance(each, str) else json.dumps(each) for key, each in given.items()},
    )


def render_tool_call(name: str, arguments: Mapping[str, str]) -> str:
    """A call in the form the parser reads."""
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>"
