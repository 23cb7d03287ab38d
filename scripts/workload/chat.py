"""The chat form of a model, from its own tokenizer and template: text to ids once, never back and again.

The first prompt is rendered whole. Later only what is to be appended is taken from the template: a
conversation rendered anew need not extend the last prompt (templates drop earlier thoughts).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from scripts.common.errors import DataError
from scripts.common.files import read_json
from scripts.records.base import Value

_SENTINEL = "\u27e6generated\u27e7"

Message = dict[str, Any]  # as templates take them: what a model's own template reads is its author's


class ChatForm:
    """A model's tokenizer and chat template, from `tokenizer.json`, `tokenizer_config.json` and
    `chat_template.jinja` (or the template inside the config) of a quant's folder."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        if not path.exists():
            raise DataError(
                "the quant has no tokenizer.json", where=str(folder), remedy="pull or build the quant again"
            )
        self._tokenizer = Tokenizer.from_file(str(path))
        config = read_json(folder / "tokenizer_config.json")
        template_file = folder / "chat_template.jinja"
        template = template_file.read_text("utf-8") if template_file.exists() else config.get("chat_template")
        if not isinstance(template, str):
            raise DataError("the quant has no chat template", where=str(folder))
        # The environment that transformers renders chat templates in (utils/chat_template_utils.py).
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = lambda value, **kw: json.dumps(value, ensure_ascii=False, **kw)
        environment.globals["raise_exception"] = _raise
        self._template = environment.from_string(template)
        self._specials = {
            key: config[key] if isinstance(config[key], str) else config[key]["content"]
            for key in ("bos_token", "eos_token", "pad_token")
            if config.get(key)
        }
        eos = self._specials.get("eos_token")
        stop = self._tokenizer.token_to_id(eos) if eos else None
        if stop is None:
            raise DataError("the tokenizer names no eos_token", where=str(folder / "tokenizer_config.json"))
        self.stop_id: int = stop

    def render(self, messages: Sequence[Message], tools: Sequence[dict[str, Value]]) -> str:
        """The prompt's text, up to where the model begins to write; thinking is off."""
        try:
            return self._template.render(
                messages=list(messages),
                tools=list(tools) or None,
                add_generation_prompt=True,
                enable_thinking=False,
                **self._specials,
            )
        except TemplateError as error:
            raise DataError(f"the chat template refused the conversation: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Text to token ids, special tokens recognised, none added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids to text, special tokens kept: for reading, never to be encoded again."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def first_prompt(self, messages: Sequence[Message], tools: Sequence[dict[str, Value]]) -> list[int]:
        """The ids of an episode's first prompt."""
        return self.encode(self.render(messages, tools))

    def next_prompt(
        self,
        history: Sequence[Message],
        new: Sequence[Message],
        tools: Sequence[dict[str, Value]],
        *,
        stopped: bool,
    ) -> list[int]:
        """The ids to append after a generation: its missing end, the `new` messages, the next turn's head.

        `history` is the conversation before the generation. Where the generation ended with the stop id
        (`stopped`) that id is not repeated.
        """
        text = self.render([*history, {"role": "assistant", "content": _SENTINEL}, *new], tools)
        _, found, tail = text.rpartition(_SENTINEL)
        if not found:
            raise DataError("the chat template drops the assistant's text: it cannot be continued by ids")
        ids = self.encode(tail)
        return ids[1:] if stopped and ids[:1] == [self.stop_id] else ids


def _raise(message: str) -> None:
    raise TemplateError(message)
