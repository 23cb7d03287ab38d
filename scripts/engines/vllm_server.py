"""vLLM behind the engine protocol: `/v1/completions` with token ids in and out.

Asked of the API (vLLM 0.24 to 0.32): `return_token_ids`, `return_tokens_as_token_ids` (candidates by id, since
texts collide), `logprobs`, `prompt_logprobs`; `vllm_xargs` carries
the ids of a forced decode to scripts/engines/vllm_force.py;
`/reset_prefix_cache` is a route of the development mode; `prompt_tokens_details` is there under
`--enable-prompt-tokens-details`, where versions leave it out for no hit; `routed_experts` is what a choice holds under
`--enable-return-routed-experts`: a .npy of every id but the last, its layers, the experts of each.
A `dict[str, Any]` is what the server answers.
"""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from scripts.common.errors import EngineError, UnsupportedError
from scripts.common.protocol import Generation, Scores
from scripts.engines.answers import Candidates, checked, generation, ordered, require_ids, scores
from scripts.engines.http import ServerClient
from scripts.engines.routing import ASKED, Layer
from scripts.records.engine import Described, PrefixCacheCount, Resolved, Speculation
from scripts.records.settings import COLD, GREEDY, Sampling
from scripts.records.transcript import ServerSaid

FORCED = "tempzero_force"
COUNTED = (
    "enable_prompt_tokens_details"  # the argument with which an answer says what was cached of its prompt
)
LAYERS = re.compile(r"tempzero resolved: (\{.*\})")  # what vllm_force.py writes
RESET_SECONDS = 30.0
NEAR = 0.5  # nat
NOT_FORCED = (
    "not possible on this server: asked to decode ids that it would not choose, it decodes others, or gives no"
    " logprobs of its own choice (it was not started with scripts.engines.vllm_force)"
)
_PLACEHOLDER = "token_id:"

# What vLLM's log says of what it made of its arguments; the first that is found counts.
RESOLVED = {
    "attention_backend": (r"Using (?:AttentionBackendEnum\.)?(\w+) (?:attention )?backend(?: out of|\.)",),
    "flash_attention": (r"Using FlashAttention version (\d+)",),
    "gdn_kernel": (r"Using ([\w/]+) GDN prefill kernel",),
    "moe_backend": (r"Using '?([\w ]+?)'? MoE backend", r"Using '(\w+)' .*MoE backend"),
    "model_runner": (r"Using (V2) Model Runner",),
    "quantisation": (r"with config:.*?\bquantization=([\w-]+)",),
    "kv_cache_dtype": (r"with config:.*?\bkv_cache_dtype=([\w-]+)",),
    "dtype": (r"with config:.*?\bdtype=(?:torch\.)?(\w+)",),
    "prefix_caching": (r"with config:.*?\benable_prefix_caching=(\w+)",),
    "chunked_prefill": (r"with config:.*?\benable_chunked_prefill=(\w+)",),
    "enforce_eager": (r"with config:.*?\benforce_eager=(\w+)",),
    "cudagraph_mode": (r"with config:.*?cudagraph_mode['\"]?[:=] ?<?(?:CUDAGraphMode\.)?(\w+)",),
    "tensor_parallel": (r"with config:.*?\btensor_parallel_size=(\d+)",),
    "flashinfer_autotune": (r"with config:.*?enable_flashinfer_autotune['\"]?[:=] ?(\w+)",),
}
# Of these several may be chosen, one a kind of layer: all that are named.
LINEAR = re.compile(
    r"(?:Selected (?=\w+ for \w)|Using (?=\w+ for (?:[\w -]*(?:GEMM|linear|LinearMethod)|CompressedTensors\w+)))(\w+)"
)
PATCHED = re.compile(r"tempzero patched: ([\w-]+)")
ALL_REDUCE = re.compile(r"Using \[([^]]*)\] all-reduce backends \(in dispatch order\) for group 'tp")


def speculation(metrics: str) -> Speculation | None:
    """Drafted and accepted tokens, from the text of vLLM's /metrics; None where it does not count them."""
    drafted, accepted = (counted(metrics, f"spec_decode_num_{each}_tokens") for each in ("draft", "accepted"))
    return None if drafted is None or accepted is None else Speculation(drafted=drafted, accepted=accepted)


def prefix_cache(metrics: str) -> PrefixCacheCount | None:
    """Tokens looked up in the prefix cache and found, from the same text; None where it does not count them."""
    queries, hits = (counted(metrics, f"prefix_cache_{each}") for each in ("queries", "hits"))
    return None if queries is None or hits is None else PrefixCacheCount(queries=queries, hits=hits)


def counted(metrics: str, name: str) -> int | None:
    """The sum of a counter of vLLM's over its engines, from the text of /metrics; None where it is not there."""
    found = re.findall(rf"^vllm:{name}(?:_total)?(?:{{.*}})? (\S+)", metrics, re.M)
    return round(sum(map(float, found))) if found else None


