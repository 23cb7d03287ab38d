"""Requests of one's own: every form that they are kept in, and what is refused with its line."""

from __future__ import annotations

import contextlib
import functools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.common.errors import ConfigError, DataError
from scripts.workload.chat import ChatForm, check_options
from scripts.workload.requests import read_requests
from scripts.workload.spec import load_workload
from scripts.workload.text_form import TextForm, read_body
from scripts.workload.workloads import Request

ROOT = Path(__file__).parents[2]
USER = {"role": "user", "content": "How warm is it?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"where": "Tartu"}'}}
    ],
}
TOLD = {"role": "tool", "tool_call_id": "c1", "content": "7 degrees"}
SAID = {"role": "assistant", "content": "Seven degrees."}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@functools.cache
def small_chat() -> ChatForm:
    return ChatForm(ROOT / "resources/tinychart")


def written(folder: Path, *lines: object, name: str = "my.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(folder: Path, *lines: object) -> tuple[Request, ...]:
    return read_requests(written(folder, *lines), 64)


@pytest.mark.parametrize(
    ("line", "messages", "name"),
    [
        ("Tere!", [{"role": "user", "content": "Tere!"}], "line-1"),
        ({"prompt": "Tere!"}, [{"role": "user", "content": "Tere!"}], "line-1"),
        ({"messages": [USER]}, [USER], "line-1"),
        ({"messages": [USER, CALL, TOLD], "tools": [TOOL]}, [USER, CALL, TOLD], "line-1"),
        ({"custom_id": "a 1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [USER]}},
         [USER], "a-1"),
        ({"ts": 1, "request": {"model": "m", "messages": [USER]}, "response": {"choices": []}}, [USER], "line-1"),
        ({"model": "m", "instructions": "Be short.", "input": "Tere!"},
         [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Tere!"}], "line-1"),
        ({"model": "m", "system": "Be short.", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
         [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}], "line-1"),
    ],
)  # fmt: skip
def test_a_line_in_each_form_is_one_request(
    tmp_path: Path, line: object, messages: list[dict[str, Any]], name: str
) -> None:
    (request,) = read(tmp_path, line)
    assert (request.name, request.messages, request.max_tokens) == (name, messages, 64)


def test_one_document_is_a_request_or_a_list_of_them(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    for value, names in (
        ({"messages": [USER]}, ["line-1"]),
        ([{"messages": [USER]}, {"custom_id": "b", "prompt": "x"}, "y"], ["line-1", "b", "line-3"]),
        ([USER, SAID], ["line-1.turn-1"]),
    ):
        for text in (json.dumps(value), json.dumps(value, indent=1)):
            path.write_text(text)
            assert [each.name for each in read_requests(path, 64)] == names
    path.write_text(json.dumps([{"prompt": "x"}, {"prompt": ""}]))
    with pytest.raises(ConfigError, match=r"my.json:\[2\]: the prompt is no text"):
        read_requests(path, 64)


def test_every_assistant_turn_of_a_conversation_is_asked_from_its_recorded_context(tmp_path: Path) -> None:
    first, second = read(
        tmp_path, {"custom_id": "run", "messages": [USER, CALL, TOLD, SAID], "tools": [TOOL]}
    )
    assert (first.name, first.messages) == ("run.turn-1", [USER])
    assert (second.name, second.messages) == ("run.turn-2", [USER, CALL, TOLD])
    assert first.tools == second.tools == [TOOL]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests/data/volatile").glob("*-a.json*")), ids=lambda p: p.stem
)
def test_the_logs_of_agents_are_requests(path: Path) -> None:
    if path.stem.startswith("23"):
        with pytest.raises(ConfigError, match="half a character"):
            read_requests(path, 64)
        return
    requests = read_requests(path, 64)
    assert all(each.messages and each.messages[-1]["role"] != "assistant" for each in requests)
    asked = json.dumps([each.messages for each in requests])
    assert "indiest hour" in asked or "parcel" in asked or path.stem.startswith("01")


def test_calls_that_were_written_as_text_stay_text() -> None:
    requests = read_requests(ROOT / "tests/data/volatile/02-mini-swe-agent-a.json", 64)
    roles = [each["role"] for each in requests[-1].messages]
    assert roles[:4] == ["system", "user", "assistant", "user"] and "tool" not in roles
    assert not any("tool_calls" in each for each in requests[-1].messages)


@pytest.mark.parametrize(
    ("lines", "where", "what"),
    [
        ([{"prompt": "a"}, {"prompt": ""}], ":2", "the prompt is no text"),
        ([{"prompt": "a"}, 7], ":2", "the line is no request"),
        ([{"prompt": "a"}, {"messages": []}], ":2", "no message"),
        ([{"prompt": "a"}, {"messages": [{"role": "assistant", "content": "b"}]}], ":2", "nobody asks"),
        ([{"prompt": "a", "max_tokens": "many"}], ":1", "max_tokens is 'many'"),
        ([{"prompt": "a"}, {"custom_id": 1, "url": "/v1/completions", "body": {"prompt": "b"}}], ":2", "no chat form"),
        ([{"custom_id": "x", "body": {"prompt": "a"}}, {"custom_id": "x", "body": {"prompt": "b"}}], "", "two requests"),
        ([{"messages": [USER], "tools": 5}], ":1", "tools is no list"),
        ([{"prompt": "\ud800"}], ":1", "half a character"),
        ([{"any": "thing"}], "", "no conversation was found"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(tmp_path: Path, lines: list[object], where: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as raised:
        read(tmp_path, *lines)
    assert str(raised.value).startswith(f"{tmp_path / 'my.jsonl'}{where}")


def test_a_torn_line_is_named_and_an_empty_file_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "a"})
    with open(path, "a") as stream:
        stream.write('{"prompt": "b\n')
    with pytest.raises(ConfigError, match=r"my.jsonl:2: the line is not JSON"):
        read_requests(path, 64)
    path.write_text("")
    with pytest.raises(ConfigError, match="the file is empty"):
        read_requests(path, 64)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "role", "content", "prompt", "input", "model", "body", "tools", "tool_calls", "type",
                 "request", "custom_id", "system", "max_tokens", "url", "function", "arguments", "text"]
            ),
            inner | st.sampled_from(["user", "assistant", "tool", "text", "function", "tool_use"]),
            max_size=5,
        ),
        max_leaves=20,
    )
)  # fmt: skip
def test_any_json_is_requests_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    path = tmp_path_factory.mktemp("r") / "my.jsonl"
    path.write_text(json.dumps({"prompt": "a"}) + "\n" + json.dumps(value) + "\n")
    try:
        requests = read_requests(path, 64)
    except ConfigError:
        return
    for request in requests:
        assert read_body(TextForm().request_prompt(request)) == request.body
        with contextlib.suppress(ConfigError, DataError):
            small_chat().request_prompt(request)


def test_a_chat_endpoint_is_sent_a_request_as_it_is(tmp_path: Path) -> None:
    line = {"messages": [USER], "tools": [TOOL], "tool_choice": "required", "temperature": 0.7, "model": "m"}
    (request,) = read(tmp_path, line)
    body = read_body(TextForm().request_prompt(request))
    assert body == {"messages": [USER], "tools": [TOOL], "tool_choice": "required"}
    assert list(body["tools"][0]) == list(TOOL)  # type: ignore[index, arg-type]
    with pytest.raises(ConfigError, match="line-1 asks for tool_choice"):
        check_options(request)


def test_a_workload_of_requests_says_what_is_drawn(tmp_path: Path) -> None:
    written(tmp_path, {"prompt": "a"}, {"prompt": "b", "max_tokens": 8})
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\nrequests: my.jsonl\nlimits: {max_tokens: 32}\nsampling: {temperature: 0.5, seed: 7}\n"
    )
    workload = load_workload(path)
    assert [each.max_tokens for each in workload.requests] == [32, 8]
    assert workload.questions == 0 and workload.sampling.body() == {"temperature": 0.5, "seed": 7}
    before = workload.sha256
    path.write_text(path.read_text().replace("seed: 7", "seed: 8"))
    assert load_workload(path).sha256 != before
    path.write_text("name: own\nrequests: my.jsonl\nsystem: x\n")
    with pytest.raises(ConfigError, match="no meaning beside"):
        load_workload(path)
    path.write_text("name: own\n")
    with pytest.raises(ConfigError, match="exactly one of scenarios, requests"):
        load_workload(path)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["messages", "role", "content", "prompt", "input", "model", "body", "tools"]),
                inner | st.sampled_from(["user", "assistant", "tool"]),
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_document_is_requests_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    path = tmp_path_factory.mktemp("r") / "my.json"
    path.write_text(json.dumps(value, indent=1))
    with contextlib.suppress(ConfigError):
        assert all(each.messages for each in read_requests(path, 64))
