"""The chat form of a model, from its own tokenizer and template: text to ids once, never back and again.

The first prompt is rendered whole. Later only what is to be appended is taken from the template: a
conversation rendered anew need not extend the last prompt (templates drop earlier thoughts).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import jinja2.nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from scripts.common.errors import ConfigError, DataError
from scripts.common.files import read_json
from scripts.records.base import JsonObject, Value
from scripts.workload.workloads import Request

_SENTINEL = "\u27e6generated\u27e7"
# What a template that asks for the time is told: the same in every session, so that no clock is part of a prompt.
CLOCK = datetime(2026, 1, 1, 12)

# Fields of a request that change nothing where they have these values, or none at all that could.
NEUTRAL: dict[str, tuple[Value, ...]] = {
    "tool_choice": ("auto",),
    "response_format": ({"type": "text"},),
    "stop": ([], ""),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "min_p": (0,),
    "top_k": (-1, 0),
    "logit_bias": ({},),
}
IDLE = (
    "user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key",
    "cache_salt",
)  # fmt: skip
TEMPLATE_FIELDS = ("reasoning_effort", "documents")  # fields that a template is given, as servers do

Message = JsonObject  # as templates take them: what a model's own template reads is its author's


class ChatForm:
    """A model's tokenizer and chat template, from the files of a quant's folder.

    `tokenizer.json`; `chat_template.jinja` and those of `additional_chat_templates/`, else what `tokenizer_config.json`
    or `chat_template.json` hold; the ends of a turn by `tokenizer_config.json` and `generation_config.json`.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        if not path.exists():
            raise DataError(
                "the quant has no tokenizer.json", where=str(folder), remedy="pull or build the quant again"
            )
        self._tokenizer = Tokenizer.from_file(str(path))
        config = read_json(folder / "tokenizer_config.json")
        self.clock: str | None = None
        environment = _environment(self._tell_time)
        self._templates = {
            name: _compiled(environment, text, f"{folder}: {name}")
            for name, text in _template_texts(folder, config).items()
        }
        self._specials = {
            key: value
            for key, given in config.items()
            if key.endswith("_token") and isinstance(value := _token(given), str)
        }
        self.stop_ids: tuple[int, ...] = _ends(folder, self._tokenizer.token_to_id, self._specials)

    def _tell_time(self, form: str) -> str:
        self.clock = CLOCK.isoformat()
        return CLOCK.strftime(form)

    def render(self, messages: Sequence[Message], tools: Sequence[dict[str, Value]], **given: Value) -> str:
        """The prompt's text, up to where the model begins to write; thinking is off, unless `given` says otherwise."""
        name = "tool_use" if tools and "tool_use" in self._templates else "default"
        values = {**self._specials, "enable_thinking": False, **given}
        try:
            return self._templates[name].render(
                messages=list(messages), tools=list(tools) or None, add_generation_prompt=True, **values
            )
        except TemplateError as error:
            raise DataError(f"the chat template refused the conversation: {error}") from error
        except (TypeError, ValueError, KeyError, ArithmeticError) as error:
            raise DataError(
                f"the chat template cannot take the conversation ({type(error).__name__}: {error})"
            ) from error

    def request_prompt(self, request: Request) -> list[int]:
        """The ids of a request; ConfigError for what an engine cannot do that is asked by ids alone."""
        check_options(request)
        given = {key: request.options[key] for key in TEMPLATE_FIELDS if key in request.options}
        given |= request.options.get("chat_template_kwargs") or {}
        messages = [_as_template_message(each, request.name) for each in request.messages]
        return self.encode(self.render(messages, request.tools, **given))

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
        return ids[1:] if stopped and ids and ids[0] in self.stop_ids else ids


class _Generation(Extension):
    """`{% generation %}`, which marks what a model is trained on and prints what stands in it."""

    tags = {"generation"}  # noqa: RUF012 (jinja2's own)

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        """A block of its own, as transformers makes one: what is set in it is not known after it."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_printed"), [], [], body).set_lineno(line)

    @staticmethod
    def _printed(caller: Callable[[], str]) -> str:
        return caller()


def _environment(tell_time: Callable[[str], str]) -> ImmutableSandboxedEnvironment:
    """The environment that transformers renders chat templates in (utils/chat_template_utils.py)."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, ensure_ascii=False, **kw: json.dumps(
        value, ensure_ascii=ensure_ascii, **kw
    )
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = tell_time
    return environment


