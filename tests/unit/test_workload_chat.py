"""Chat templates, rendered as transformers renders them: the clock, several templates, several ends, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts.common.errors import ConfigError, DataError
from scripts.workload.chat import CLOCK, ChatForm
from scripts.workload.workloads import Request

ROOT = Path(__file__).parents[2]
USER = {"role": "user", "content": "Hi"}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "weather", "parameters": {}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(ROOT / "resources/tinychart" / name, tmp_path / name)
    return tmp_path


def configure(folder: Path, **changed: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def rendered(folder: Path, template: str, tools: list[dict[str, Any]] | None = None, **given: Any) -> str:
    (folder / "chat_template.jinja").write_text(template)
    return ChatForm(folder).render([USER], tools or [], **given)


def test_a_template_that_asks_for_the_time_is_told_one_that_stands_still(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%d %b %Y') }}")
    chat = ChatForm(folder)
    assert chat.clock is None
    assert chat.render([USER], []) == "01 Jan 2026" and chat.clock == CLOCK.isoformat()


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% generation %}\n{% set x = 1 %}said{% endgeneration %}{{ x }}", "said"),
        ("{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}no{% endfor %}end", "end"),
        ("{{ bos_token }}|{{ eos_token }}", "|<|im_end|>"),
        ("{{ {'a': 'ö<'} | tojson }}", '{"a": "ö<"}'),
        ("{{ {'b': 1, 'a': 2} | tojson(indent=None, sort_keys=true) }}", '{"a": 2, "b": 1}'),
        ("{{ enable_thinking }}", "False"),
        ("  {% if true %}\nx\n  {% endif %}\n", "x\n"),
    ],
)
def test_a_template_is_rendered_as_transformers_renders_it(folder: Path, template: str, text: str) -> None:
    assert rendered(folder, template) == text


def test_of_several_templates_the_one_for_tools_is_taken_where_there_are_tools(folder: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    configure(folder, chat_template=named)
    chat = ChatForm(folder)
    assert (chat.render([USER], []), chat.render([USER], [TOOL])) == ("plain", "tools")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("more")
    assert rendered(folder, "file") == "file" and rendered(folder, "file", [TOOL]) == "more"


def test_a_turn_ends_at_any_end_that_the_files_name(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    (end,) = ChatForm(folder).stop_ids
    for named, ends in ((5, (end, 5)), ([end, 7, 9], (end, 7, 9)), (None, (end,))):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": named}))
        assert ChatForm(folder).stop_ids == ends
    configure(folder, eos_token=None)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 7}))
    assert ChatForm(folder).stop_ids == (7,)
    (folder / "generation_config.json").unlink()
    with pytest.raises(DataError, match="no eos_token"):
        ChatForm(folder)


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{% nothing %}", "cannot be read: Encountered unknown tag 'nothing'"),
        ("{{ raise_exception('only users') }}", "refused the conversation: only users"),
        ("{{ messages | no_such }}", "cannot be read: No filter named 'no_such'"),
        ("{{ messages[0].content + 1 }}", "cannot take the conversation"),
        ("{{ ''.__class__.__mro__ }}", "refused the conversation"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_refused_in_words(
    folder: Path, template: str, what: str
) -> None:
    with pytest.raises(DataError, match=what):
        rendered(folder, template)


def test_a_quant_without_a_default_template_is_refused(folder: Path) -> None:
    configure(folder, chat_template=[{"name": "rag", "template": "x"}])
    with pytest.raises(DataError, match="only templates named rag"):
        ChatForm(folder)


def test_a_request_is_rendered_with_its_own_tools_calls_and_fields(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(
        "{{ tools[0].function.name }}{% for m in messages %}|{{ m.content }}{% for c in m.tool_calls %}"
        "{{ c.function.arguments.where }}{% endfor %}{% endfor %}|{{ reasoning_effort }}{{ enable_thinking }}"
    )
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"where": "Tartu"}'}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    parts = {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "7"}]}
    options = {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": True}, "stop": []}
    chat = ChatForm(folder)
    prompt = chat.request_prompt(Request("a", [USER, said, parts], [TOOL], options, 8))
    assert chat.decode(prompt) == "weather|Hi|Tartu|7|lowTrue"
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
    with pytest.raises(ConfigError, match="the request a holds a part of the type image_url"):
        chat.request_prompt(Request("a", [picture], [], {}, 8))
