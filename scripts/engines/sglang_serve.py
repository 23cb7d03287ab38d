"""SGLang's server, and changes to its code that name a cause by removing it: for ablations, never for a baseline.

    python -m scripts.engines.sglang_serve --model-path … (SGLang's own flags)

The variable TEMPZERO_PATCH names one, and the log says so in a line of its own. SGLang starts its scheduler as a
process that loads this module again, so the patch is applied there too. Nothing but SGLang is imported, for it runs in
the server's environment.

`marlin-no-atomics`: Marlin adds the parts of a product in a fixed order. SGLang lets it add them with atomics, whose
order no one fixes: in every expert's product on this generation of GPUs, and elsewhere where a product has fewer than
2,048 outputs and at least 2,048 inputs (marlin_utils.should_use_atomic_add_reduce).

`marlin-sorted-tokens`: before Marlin's MoE product, the tokens of each expert are put in ascending order, as
vllm_patches.py does in vLLM.

`marlin-sorted-no-atomics`: both.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from typing import Any

from scripts.engines.vllm_patches import apply_patch, sort_tokens


def _no_atomics() -> None:
    from sglang.srt.layers.moe.fused_moe_triton import fused_marlin_moe
    from sglang.srt.layers.quantization import marlin_utils

    product = fused_marlin_moe.moe_wna16_marlin_gemm

    def in_order(*given: Any, **named: Any) -> Any:
        return product(*given, **{**named, "use_atomic_add": False})

    fused_marlin_moe.moe_wna16_marlin_gemm = in_order
    marlin_utils.should_use_atomic_add_reduce = _never


def _sorted_tokens() -> None:
    from sglang.srt.layers.moe import fused_moe_triton

    align = fused_moe_triton.moe_align_block_size

    def sorted_align(topk_ids: Any, block_size: int, *rest: Any, **named: Any) -> Any:
        ids, experts, padded = align(topk_ids, block_size, *rest, **named)
        return sort_tokens(ids, experts, padded, block_size), experts, padded

    fused_moe_triton.moe_align_block_size = sorted_align  # the product looks it up there at each call


def _both() -> None:
    _no_atomics()
    _sorted_tokens()


def _never(*_: Any, **__: Any) -> bool:
    return False


PATCHES: dict[str, Callable[[], None]] = {
    "marlin-no-atomics": _no_atomics,
    "marlin-sorted-tokens": _sorted_tokens,
    "marlin-sorted-no-atomics": _both,
}


def name_fused() -> None:
    """Say which projections SGLang's Qwen3 computes together, as its Qwen3-MoE says by itself.

    Without that, SGLang 0.5.15 does not find a fused layer among the names of a compressed-tensors checkpoint and does
    not start ("Unable to find matching target for model.layers.0.self_attn.qkv_proj"). No product changes.
    """
    try:
        from sglang.srt.models.qwen3 import Qwen3ForCausalLM
    except ImportError:  # a version that has it elsewhere
        return
    if not hasattr(Qwen3ForCausalLM, "packed_modules_mapping"):
        Qwen3ForCausalLM.packed_modules_mapping = {
            "qkv_proj": ["q_proj", "k_proj", "v_proj"],
            "gate_up_proj": ["gate_proj", "up_proj"],
        }


if __name__ in ("__main__", "__mp_main__"):  # the server, and the scheduler that it starts
    name_fused()
    apply_patch(PATCHES, "SGLang")
if __name__ == "__main__":
    runpy.run_module("sglang.launch_server", run_name="__main__")