def _raise(message: str) -> None:
    raise TemplateError(message)


def _compiled(environment: ImmutableSandboxedEnvironment, text: str, where: str) -> jinja2.Template:
    try:
        return environment.from_string(text)
    except TemplateError as error:
        raise DataError(
            f"the chat template cannot be read: {error}",
            where=where,
            remedy="give the quant another, or ask a server of it as a chat endpoint (grid=external)",
        ) from error


def _template_texts(folder: Path, config: JsonObject) -> dict[str, str]:
    """The chat templates of a quant by name; the one that is used where nothing else is asked for is `default`."""
    more = {path.stem: path for path in sorted(folder.glob("additional_chat_templates/*.jinja"))}
    files = {"default": folder / "chat_template.jinja", **more}
    found = {name: path.read_text("utf-8") for name, path in files.items() if path.is_file()}
    if "default" not in found:
        given = config.get("chat_template")
        processor = folder / "chat_template.json"
        if given is None and processor.is_file():
            given = read_json(processor).get("chat_template")
        named = given if isinstance(given, list) else [{"name": "default", "template": given}]
        found |= {
            each["name"]: each["template"]
            for each in named
            if isinstance(each, dict) and isinstance(each.get("template"), str)
        }
    if "default" not in found:
        names = f", only templates named {', '.join(sorted(found))}" if found else ""
        raise DataError(f"the quant has no chat template{names}", where=str(folder))
    return found


def _token(given: Value) -> Value:
    return given.get("content") if isinstance(given, dict) else given


def _ends(
    folder: Path, token_to_id: Callable[[str], int | None], specials: Mapping[str, str]
) -> tuple[int, ...]:
    """The ids that end a turn: the tokenizer's, and all that generation_config.json names."""
    path = folder / "generation_config.json"
    named = read_json(path).get("eos_token_id") if path.is_file() else None
    eos = specials.get("eos_token")
    found = [token_to_id(eos) if eos else None, *(named if isinstance(named, list) else [named])]
    ends = tuple(dict.fromkeys(each for each in found if isinstance(each, int)))
    if not ends:
        raise DataError("the tokenizer names no eos_token", where=str(folder / "tokenizer_config.json"))
    return ends


def check_chat_form(folder: Path) -> None:
    """DataError where the chat form of a quant's folder cannot be rendered: before its weights are pulled."""
    ChatForm(folder).render([{"role": "user", "content": "Hello."}], [])


def check_options(request: Request) -> None:
    """ConfigError where a request wants more than a chat template and a sampler can give."""
    if not isinstance(request.options.get("chat_template_kwargs") or {}, dict):
        raise ConfigError(f"chat_template_kwargs of the request {request.name} is no object")
    for key, value in request.options.items():
        known = key in IDLE or key in TEMPLATE_FIELDS or key == "chat_template_kwargs"
        if not known and value not in NEUTRAL.get(key, ()):
            raise ConfigError(
                f"the request {request.name} asks for {key}, which an engine that is asked by token ids cannot do",
                remedy=f"take {key} out, or ask a server that does it as a chat endpoint (grid=external)",
            )


def _as_template_message(message: Message, name: str) -> Message:
    """A message of OpenAI's form as templates take it: its content a text, the arguments of its calls objects."""
    found = {key: value for key, value in message.items() if value is not None}
    content = message.get("content")
    if isinstance(content, list):
        other = sorted({str(part.get("type")) for part in content} - {"text", "refusal"})
        if other:
            raise ConfigError(
                f"the request {name} holds a part of the type {other[0]}, and only text can be asked by token ids",
                remedy="ask a server of the model as a chat endpoint (grid=external), or leave the request out",
            )
        content = "\n".join(str(part.get("text", part.get("refusal", ""))) for part in content)
    found["content"] = content or ""
    if "tool_calls" in found:
        found["tool_calls"] = [
            {
                **call,
                "function": {**call["function"], "arguments": _object(call["function"].get("arguments"))},
            }
            for call in found["tool_calls"]
        ]
    return found


def _object(arguments: Value) -> Value:
    """A call's arguments as the object that their text holds; as they are where it holds none."""
    try:
        found: Value = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments
    return found if isinstance(found, dict) else arguments
