"""Any chat endpoint in OpenAI's form, in text mode: `/v1/chat/completions`, one message after the other.

It is asked what any client asks: the conversation, temperature 0, a length, and logprobs where it takes such a request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import requests
from msgspec.structs import replace

from scripts.common.errors import UnsupportedError
from scripts.common.files import sha256_bytes
from scripts.common.protocol import Generation, Scores
from scripts.engines.answers import checked
from scripts.engines.chat_answer import ChatAnswer, filtered, hidden_tokens, read_answer
from scripts.engines.http import Connection, ServerClient
from scripts.records.base import Value
from scripts.records.engine import Described
from scripts.records.settings import GREEDY, Sampling
from scripts.records.transcript import ServerSaid
from scripts.workload.text_form import read_body

PATH = "/v1/chat/completions"
REFUSED = (400, 403, 422)  # what is answered to a request that asks too much, or that a filter refuses


class OpenAIServer(ServerClient):
    """A chat endpoint. Its logprobs are recorded as far as it gives them."""

    _takes_logprobs = True
    _gave_logprobs = False

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_tokens: int,
        stop_ids: Sequence[int],
        top_logprobs: int,
        sampling: Sampling = GREEDY,
    ) -> Generation:
        """One answer."""
        body: dict[str, Value] = {
            "model": self._model,
            **read_body(prompt_ids),
            **sampling.body(),
            "max_tokens": max_tokens,
        }
        prompt = self._server_prompt(body) if opens(body) else None
        answer, said = self._ask(body, top_logprobs)
        bits = answer.bits()
        self._gave_logprobs = self._gave_logprobs or bits is not None
        chosen, top = (None, None) if bits is None else bits
        return Generation(
            answer.ids(),
            answer.finish_reason,
            chosen,
            top,
            cached_tokens=said.usage.cached_tokens if said and said.usage else None,
            thoughts=answer.said.thoughts,
            native_calls=answer.said.calls,
            refusal=answer.said.refusal,
            said=said
            and replace(
                said,
                server_prompt=prompt,
                named_tokens=len(answer.tokens) or None,
                tokens_with_bits=None if chosen is None else sum(each is not None for each in chosen),
            ),
        )

    def _ask(self, body: Mapping[str, Value], top_logprobs: int) -> tuple[ChatAnswer, ServerSaid | None]:
        """An answer, and what it says of the server. One that takes no request for logprobs is asked without."""
        wanted: Mapping[str, Value] = {"logprobs": True, "top_logprobs": top_logprobs}
        response = self._connection.send("POST", PATH, {**body, **(wanted if self._takes_logprobs else {})})
        refused = _refused(response)
        if self._takes_logprobs and response.status_code in REFUSED and refused is None:
            response = self._connection.send("POST", PATH, body)
            refused = _refused(response)
            self._takes_logprobs = response.status_code != 200
        if refused is not None:
            return refused, self.said(None)
        if response.status_code != 200:
            raise self._connection.refusal(response, f"POST {PATH}")
        given = self._connection.read(response, f"POST {PATH}")
        with checked(PATH, self._server.failure):
            answer = read_answer(given, top_logprobs)
        said = self.said(given)
        return answer, said and replace(said, hidden_tokens=hidden_tokens(answer, said.usage))

    def _server_prompt(self, body: Mapping[str, Value]) -> str | None:
        """The sha256 of the prompt as the server makes it of a request; None where it does not say."""
        ability = self._server.abilities.get("server's prompt")
        if ability is None or not ability.can or ability.path is None:
            return None
        wanted = {key: body[key] for key in ("model", "messages", "tools") if key in body}
        return rendered(self._connection, ability.path, wanted)

    def score(self, ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Refused: a chat endpoint takes no ids."""
        raise UnsupportedError(
            "not possible on this server: a chat endpoint gives no logprobs of a prompt",
            remedy="name a tokenizer, where it is a vLLM or SGLang",
        )

    def force(self, prompt_ids: Sequence[int], output_ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Refused: a chat endpoint takes no ids."""
        raise UnsupportedError(
            "not possible on this server: a chat endpoint cannot decode given ids",
            remedy="name a tokenizer, where it is a vLLM",
        )

    def reset(self) -> None:
        """Nothing: the endpoint's caches are its own."""

    def describe(self) -> Described:
        """What is known of an endpoint: that it is one."""
        unknown = ("attention_backend", "moe_backend", "kv_cache_dtype", "quantisation")
        return Described(
            version=None,
            arguments=self._arguments,
            resolved=dict.fromkeys(unknown),
            logprobs=self._gave_logprobs,
            mode="text",
            context_between_turns="unknown",
        )


def opens(body: Mapping[str, Value]) -> bool:
    """Whether a request opens a conversation: nothing of it was generated."""
    messages = body.get("messages")
    return isinstance(messages, list) and not any(
        isinstance(each, dict) and each.get("role") == "assistant" for each in messages
    )


def rendered(connection: Connection, path: str, body: Mapping[str, Value]) -> str | None:
    """The sha256 of the prompt that a server makes of a request, by /apply-template or /tokenize; None where it does
    not say."""
    answer = connection.send("POST", path, body)
    try:
        given = json.loads(answer.content) if answer.status_code == 200 else None
    except (ValueError, RecursionError):
        return None
    prompt = (given.get("prompt") or given.get("tokens")) if isinstance(given, dict) else None
    return None if not isinstance(prompt, str | list) else sha256_bytes(json.dumps(prompt).encode())


def _refused(response: requests.Response) -> ChatAnswer | None:
    """What a filter answers in place of an answer; None where it is anything else."""
    if response.status_code not in REFUSED:
        return None
    try:
        return filtered(json.loads(response.content))
    except (ValueError, RecursionError):
        return None
