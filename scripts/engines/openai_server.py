"""Any chat endpoint in OpenAI's form, in text mode: `/v1/chat/completions`, one message after the other.

A `Mapping[str, Any]` is what the endpoint answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.common.errors import EngineError, UnsupportedError
from scripts.common.protocol import Generation, Scores
from scripts.engines.answers import Candidates, checked, ordered
from scripts.engines.http import ServerClient
from scripts.records.base import Value
from scripts.records.engine import Described
from scripts.records.settings import GREEDY, Sampling
from scripts.workload.text_form import END, code_points, read_body, token_id


class OpenAIServer(ServerClient):
    """A chat endpoint. Its logprobs are recorded where it offers them, else None."""

    _logprobs: bool | None = None

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_tokens: int,
        stop_ids: Sequence[int],
        top_logprobs: int,
        sampling: Sampling = GREEDY,
    ) -> Generation:
        """One answer. Whether logprobs are offered is found out at the first request."""
        body: dict[str, Value] = {
            "model": self._model,
            **read_body(prompt_ids),
            **sampling.body(),
            "max_tokens": max_tokens,
        }
        if self._logprobs is None:
            self._logprobs = self._offers_logprobs(body)
        if self._logprobs:
            body |= {"logprobs": True, "top_logprobs": top_logprobs}
        answer = self._connection.post("/v1/chat/completions", body)
        with checked("/v1/chat/completions", self._server.failure):
            choice = answer["choices"][0]
            text = choice["message"].get("content") or ""
            if not isinstance(text, str) or choice["finish_reason"] not in ("stop", "length"):
                raise ValueError(f"finish_reason {choice['finish_reason']!r}")
            stopped = choice["finish_reason"] == "stop"
            rows = ((choice.get("logprobs") or {}).get("content") or []) if self._logprobs else []
            return self._tokens(text, rows, top_logprobs, stopped) or Generation(
                [*code_points(text), *([END] if stopped else [])], "stop" if stopped else "length", None, None
            )

    def _tokens(
        self, text: str, rows: Sequence[Mapping[str, Any]], count: int, stopped: bool
    ) -> Generation | None:
        """The generation token by token; None where the tokens with logprobs are not those of the text."""
        if not rows or b"".join(_bytes(row) for row in rows) not in (
            text.encode(),
            text.encode() + _bytes(rows[-1]),
        ):
            return None
        kept = list(rows)
        if b"".join(_bytes(row) for row in rows) != text.encode():
            kept.pop()  # the end of the turn, which is no part of the text
        ids = [token_id(_bytes(row)) for row in kept]
        chosen = [float(row["logprob"]) for row in kept]
        top: list[Candidates] = [
            ordered(
                [(token_id(_bytes(each)), float(each["logprob"])) for each in row.get("top_logprobs") or []],
                count,
            )
            for row in kept
        ]
        if stopped:
            end = rows[-1] if len(rows) > len(kept) else None
            ids.append(END)
            chosen.append(float(end["logprob"]) if end else 0.0)
            top.append([(END, chosen[-1])])
        return Generation(ids, "stop" if stopped else "length", chosen, top)

    def _offers_logprobs(self, body: Mapping[str, Value]) -> bool:
        try:
            answer = self._connection.post(
                "/v1/chat/completions", {**body, "max_tokens": 1, "logprobs": True, "top_logprobs": 1}
            )
        except EngineError as error:
            if " 400" in error.what or " 422" in error.what:
                return False
            raise
        with checked("/v1/chat/completions", self._server.failure):
            return bool((answer["choices"][0].get("logprobs") or {}).get("content"))

    def score(self, ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Refused: a chat endpoint takes no ids."""
        raise UnsupportedError(
            "a chat endpoint gives no logprobs of a prompt",
            remedy="name a tokenizer, where it is a vLLM or SGLang",
        )

    def force(self, prompt_ids: Sequence[int], output_ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Refused: a chat endpoint takes no ids."""
        raise UnsupportedError(
            "a chat endpoint cannot decode given ids", remedy="name a tokenizer, where it is a vLLM"
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
            logprobs=bool(self._logprobs),
            mode="text",
            context_between_turns="unknown",
        )


def _bytes(row: Mapping[str, Any]) -> bytes:
    given = row.get("bytes")
    return bytes(given) if given is not None else str(row["token"]).encode()
