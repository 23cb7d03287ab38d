"""Inside a vLLM server: a logits processor that admits one given id a step. Loaded by `--logits-processors`.

A request names the ids in `vllm_xargs`: `{"tempzero_force": "[id, …]"}`. Logprobs are taken before processors
(`logprobs_mode` raw_logprobs), so they stay those of the model. Both of vLLM's interfaces are met: that of the first
model runner (update_state, apply(logits)) and that of the second (add_request, apply(logits, context)).
At the first step it also writes one line to the log: which attention backends, KV-cache types and methods the layers
came to have, read from the layers themselves, and which model runner calls it. Nothing but vLLM is imported, for it
runs in the server's environment. A patch of vllm_patches.py that the environment names, or the checkpoint wants, is
applied on the way.
"""

from __future__ import annotations

import json
from typing import Any

from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from scripts.engines.vllm_patches import apply_patch, hand_on_expert

try:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as SecondInterface
except ImportError:  # versions with the first model runner alone

    class SecondInterface:  # type: ignore[no-redef]  # stands in for a class that this version lacks
        """Nothing."""


ARGUMENT = "tempzero_force"
RESOLVED = "tempzero resolved:"
apply_patch()


def _wanted(params: Any) -> list[int] | None:
    wanted = _given_ids(params)
    return [int(each) for each in wanted] if wanted else None


def _given_ids(params: Any) -> Any:
    """What a request names: a list, or the JSON text of one."""
    wanted = (params.extra_args or {}).get(ARGUMENT)
    return json.loads(wanted) if isinstance(wanted, str) else wanted


class Force(AdapterLogitsProcessor, SecondInterface):
    """Admits the request's next given id and no other; requests without given ids are left alone."""

    def __init__(self, vllm_config: Any, *rest: Any) -> None:
        hand_on_expert(
            vllm_config.model_config.hf_config
        )  # the runner makes its processors before it loads weights
        self._second = len(rest) == 1
        self._config: Any = vllm_config
        if self._second:
            self._states = rest[0]
            self._given: dict[int, list[int]] = {}
        else:
            AdapterLogitsProcessor.__init__(self, vllm_config, *rest)

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse what is no list of ids."""
        wanted = _given_ids(sampling_params)
        if wanted is not None and not (
            isinstance(wanted, list) and all(isinstance(each, int) for each in wanted)
        ):
            raise ValueError(f"{ARGUMENT} wants a list of token ids")

    def is_argmax_invariant(self) -> bool:
        """No: it chooses the id."""
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        """The first interface: what admits the id after those already generated."""
        wanted = _wanted(params)
        if wanted is None:
            return None

        def admit(generated: list[int], logits: Any) -> Any:
            return _admit_one(logits, wanted, len(generated))

        return admit

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """The second interface: note the given ids of a request's slot."""
        wanted = _wanted(sampling_params)
        self._given.pop(req_idx, None)
        if wanted is not None:
            self._given[req_idx] = wanted
        return wanted is not None

    def apply(self, logits: Any, ctx: Any = None) -> Any:
        """Admit one id a row."""
        if self._config is not None:
            found = _layers(self._config) | {"model_runner": ["V2" if self._second else "V1"]}
            # In one piece, since all ranks write one log.
            print(f"{RESOLVED} {json.dumps(found, sort_keys=True)}\n", end="", flush=True)
            self._config = None
        if not self._second:
            return AdapterLogitsProcessor.apply(self, logits)
        if self._given:
            slots = ctx.expanded_idx_mapping.tolist()
            positions = ctx.pos.tolist()
            for row, (slot, position) in enumerate(zip(slots, positions, strict=True)):
                if slot in self._given:
                    _admit_one(
                        logits[row], self._given[slot], position + 1 - int(self._states.prompt_len.np[slot])
                    )
        return logits


def _layers(config: Any) -> dict[str, list[str]]:
    """What the layers are made of, each list sorted; empty where this version keeps no such attribute."""
    found: dict[str, set[str]] = {
        "attention_backend": set(),
        "kv_cache_dtype": set(),
        "moe_method": set(),
        "moe_kernel": set(),
    }
    context = getattr(getattr(config, "compilation_config", None), "static_forward_context", None) or {}
    for layer in context.values():
        backend = getattr(layer, "attn_backend", None)
        if backend is not None:
            found["attention_backend"].add(backend.get_name())
            found["kv_cache_dtype"].add(str(getattr(layer, "kv_cache_torch_dtype", layer.kv_cache_dtype)))
        method = getattr(layer, "quant_method", None)
        if method is not None and backend is None:
            found["moe_method"].add(type(method).__name__)
            for name in ("moe_kernel", "kernel", "fused_experts"):
                inner = getattr(getattr(method, name, None), "fused_experts", getattr(method, name, None))
                if inner is not None:
                    found["moe_kernel"].add(type(inner).__name__)
    return {name: sorted(values) for name, values in found.items() if values}


def _admit_one(logits: Any, wanted: list[int], step: int) -> Any:
    """All logits but that of the step's id become -inf, in place; steps past the given ids, or before, are free."""
    if 0 <= step < len(wanted):
        kept = logits[wanted[step]].clone()
        logits.fill_(float("-inf"))
        logits[wanted[step]] = kept
    return logits
