"""The parser of tool calls: what it renders it reads; whatever else it gets, it says what is wrong."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from scripts.workload.toolcalls import ParsedCall, parse_tool_calls, render_tool_call

NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=12)
VALUES = st.text(string.ascii_letters + string.digits + " .,:-\n", max_size=40).map(str.strip)


@given(NAMES, st.dictionaries(NAMES, VALUES, max_size=4))
def test_a_rendered_call_is_read_back(name: str, arguments: dict[str, str]) -> None:
    assert parse_tool_calls("Words.\n" + render_tool_call(name, arguments)) == [ParsedCall(name, arguments)]


@given(st.text())
def test_any_text_is_parsed(text: str) -> None:
    for call in parse_tool_calls(text):
        assert call.error or call.name or not call.name


def test_text_without_a_call_has_none() -> None:
    assert parse_tool_calls("The answer is 7.") == []


def test_two_calls_come_in_order() -> None:
    text = render_tool_call("list_files", {}) + "\n" + render_tool_call("read_file", {"path": "a"})
    assert [call.name for call in parse_tool_calls(text)] == ["list_files", "read_file"]


def test_a_value_keeps_its_lines() -> None:
    (call,) = parse_tool_calls(render_tool_call("write_file", {"path": "n", "content": "one\ntwo\n\nthree"}))
    assert call.arguments["content"] == "one\ntwo\n\nthree"


def test_what_is_malformed_says_so() -> None:
    cases = {
        "<tool_call>\n<function=answer>\n": "no closing </tool_call>",
        "<tool_call>\nanswer(1)\n</tool_call>": "not of the form",
        "<tool_call>\n<function=a>\n<parameter=x>\n1\n</tool_call>": "not of the form",
        "<tool_call>\n<function=a>\nx=1\n</function>\n</tool_call>": "text outside",
        "<tool_call>\n<function=a>\n<parameter=x>\n1\n</parameter>\n<parameter=x>\n2\n</parameter>\n"
        "</function>\n</tool_call>": "given twice",
    }
    for text, words in cases.items():
        (call,) = parse_tool_calls(text)
        assert call.error is not None and words in call.error, text


def test_an_unclosed_call_does_not_swallow_the_next() -> None:
    calls = parse_tool_calls("<tool_call>\n<function=a>\n" + render_tool_call("list_files", {}))
    assert [call.error is None for call in calls] == [False, True]
