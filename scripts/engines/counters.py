"""What a server counts of itself: /metrics of vLLM, SGLang and llama.cpp's server, /slots of the last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Counter → the names that servers give it. Those of one server are added up over its engines.
NAMES: Mapping[str, tuple[str, ...]] = {
    "queued": ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred"),
    "preempted": ("vllm:num_preemptions", "sglang:num_retracted_requests"),
    "cache_queries": ("vllm:prefix_cache_queries", "sglang:prompt_tokens"),
    "cache_hits": ("vllm:prefix_cache_hits", "sglang:cached_tokens"),
    "drafted": ("vllm:spec_decode_num_draft_tokens",),
    "accepted": ("vllm:spec_decode_num_accepted_tokens",),
}


def read_metrics(text: str) -> dict[str, int]:
    """The counters in the text of /metrics, of those that are there."""
    found: dict[str, float] = {}
    for counter, names in NAMES.items():
        for name in names:
            for value in re.findall(rf"^{name}(?:_total)?(?:\{{[^\n]*\}})? (\d[\d.e+]*)$", text, re.M):
                try:
                    found[counter] = found.get(counter, 0.0) + float(value)
                except ValueError:
                    continue
    return {counter: round(value) for counter, value in found.items() if value < 2**53}


def read_slots(slots: Any) -> dict[str, int]:
    """What /slots says: how many there are, and how many are at work for others; nothing where it is no such list."""
    if (
        not isinstance(slots, list)
        or not slots
        or not all(isinstance(each, dict) and "id" in each for each in slots)
    ):
        return {}
    return {"slots": len(slots), "at_work": sum(bool(each.get("is_processing")) for each in slots)}
