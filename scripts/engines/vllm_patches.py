"""Inside a vLLM server: changes to its code that name a cause by removing it. For ablations, never for a baseline.

The variable TEMPZERO_PATCH names one; vllm_force.py, which the server loads, applies it before any layer runs, and the
log says so in a line of its own. Nothing but vLLM and torch is imported, for it runs in the server's environment.

`marlin-sorted-tokens`: before Marlin's MoE product, the tokens of each expert are put in ascending order. vLLM's
moe_align_block_size ranks them by an atomic counter from 1,024 (token, expert) pairs on, and with more than 64 experts
always, so their order differs from call to call; Marlin splits a product's inner dimension over multiprocessors in
stripes that depend on where a row lies, and adds the parts in another order for a row that has moved to another block.

`int4-triton`: compressed-tensors' 4-bit experts are computed as vLLM does where Marlin does not fit: by Triton's
kernel, and by moe_wna16_gemm where there are at most six (token, expert) pairs an expert, as in decode. The weights
stay as they are, so a difference that comes or goes with it is the kernel's and not the precision's.

`gdn-warps-4`, `gdn-warps-8`: of the kernel that inverts a 64 × 64 triangle in the prefill of Gated DeltaNet, Triton's
auto-tuner tries the configurations with so many warps alone. Its result depends on their number, and which is fastest
is measured anew at each start with an empty cache. `gdn-warps-lottery`: each process takes one of the two by chance.

`finalize-fused`, `finalize-unfused`: FlashInfer's CUTLASS experts (0.6.13) leave the sum over a token's experts to the
second product's epilogue, which adds with atomics, or to a kernel after it that adds in a fixed order. Which one is a
part of a tactic, chosen by time at each start; without tuning it is the first tactic, which does not fuse. Here nothing
is tuned: the first product takes its first tactic, the second the first that fuses, or does not, on the same tile.

`float32-logits`: the last product, from the hidden state to the logits, is computed and kept in float32. vLLM keeps
logits in the model's own format: in bf16 two that differ by less than their step are one number, an exact tie.

`one-expert` is named by no variable but by a checkpoint: the recipe reshape writes one expert into a file where all are
equal, and the weights' reader hands it on under the name of each. Without it vLLM refuses the file, which has a tensor
that no model knows.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

VARIABLE = "TEMPZERO_PATCH"
APPLIED = "tempzero patched:"
ONE_EXPERT = "copies_of_expert_0"  # as scripts/quants/checkpoint.py has it
FIRST_EXPERT = ".experts.0."


def _marlin_sorted_tokens() -> None:
    from vllm.model_executor.layers.fused_moe.experts import marlin_moe

    align = marlin_moe.moe_align_block_size

    def sorted_align(topk_ids: Any, block_size: int, *rest: Any, **named: Any) -> Any:
        ids, experts, padded = align(topk_ids, block_size, *rest, **named)
        return sort_tokens(ids, experts, padded, block_size), experts, padded

    marlin_moe.moe_align_block_size = sorted_align


def _int4_triton() -> None:
    from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors_moe import (
        compressed_tensors_moe,
    )

    compressed_tensors_moe.check_moe_marlin_supports_layer = _never


def _gdn_warps(*choices: int) -> None:
    places = (
        "vllm.model_executor.layers.fla",
        "vllm.third_party.flash_linear_attention",
    )  # up to 0.25.1, 0.32.0
    home = next(place for place in places if importlib.util.find_spec(place))
    module = importlib.import_module(f"{home}.ops.solve_tril")
    keep_warps(module.merge_16x16_to_64x64_inverse_kernel, secrets.choice(choices))


def _float32_logits() -> None:
    import torch
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

    def apply(_: Any, layer: Any, states: Any, bias: Any = None) -> Any:
        if not hasattr(layer, "float32_weight"):
            layer.float32_weight = layer.weight.data.float()
        return torch.nn.functional.linear(states.float(), layer.float32_weight, bias)

    UnquantizedEmbeddingMethod.apply = apply


def keep_warps(kernel: Any, warps: int) -> None:
    """Leave the auto-tuner of a Triton kernel the configurations with so many warps; ValueError without any."""
    while not hasattr(kernel, "configs"):
        kernel = kernel.fn  # heuristics are wrapped around it
    kept = [config for config in kernel.configs if config.num_warps == warps]
    if not kept:
        raise ValueError(f"{kernel.base_fn.__name__} has no configuration with {warps} warps")
    kernel.configs = kept


def _finalize(fused: bool) -> None:
    from flashinfer.autotuner import AutoTuner

    AutoTuner.choose_one = fixed_finalize(AutoTuner.choose_one, fused)


def fixed_finalize(choose: Callable[..., tuple[Any, int]], fused: bool) -> Callable[..., tuple[Any, int]]:
    """FlashInfer's choice of a tactic, but for the two products of its experts, whose tactic is given.

    The second product's tactics on Hopper: N that do not fuse, the same N fused, both again with operands swapped, then
    those of Ampere; the first product's are the same without the fused ones. -1 is the first.
    """

    def choose_one(self: Any, operation: str, runners: Any, *rest: Any, **named: Any) -> tuple[Any, int]:
        if not operation.startswith("trtllm::fused_moe::gemm"):
            return choose(self, operation, runners, *rest, **named)
        module = runners[0].fused_moe_runner
        plain = (module.get_gemm2_tactic_count() - module.get_gemm1_tactic_count()) // 2
        if plain < 1:
            raise ValueError("this FlashInfer has no fused finalize for this card, or names it otherwise")
        return runners[0], plain if fused and operation.endswith("gemm2") else -1

    return choose_one


def _never(*_: Any, **__: Any) -> bool:
    return False


def sort_tokens(ids: Any, experts: Any, padded: Any, block_size: int) -> Any:
    """`ids` [positions], ascending inside the blocks of each expert; what lies at or after `padded` stays in place.

    `experts` [blocks]: the expert of each block of `block_size` positions, the blocks of one side by side. Padding is
    larger than any id, and so stays at an expert's end. No value is read on the host: it may run in a CUDA graph.
    """
    import torch

    place = torch.arange(ids.numel(), device=ids.device)
    changed = torch.ones_like(experts)
    changed[1:] = (experts[1:] != experts[:-1]).to(changed.dtype)
    run = torch.cumsum(changed, 0)[place // block_size].to(torch.int64)
    inside = place < padded
    largest = 1 + ids.numel() * (block_size + 1)
    key = torch.where(inside, run * largest + ids.to(torch.int64), (run.numel() + 1) * largest + place)
    return ids[torch.argsort(key, stable=True)]


PATCHES: dict[str, Callable[[], None]] = {
    "float32-logits": _float32_logits,
    "marlin-sorted-tokens": _marlin_sorted_tokens,
    "int4-triton": _int4_triton,
    "gdn-warps-4": partial(_gdn_warps, 4),
    "gdn-warps-8": partial(_gdn_warps, 8),
    "gdn-warps-lottery": partial(_gdn_warps, 4, 8),
    "finalize-fused": partial(_finalize, True),
    "finalize-unfused": partial(_finalize, False),
}


def hand_on_expert(hf_config: Any) -> None:
    """Have vLLM read a checkpoint's one expert as all that its config.json says it stands for, if it says so.

    To be called in each process that loads weights, before it does.
    """
    experts = getattr(hf_config, ONE_EXPERT, 0)
    if not experts:
        return
    from vllm.model_executor.model_loader import default_loader

    default_loader.safetensors_weights_iterator = partial(
        handed_on, default_loader.safetensors_weights_iterator, experts
    )
    print(APPLIED, "one-expert", flush=True)


def handed_on(read: Callable[..., Iterator[tuple[str, Any]]], experts: int, *rest: Any, **named: Any) -> Any:
    """What `read` gives, name and tensor, the first expert's under the name of each, and without the mark."""
    import torch

    for name, tensor in read(*rest, **named):
        if name == ONE_EXPERT:
            continue
        if FIRST_EXPERT not in name:
            yield name, tensor
            continue
        if torch.cuda.is_available():
            tensor = tensor.cuda()  # once, in place of once an expert
        for number in range(experts):
            yield name.replace(FIRST_EXPERT, f".experts.{number}."), tensor


def apply_patch(patches: Mapping[str, Callable[[], None]] = PATCHES, engine: str = "vLLM") -> None:
    """Apply the patch that the environment names, if any; ValueError for one that `engine` does not have."""
    name = os.environ.get(VARIABLE)
    if not name:
        return
    if name not in patches:
        raise ValueError(f"{VARIABLE} names {name!r}: for {engine} there is {', '.join(sorted(patches))}")
    patches[name]()
    print(f"{APPLIED} {name}\n", end="", flush=True)  # in one piece, since all ranks write one log
