"""SGLang behind the engine protocol: `/generate` with `input_ids`, ids and logprobs taken from `meta_info`.

SGLang's custom logit processors run before its logprobs are taken, so a forced decode would return the logprobs of the
forced distribution: it is refused, and a cell is forced in prefill alone. A
`dict[str, Any]` is what the server answers.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from scripts.common.errors import EngineError, UnsupportedError
from scripts.common.protocol import Generation, Scores
from scripts.engines.answers import Candidates, checked, generation, ordered, scores
from scripts.engines.http import ServerClient
from scripts.engines.routing import ASKED, Layer, experts_per_token, split_layers
from scripts.records.base import Value
from scripts.records.engine import Described
from scripts.records.settings import COLD, GREEDY, Sampling

RESET_SECONDS = 30.0
RESOLVED = {
    "attention_backend": "attention_backend",
    "moe_backend": "moe_runner_backend",
    "fp4_gemm_backend": "fp4_gemm_runner_backend",
    "fp8_gemm_backend": "fp8_gemm_runner_backend",
    "sampling_backend": "sampling_backend",
    "quantisation": "quantization",
    "kv_cache_dtype": "kv_cache_dtype",
    "dtype": "dtype",
    "chunked_prefill": "chunked_prefill_size",
    "deterministic": "enable_deterministic_inference",
    "tensor_parallel": "tp_size",
    "flashinfer_autotune": "disable_flashinfer_autotune",
}


class SglangServer(ServerClient):
    """An SGLang server."""

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_tokens: int,
        stop_ids: Sequence[int],
        top_logprobs: int,
        sampling: Sampling = GREEDY,
    ) -> Generation:
        """Decoding by the server's own sampler."""
        ours = self._server.ours
        # SGLang would stop at the model's own end as well, and with ignore_eos at no id at all.
        ends = {"stop_token_ids": list(stop_ids), "ignore_eos": not stop_ids, "skip_special_tokens": False}
        answer = self._ask(
            prompt_ids,
            top_logprobs,
            -1,
            max_new_tokens=max_tokens,
            **(ends if ours else {}),
            **_drawn(sampling),
        )
        with checked("/generate", self._server.failure):
            meta = answer["meta_info"]
            found = meta["output_token_logprobs"]
            ids = [int(each[1]) for each in found]
            top = [_candidates(row, top_logprobs) for row in meta["output_top_logprobs"]]
            if (
                "output_ids" in answer
                and list(answer["output_ids"])[: len(ids)] != ids[: len(answer["output_ids"])]
            ):
                raise ValueError("the logprobs are of other ids than those generated")
            chosen = [float(each[0]) for each in found]
            ended = None if ours else str(meta["finish_reason"]["type"])
            made = generation(
                ids,
                chosen,
                top,
                max_tokens=max_tokens,
                stop_ids=stop_ids,
                cached_tokens=meta.get("cached_tokens"),
                ended=ended,
            )
        return replace(made, said=self.said(answer))

    def score(self, ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Prefill, `logprob_start_len` 0; the one id generated besides is thrown away."""
        answer = self._ask(ids, top_logprobs, 0, max_new_tokens=1)
        with checked("logprob_start_len", self._server.failure):
            meta = answer["meta_info"]
            rows, candidates = meta["input_token_logprobs"], meta["input_top_logprobs"]
            if len(rows) != len(ids) or len(candidates) != len(ids):
                raise ValueError(f"{len(rows)} positions and {len(candidates)} lists for {len(ids)} ids")
            top = [_candidates(row, top_logprobs) for row in candidates[1:]]
            chosen = [_chosen(*each) for each in zip(ids[1:], rows[1:], top, strict=True)]
            return scores(1, chosen, top, self._layers(meta, len(ids)))

    def force(self, prompt_ids: Sequence[int], output_ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Refused: SGLang takes logprobs after its logit processors."""
        raise UnsupportedError(
            "SGLang takes logprobs after its logit processors, so a forced decode would not show the model's own",
            remedy="force the cell in prefill",
        )

    def reset(self) -> None:
        """Empty the radix cache; of a server that was not started here for the variant `cold-cache` alone."""
        if not self._server.ours and not self._arguments.get(COLD):
            return
        until = time.monotonic() + RESET_SECONDS
        while (status := self._connection.status("POST", "/flush_cache")) != 200:
            if time.monotonic() > until or status not in (400, 503):
                raise self._server.failure(
                    f"the cache was not flushed: POST /flush_cache was answered with {status}"
                )
            time.sleep(0.05)

    def describe(self) -> Described:
        """Version, and what SGLang made of its arguments, from its server information."""
        path = (
            "/get_server_info"
            if self._connection.status("GET", "/get_server_info") == 200
            else "/server_info"
        )
        said = self._connection.get(path)
        with checked(path, self._server.failure):
            return Described(
                version=said.get("version"),
                arguments=self._arguments,
                resolved={name: said.get(key) for name, key in RESOLVED.items()},
                cache_reset=self._server.ours or bool(self._arguments.get(COLD)),
                context_between_turns="unknown"
                if not self._server.ours
                else "read again"
                if self._arguments.get("disable_radix_cache")
                else "kept",
                container=self._server.given,
                tuning=self._server.tuning(),
            )

    def names_experts(self) -> bool:
        """Whether an answer holds the experts, asked for them."""
        body: dict[str, Value] = {
            "input_ids": list(range(16, 32)),
            "sampling_params": {"temperature": 0.0, "max_new_tokens": 1},
            "return_routed_experts": True,
        }
        answer = self._connection.post("/generate", body)
        return isinstance(answer, dict) and (answer.get("meta_info") or {}).get("routed_experts") is not None

    def _layers(self, meta: Mapping[str, Any], ids: int) -> list[Layer] | None:
        """The experts of all `ids` but the last, layer by layer; None where the server was not started to return them.

        SGLang names them for the last one too, which it reads to generate another: int32 in one row, base64.
        """
        if not self._arguments.get(ASKED):
            return None
        if meta.get("routed_experts") is None:
            raise ValueError(
                "it holds no routed_experts: the model has no experts, or this SGLang does not return them"
            )
        flat = np.frombuffer(base64.b64decode(meta["routed_experts"]), np.int32)
        found = split_layers(flat, ids, experts_per_token(self._server.weights))
        return [each[: ids - 1] for each in found]

    def _ask(self, prompt: Sequence[int], top_logprobs: int, start: int, **sampling: Any) -> dict[str, Any]:
        if not prompt:
            raise EngineError("the prompt is empty")
        body: dict[str, Value] = {
            "input_ids": list(prompt),
            "sampling_params": {"temperature": 0.0, **sampling},
            "return_logprob": True,
            "logprob_start_len": start,
            "top_logprobs_num": top_logprobs,
            "return_text_in_logprobs": False,
            "stream": False,
        }
        if self._arguments.get(ASKED):
            body["return_routed_experts"] = True
        answer = self._connection.post("/generate", body)
        if not isinstance(answer, dict):
            raise self._server.failure("the answer to /generate is no JSON object")
        return answer


def _drawn(sampling: Sampling) -> dict[str, Value]:
    """The sampling by SGLang's names. Its logprobs are those after the temperature."""
    return {{"seed": "sampling_seed"}.get(key, key): value for key, value in sampling.body().items()}


def _candidates(row: Sequence[Sequence[Any]], count: int) -> Candidates:
    return ordered([(int(each[1]), float(each[0])) for each in row], count)


def _chosen(asked: int, row: Sequence[Any], top: Candidates) -> float:
    """The logprob of the id `asked`; ValueError where `row` has another's and the candidates lack it.

    SGLang 0.5.15 takes the vocabulary's last id, as padding for images, for id 0, and gives the logprob of that.
    """
    if int(row[1]) == asked:
        return float(row[0])
    found = dict(top).get(asked)
    if found is None:
        raise ValueError(f"the logprob of id {row[1]} for id {asked}, which is not among the candidates")
    return found
