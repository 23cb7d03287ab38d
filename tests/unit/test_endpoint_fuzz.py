"""Whatever an endpoint answers ends in a recorded turn or a clear error.

TEMPZERO_FUZZ=10000 python -m pytest tests/unit/test_endpoint_fuzz.py
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.common.errors import EngineError
from scripts.engines import http
from scripts.engines.openai_server import OpenAIServer
from scripts.records.transcript import ServerSaid, Turn, TurnAnswered, TurnLogprobs
from scripts.workload.text_form import TextForm, read_messages
from tests.unit.endpoints import Endpoint, Reply, row, serving

ANSWERS = int(os.environ.get("TEMPZERO_FUZZ", "300"))
FORM = TextForm()
OPENING = FORM.first_prompt([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], [])
seen: Counter[str] = Counter()

words = st.text(max_size=12) | st.sampled_from(
    ["\ud83d", "\ufffd", "\N{GRINNING FACE}", "\x00", "ü", "<tool_call>"]
)
numbers = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([10**400, -0.0, 2**63, 1e308])
)
anything = st.recursive(
    numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)


def maybe(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what is usual, now and then anything."""
    return st.integers(0, 9).flatmap(lambda dice: anything if dice == 0 else usual)


def objects(
    needed: dict[str, Any] | None = None, **keys: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """An object with what is `needed` and some of the other keys, each mostly as it usually is."""
    return st.fixed_dictionaries(
        {key: maybe(usual) for key, usual in (needed or {}).items()},
        optional={key: maybe(usual) for key, usual in keys.items()},
    )


logprobs = st.floats() | st.just(-0.1) | st.just(0.0) | st.just(-9999.0)
raw = (
    st.none()
    | st.lists(st.integers(0, 255), max_size=4)
    | st.lists(st.integers(-5, 10**13), max_size=2)
    | st.just(10**13)
)
candidates = objects(token=words, logprob=logprobs, bytes=raw)
rows = st.one_of(
    words.filter(lambda word: "\ud83d" not in word).map(row),
    objects(token=words, logprob=logprobs, bytes=raw, top_logprobs=st.lists(candidates, max_size=3)),
)
calls = objects(
    id=words,
    type=st.just("function"),
    function=objects(name=words, arguments=words | st.just('{"a": 1}') | anything),
)
parts = objects(
    type=st.sampled_from(["text", "thinking", "refusal", "image_url"]), text=words, thinking=anything
)
messages = objects(
    role=st.just("assistant"),
    content=st.none() | words | st.lists(parts, max_size=3),
    reasoning_content=words,
    reasoning=words | anything,
    refusal=words,
    tool_calls=st.lists(calls, max_size=2),
    function_call=objects(name=words, arguments=words),
)
choices = objects(
    {"message": messages},
    index=st.just(0),
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter", "eos", None]),
    logprobs=objects(content=st.lists(rows, max_size=5)),
)
usages = objects(
    prompt_tokens=st.integers(-1, 10**6),
    completion_tokens=st.integers(-1, 10**6),
    prompt_tokens_details=objects(cached_tokens=st.integers(0, 9)),
    completion_tokens_details=objects(reasoning_tokens=st.integers(0, 9)),
)
answers = objects(
    {"choices": st.lists(choices, min_size=1, max_size=2)},
    usage=usages,
    system_fingerprint=words,
    model=words,
    provider=words,
    timings=objects(draft_n=st.integers(), cache_n=st.integers()),
    error=objects(code=words, message=words),
)
bodies = (
    maybe(answers)
    | st.binary(max_size=60)
    | st.sampled_from([b"", b"[" * 50_000, b"\xff\xfe{}", b'{"a": 1' + b"0" * 9_000 + b"}"])
)
odd_headers: st.SearchStrategy[dict[str, str]] = st.fixed_dictionaries(
    {},
    optional={
        "Retry-After": st.sampled_from(["0", "x", "-1", "nan", "Wed, 21 Oct 2015 07:28:00 GMT", "1e9"]),
        "Content-Length": st.sampled_from(["0", "7", "x", "-3", "99999"]),
        "Content-Encoding": st.sampled_from(["gzip", "deflate", "br", "x"]),
        "Transfer-Encoding": st.just("chunked"),
        "Content-Type": st.sampled_from(["text/html; charset=nonsense", "text/plain"]),
        "Location": st.sampled_from(["http://[", "/v1", "\xff"]),
        "X-Backend": st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=9),
    },
)
replies = st.builds(
    Reply,
    bodies,
    status=st.sampled_from([200] * 30 + [204, 301, 400, 404, 422, 429, 500, 502, 503]),
    headers=st.integers(0, 3).flatmap(lambda dice: odd_headers if dice == 0 else st.just({})),
    # The connection is closed after the answer, or in the midst of it: none is waited for in vain.
    cut=st.integers(0, 9).flatmap(lambda dice: st.integers(0, 400) if dice == 0 else st.just(10**9)),
    reset=st.booleans(),
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with serving(lambda number, body: Reply({})) as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits as long as a person would."""
    monkeypatch.setattr(http, "SHORTEST_PAUSE", 0.0)
    monkeypatch.setattr(http, "LONGEST_PAUSE", 0.0)
    monkeypatch.setattr(http, "BUSY_SECONDS", 0.0)
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.4)
    monkeypatch.setattr(http.time, "sleep", lambda seconds: None)


@settings(max_examples=ANSWERS, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(reply=replies)
def test_any_answer_is_a_recorded_turn_or_a_clear_error(
    endpoint: Endpoint, tmp_path_factory: Any, reply: Reply
) -> None:
    refusals = iter([reply])
    # A busy server would be asked for ever: after the first answer it gives a plain one.
    plain = {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}
    endpoint.habit = lambda number, body: next(refusals, Reply(plain))
    client = OpenAIServer(
        http.Server(endpoint.address.removesuffix("/v1"), None, lambda: "", lambda: None, ours=False), {}, "m"
    )
    with contextlib.closing(client):
        try:
            made = client.generate(OPENING, max_tokens=8, stop_ids=FORM.stop_ids, top_logprobs=3)
        except EngineError as error:
            assert str(error)
            seen["clear error"] += 1
            return
    seen["recorded turn"] += 1
    folder: Path = tmp_path_factory.getbasetemp()
    stopped = made.finish_reason == "stop"
    turn = Turn(
        scenario="s", turn=0, appended_ids=OPENING, output_ids=made.output_ids, finish_reason=made.finish_reason,
        text=FORM.decode(made.output_ids[:-1] if stopped else made.output_ids), tool_calls=[], tool_results=[],
        answer=None, thoughts=made.thoughts, native_calls=list(made.native_calls), refusal=made.refusal,
    )  # fmt: skip
    lines: list[Turn | TurnLogprobs | TurnAnswered] = [turn]
    if made.chosen is not None and made.top is not None:
        assert len(made.chosen) == len(made.top) == len(made.output_ids)
        lines.append(TurnLogprobs(scenario="s", turn=0, chosen=list(made.chosen), top=made.top))
    lines.append(TurnAnswered(scenario="s", turn=0, said=made.said or ServerSaid()))
    for line in lines:
        path = folder / "line.jsonl"
        path.write_text(line.line(), encoding="utf-8")
        assert list(type(line).read_lines(path)) == [line]
    back = read_messages(
        [
            *OPENING,
            *made.output_ids,
            *FORM.next_prompt([], [{"role": "user", "content": "x"}], [], stopped=stopped),
        ]
    )
    assert [each["role"] for each in back] == ["system", "user", "assistant", "user"]


def test_both_ends_were_seen() -> None:
    assert min(seen["recorded turn"], seen["clear error"]) > ANSWERS / 20, seen
    print(dict(seen))