def read_log(log: str) -> Resolved:
    """What the log, and the layers' line in it, say of what was resolved; None where neither says."""
    resolved: Resolved = {name: first_found(patterns, log) for name, patterns in RESOLVED.items()}
    resolved["linear_kernel"] = ", ".join(sorted(set(LINEAR.findall(log)))) or None
    resolved["patch"] = ", ".join(sorted(set(PATCHED.findall(log)))) or None
    sums = ALL_REDUCE.search(log)
    resolved["all_reduce"] = sums and sums[1].replace("'", "")
    if layers := LAYERS.search(log):
        resolved |= {name: ", ".join(values) for name, values in json.loads(layers[1]).items()}
    return resolved


class VllmServer(ServerClient):
    """A vLLM server."""

    _can_reset: bool | None = None
    _can_force: bool | None = None
    _said: ServerSaid | None = None

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_tokens: int,
        stop_ids: Sequence[int],
        top_logprobs: int,
        sampling: Sampling = GREEDY,
    ) -> Generation:
        """Decoding by the server's own sampler. One that was not started here ends where it wants to."""
        ours = self._server.ours
        ends = {"stop_token_ids": list(stop_ids), "ignore_eos": True} if ours else {}
        choice, cached = self._complete(
            prompt_ids, max_tokens=max_tokens, logprobs=top_logprobs, **ends, **sampling.body()
        )
        with checked("/v1/completions", self._server.failure):
            ids, chosen, top = _decoded(choice, top_logprobs)
            ended = None if ours else str(choice.get("finish_reason"))
            made = generation(
                ids,
                chosen,
                top,
                max_tokens=max_tokens,
                stop_ids=stop_ids,
                cached_tokens=cached,
                ended=ended,
            )
        return replace(made, said=self._said)

    def score(self, ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Prefill, `prompt_logprobs`; the one id that the API wants generated besides is thrown away."""
        self._refuse_speculation()
        choice, _ = self._complete(ids, max_tokens=1, ignore_eos=True, prompt_logprobs=top_logprobs)
        with checked("prompt_logprobs", self._server.failure):
            rows = choice["prompt_logprobs"]
            if len(rows) != len(ids) or rows[0] is not None:
                raise ValueError(f"{len(rows)} positions for {len(ids)} ids")
            chosen: list[float] = []
            top: list[Candidates] = []
            for token, row in zip(ids[1:], rows[1:], strict=True):
                found = {int(key): float(value["logprob"]) for key, value in row.items()}
                chosen.append(found[token])
                top.append(ordered(list(found.items()), top_logprobs))
            # The id that was generated besides has not been read: the rows are those of `ids`, the last one's included.
            layers = self._layers(choice)
            return scores(1, chosen, top, layers and [each[: len(ids) - 1] for each in layers])

    def force(self, prompt_ids: Sequence[int], output_ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Decode the given ids one by one; the logprobs are those before the server was held to them."""
        self._refuse_speculation()
        if not self._server.ours and not self.can_force():
            raise UnsupportedError(NOT_FORCED, remedy="force it in prefill, or have the workflow start it")
        return self._force(prompt_ids, list(output_ids), top_logprobs)

    def can_force(self) -> bool:
        """Whether the server decodes ids that it would not choose, and gives the logprobs of its own choice there.

        A server without our processor takes the request, and answers what it would have answered anyway.
        """
        if self._can_force is None:
            prompt = list(range(16, 32))
            free, _ = self._complete(prompt, max_tokens=2, logprobs=2)
            with checked("/v1/completions", self._server.failure):
                ids, _, top = _decoded(free, 2)
                other = next(each for each in top[0] if each[0] != ids[0])
            try:
                made = self._force(prompt, [other[0], ids[0]], 2)
            except EngineError:
                self._can_force = False
            else:
                # Another shape of batch may move the last bits; of a processor's own distribution it would be 0.
                self._can_force = abs(made.chosen[0] - other[1]) < NEAR
        return self._can_force

    def _force(self, prompt_ids: Sequence[int], wanted: list[int], top_logprobs: int) -> Scores:
        choice, _ = self._complete(
            prompt_ids,
            max_tokens=len(wanted),
            ignore_eos=True,
            logprobs=top_logprobs,
            vllm_xargs={FORCED: json.dumps(wanted)},  # versions up to 0.25 take no list
        )
        with checked("a forced decode", self._server.failure):
            ids, chosen, top = _decoded(choice, top_logprobs)
            if ids != wanted:
                raise self._server.failure(
                    "the server did not decode the ids it was given: it runs without scripts.engines.vllm_force"
                )
            return scores(len(prompt_ids), chosen, top, self._layers(choice))

    def reset(self) -> None:
        """Empty the prefix cache. One that was not started here is left as it is, but for the variant `cold-cache`."""
        if not self._server.ours:
            if not self._arguments.get(COLD):
                return
            if self._can_reset is None and self._connection.status("POST", "/reset_prefix_cache") != 200:
                raise UnsupportedError(
                    "not possible on this server: it has no route that resets its prefix cache",
                    remedy="start it with VLLM_SERVER_DEV_MODE=1, or leave out the variant cold-cache",
                )
        until = time.monotonic() + RESET_SECONDS
        while True:
            answer = self._connection.post("/reset_prefix_cache", {})
            self._can_reset = True
            # Some versions answer with an empty object, or with a status alone.
            if not isinstance(answer, dict) or answer.get("success", True):
                return
            if time.monotonic() > until:
                raise self._server.failure("the prefix cache was not reset: the server still holds blocks")
            time.sleep(0.05)

    def describe(self) -> Described:
        """Version from the API; `resolved` from the layers and the log, None where neither says."""
        version = self._connection.get("/version")
        resolved = read_log(self._server.log())
        return Described(
            version=version.get("version") if isinstance(version, dict) else None,
            arguments=self._arguments,
            resolved=resolved,
            cache_reset=self._can_reset,
            context_between_turns="kept" if self._arguments.get("enable_prefix_caching") else "read again",
            speculation=self._speculation(),
            prefix_cache=self._prefix_cache(),
            container=self._server.given,
            tuning=self._server.tuning(),
        )

    def _speculation(self) -> Speculation | None:
        """What the server counted of drafted tokens since its start; None without speculative decoding."""
        if not self._arguments.get("speculative_config"):
            return None
        return speculation(self._connection.send("GET", "/metrics").text)

    def _prefix_cache(self) -> PrefixCacheCount | None:
        """What the server counted of its prefix cache since its start; None with the cache off."""
        if not self._arguments.get("enable_prefix_caching"):
            return None
        return prefix_cache(self._connection.send("GET", "/metrics").text)

    def _refuse_speculation(self) -> None:
        if self._arguments.get("speculative_config") or (self._said and "drafted" in self._said.counters):
            raise UnsupportedError(
                "with speculative decoding vLLM's logprobs of a prompt are wrong, and no id can be forced"
            )

    def names_experts(self) -> bool:
        """Whether a choice holds the experts, without being asked for them."""
        choice, _ = self._complete(list(range(16, 32)), max_tokens=1)
        return choice.get("routed_experts") is not None

    def _layers(self, choice: Mapping[str, Any]) -> list[Layer] | None:
        """The experts that the answer names, layer by layer; None where the server was not started to return them."""
        if not self._arguments.get(ASKED):
            return None
        if choice.get("routed_experts") is None:
            raise ValueError(
                "it holds no routed_experts: the model has no experts, or this vLLM does not return them"
            )
        found = np.load(io.BytesIO(base64.b64decode(choice["routed_experts"])), allow_pickle=False)
        return list(found.transpose(1, 0, 2))

    def _complete(self, prompt: Sequence[int], **wanted: Any) -> tuple[dict[str, Any], int | None]:
        """The one choice of an answer, and how many ids of the prompt were cached; None where it does not say."""
        if not prompt:
            raise EngineError("the prompt is empty")
        body = {
            "model": self._model,
            "prompt": list(prompt),
            "temperature": 0.0,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            **wanted,
        }
        if self._server.ours:
            body |= {"n": 1, "add_special_tokens": False, "skip_special_tokens": False}
        answer = self._connection.post("/v1/completions", body)
        self._said = self.said(answer)
        with checked("/v1/completions", self._server.failure):
            choice: dict[str, Any] = answer["choices"][0]
            seen = choice.get("prompt_token_ids")
            if seen is not None and seen != list(prompt):
                raise ValueError("the server read another prompt than it was sent")
            details = (answer.get("usage") or {}).get("prompt_tokens_details")
            none = 0 if self._arguments.get(COUNTED) else None
            cached = details["cached_tokens"] if details else none
            return choice, cached


def _decoded(choice: Mapping[str, Any], count: int) -> tuple[list[int], list[float], list[Candidates]]:
    ids = require_ids(choice["token_ids"])
    given = choice["logprobs"]
    if [_token_id(name) for name in given["tokens"]] != ids:
        raise ValueError("the logprobs are of other ids than those generated")
    chosen = [float(each) for each in given["token_logprobs"]]
    top = [
        ordered([(_token_id(name), float(each)) for name, each in row.items()], count)
        for row in given["top_logprobs"]
    ]
    return ids, chosen, top


def _token_id(name: str) -> int:
    if not name.startswith(_PLACEHOLDER):
        raise ValueError(f"a candidate is named {name!r}, not by its id")
    return int(name.removeprefix(_PLACEHOLDER))


def first_found(patterns: Sequence[str], log: str) -> str | None:
    """What the first pattern that occurs in the log captured; None where none does, or where it reads None."""
    for pattern in patterns:
        if match := re.search(pattern, log):
            return None if match[1] == "None" else match[1].strip()
    return None
