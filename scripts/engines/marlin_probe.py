"""Where Marlin's MoE product loses its bits: the kernels of one layer called again and again with one input.

For each number of tokens three questions, each answered by the count of distinct results over many calls: does
`moe_align_block_size` give one order of tokens; does the layer give one result; does it where the tokens of each expert
are put in ascending order (vllm_patches.py). Runs in the environment of a vLLM with CUDA, on its GPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from vllm.model_executor.layers.fused_moe.experts import marlin_moe
from vllm.model_executor.layers.quantization.utils.marlin_utils_test import marlin_quantize
from vllm.scalar_type import scalar_types

from scripts.engines.vllm_patches import sort_tokens

GROUP = 128  # weights that share a scale
MATRICES = 4  # drawn a layer; experts share them, since repacking a matrix takes longer than the whole probe
BLOCKS = (8, 16, 32, 48, 64)  # rows of a block, as vLLM chooses them


@dataclass(frozen=True)
class Shape:
    """One MoE layer: experts, experts a token, hidden size, width of an expert."""

    experts: int
    top_k: int
    hidden: int
    width: int


class Layer:
    """A layer's INT4 weights, drawn from a seed, repacked for Marlin."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape = shape
        generator = torch.Generator("cuda").manual_seed(seed)
        self.up, self.up_scale = self._stack(2 * shape.width, shape.hidden, generator)
        self.down, self.down_scale = self._stack(shape.hidden, shape.width, generator)

    def _stack(self, outputs: int, inputs: int, generator: torch.Generator) -> tuple[Any, Any]:
        packed, scales = [], []
        for _ in range(min(MATRICES, self.shape.experts)):
            weight = torch.randn(
                inputs, outputs, device="cuda", dtype=torch.bfloat16, generator=generator
            ) / (inputs**0.5)
            _, matrix, scale, *_ = marlin_quantize(weight, scalar_types.uint4b8, GROUP, act_order=False)
            packed.append(matrix)
            scales.append(scale)
        turn = torch.arange(self.shape.experts) % len(packed)
        return torch.stack(packed)[turn].contiguous(), torch.stack(scales)[turn].contiguous()

    def __call__(self, hidden: Any, weights: Any, experts: Any) -> Any:
        """The layer's output [tokens, hidden]."""
        return marlin_moe.fused_marlin_moe(
            hidden,
            self.up,
            self.down,
            None,
            None,
            self.up_scale,
            self.down_scale,
            weights,
            experts,
            quant_type_id=scalar_types.uint4b8.id,
            global_num_experts=self.shape.experts,
        )


def route(shape: Shape, tokens: int, generator: torch.Generator) -> tuple[Any, Any, Any]:
    """Hidden states [tokens, hidden], weights [tokens, top_k] and experts [tokens, top_k] of a random router."""
    hidden = torch.randn(tokens, shape.hidden, device="cuda", dtype=torch.bfloat16, generator=generator)
    logits = torch.randn(tokens, shape.experts, device="cuda", generator=generator)
    weights, experts = torch.topk(torch.softmax(logits, -1), shape.top_k, -1)
    return hidden, weights / weights.sum(-1, keepdim=True), experts.to(torch.int32)


def block_rows(tokens: int, shape: Shape) -> int:
    """Rows of a block for so many tokens, by vLLM's own rule."""
    for rows in BLOCKS:
        if tokens * shape.top_k / shape.experts / rows < 0.9:
            break
    return rows


def align_experts(shape: Shape, experts: Any) -> tuple[Any, Any, Any]:
    """Token order, expert of each block and padded count, as the layer asks for them."""
    found: tuple[Any, Any, Any] = marlin_moe.moe_align_block_size(
        experts,
        block_rows(len(experts), shape),
        shape.experts,
        None,
        ignore_invalid_experts=True,
    )
    return found


def token_order(shape: Shape, experts: Any, padded: int) -> Any:
    """The order of tokens alone, up to the padded count."""
    return align_experts(shape, experts)[0][:padded]


@contextmanager
def sorted_tokens() -> Iterator[None]:
    """With each expert's tokens in ascending order inside."""
    align = marlin_moe.moe_align_block_size

    def aligned(topk_ids: Any, block_size: int, *rest: Any, **named: Any) -> Any:
        ids, experts, padded = align(topk_ids, block_size, *rest, **named)
        return sort_tokens(ids, experts, padded, block_size), experts, padded

    marlin_moe.moe_align_block_size = aligned
    try:
        yield
    finally:
        marlin_moe.moe_align_block_size = align


def distinct(call: Callable[[], Any], calls: int) -> tuple[int, float]:
    """How many distinct results `calls` calls give, and the largest difference from the first."""
    seen, largest, first = set(), 0.0, None
    for _ in range(calls):
        result = call()
        first = result if first is None else first
        seen.add(hashlib.sha256(result.view(torch.uint8).cpu().numpy().tobytes()).hexdigest())
        largest = max(largest, float((result.float() - first.float()).abs().max()))
    return len(seen), largest


def probe(shapes: Sequence[Shape], tokens: Sequence[int], *, calls: int, seed: int) -> list[dict[str, float]]:
    """One row a shape and number of tokens: distinct results over `calls` calls, and how far they lie apart."""
    rows: list[dict[str, float]] = []
    for shape in shapes:
        layer = Layer(shape, seed)
        generator = torch.Generator("cuda").manual_seed(seed + 1)
        for count in tokens:
            hidden, weights, experts = route(shape, count, generator)
            rows_a_block = block_rows(count, shape)
            padded = int(align_experts(shape, experts)[2])
            load = torch.bincount(experts.flatten().long(), minlength=shape.experts)
            orders, _ = distinct(partial(token_order, shape, experts, padded), calls)
            results, apart = distinct(partial(layer, hidden, weights, experts), calls)
            with sorted_tokens():
                mended, left = distinct(partial(layer, hidden, weights, experts), calls)
            rows.append(
                {
                    **asdict(shape),
                    "tokens": count,
                    "pairs": count * shape.top_k,
                    "block_rows": rows_a_block,
                    "experts_over_a_block": int((load > rows_a_block).sum()),
                    "distinct_orders": orders,
                    "distinct_results": results,
                    "largest_difference": apart,
                    "distinct_results_sorted": mended,
                    "largest_difference_sorted": left,
                    "calls": calls,
                }
            )
    return rows
