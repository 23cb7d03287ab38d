"""llama.cpp's server behind the engine protocol: `/completion` with token ids in and out.

The GGUF file must hold a vocabulary: the server wants one, and ends a generation only at an id that the file calls an
end of generation. Prefill logprobs it does not give; a quant that it serves is forced in process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from scripts.common.errors import EngineError, UnsupportedError
from scripts.common.protocol import Generation, Scores
from scripts.engines.answers import Candidates, checked, generation, ordered, require_ids
from scripts.engines.http import ServerClient
from scripts.records.base import Value
from scripts.records.engine import Described
from scripts.records.settings import COLD, GREEDY, Sampling

# What the server says has ended a generation, by the names of the transcript; others are as they are.
ENDS = {"eos": "stop", "limit": "length"}
RESOLVED = {
    "quantisation": r"file type\s*=\s*(.+)",
    # "auto" is resolved further down in the log.
    "flash_attention": r"(?:flash_attn\s*=\s*|Flash Attention (?:not supported, set to )?)(enabled|disabled)",
    "kv_cache_dtype": r"K \((\w+)\)",
    "n_batch": r"n_batch\s*=\s*(\d+)",
    "n_ubatch": r"n_ubatch\s*=\s*(\d+)",
    "n_threads": r"n_threads\s*=\s*(\d+)",
    "n_threads_batch": r"n_threads_batch\s*=\s*(\d+)",
    "instruction_sets": r"system_info:.*?\| (.+)",
}


class LlamaCppServer(ServerClient):
    """A llama.cpp server."""

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_tokens: int,
        stop_ids: Sequence[int],
        top_logprobs: int,
        sampling: Sampling = GREEDY,
    ) -> Generation:
        """Decoding by the server's own sampler; logprobs are those before any sampler.

        The server leaves out the logprobs of an id that ends in half a character (UTF-8): a generation with such an
        id has none at all.
        """
        if not prompt_ids:
            raise EngineError("the prompt is empty")
        body: dict[str, Value] = {
            "prompt": list(prompt_ids),
            "n_predict": max_tokens,
            **sampling.body(),
            "n_probs": top_logprobs,
            "return_tokens": True,
        }
        ours = self._server.ours
        if ours:
            body |= {
                "samplers": ["temperature"] if sampling.top_p is None else ["temperature", "top_p"],
                "post_sampling_probs": False,
                "cache_prompt": bool(self._arguments.get("cache_prompt", False)),
                "stream": False,
                "stop": [],
                "dry_multiplier": 0.0,
                "repeat_penalty": 1.0,
                "logit_bias": [],
            }
        answer = self._connection.post("/completion", body)
        with checked("/completion", self._server.failure):
            ids = require_ids(answer["tokens"])
            if ours and answer.get("truncated"):
                raise ValueError("the server cut the prompt or ran out of context")
            rows = answer.get("completion_probabilities") or []
            chosen: list[float | None] | None = None
            top: list[Candidates] | None = None
            if [row["id"] for row in rows] == ids:
                top = [
                    ordered(
                        [(each["id"], float(each["logprob"])) for each in row["top_logprobs"]], top_logprobs
                    )
                    for row in rows
                ]
                # A server that drafts writes 0 and no candidates for tokens that it did not compute one by one.
                chosen = [
                    float(row["logprob"]) if each else None for row, each in zip(rows, top, strict=True)
                ]
            elif len(rows) >= len(ids):
                raise ValueError("the logprobs are of other ids than those generated")
            cached = answer.get("timings", {}).get("cache_n")
            ended = "truncated" if answer.get("truncated") else answer.get("stop_type")
            ended = None if ours else ENDS.get(ended, ended)
            made = generation(
                ids,
                chosen,
                top,
                max_tokens=max_tokens,
                stop_ids=stop_ids,
                cached_tokens=cached,
                ended=ended,
            )
        return replace(made, said=self.said(answer))

    def score(self, ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Refused: the server gives no logprobs of a prompt."""
        raise UnsupportedError(
            "llama.cpp's server gives no logprobs of a prompt", remedy="force the quant in process"
        )

    def force(self, prompt_ids: Sequence[int], output_ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Refused: one request a position would read the whole context each time."""
        raise UnsupportedError(
            "llama.cpp's server cannot decode given ids", remedy="force the quant in process"
        )

    def reset(self) -> None:
        """Empty each slot's cache, where there is one: another prompt takes its place.

        Without `cache_prompt` every request reads its whole prompt again, and nothing is left to empty. A server that
        was not started here is left as it is, but for the variant `cold-cache`.
        """
        if self._arguments.get("cache_prompt") or (not self._server.ours and self._arguments.get(COLD)):
            slots = self._arguments.get("parallel", 1)
            if not self._server.ours:
                slots = self._connection.get("/props").get("total_slots", 1)
            assert isinstance(slots, int)
            for slot in range(slots):
                short: dict[str, Value] = {"prompt": [0], "n_predict": 1, "cache_prompt": False}
                self._connection.post("/completion", {**short, "id_slot": slot})

    def describe(self) -> Described:
        """Build from the API; `resolved` from the log, None where it does not say."""
        properties = self._connection.get("/props")
        log = self._server.log()
        with checked("/props", self._server.failure):
            found = {name: re.search(pattern, log) for name, pattern in RESOLVED.items()}
            return Described(
                version=properties.get("build_info"),
                arguments=self._arguments,
                resolved={
                    "n_ctx": properties.get("default_generation_settings", {}).get("n_ctx"),
                    "moe_backend": None,
                    **{name: match[1].strip() if match else None for name, match in found.items()},
                },
                cache_reset=self._server.ours or bool(self._arguments.get(COLD)),
                context_between_turns="kept"
                if self._arguments.get("cache_prompt")
                else "read again"
                if self._server.ours
                else "unknown",
                container=self._server.given,
            )
