"""The patches of SGLang by name, and FlashInfer's tactics, where neither is installed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from scripts.engines.sglang_serve import PATCHES
from scripts.engines.vllm_patches import VARIABLE, apply_patch, fixed_finalize


def test_nothing_is_patched_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    apply_patch(PATCHES, "SGLang")


def test_a_patch_of_another_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "int4-triton")
    with pytest.raises(ValueError, match="for SGLang there is marlin-no-atomics"):
        apply_patch(PATCHES, "SGLang")


class Experts:
    """What FlashInfer's runner of its experts says: 12 tiles, four ways each, 9 tactics of Ampere."""

    fused_moe_runner: ClassVar[Any] = SimpleNamespace(
        get_gemm1_tactic_count=lambda: 2 * 12 + 9, get_gemm2_tactic_count=lambda: 4 * 12 + 9
    )


def test_the_finalize_is_fused_or_not_on_the_same_tile_and_nothing_else_is_fixed() -> None:
    def choose(_: Any, operation: str, runners: list[Any], *rest: Any, **named: Any) -> tuple[Any, int]:
        return runners[0], 7

    chosen = {
        (fused, name): fixed_finalize(choose, fused)(None, name, [Experts], {}, [], gemm_idx=1)[1]
        for fused in (True, False)
        for name in ("trtllm::fused_moe::gemm1", "trtllm::fused_moe::gemm2", "other")
    }
    assert chosen == {
        (True, "trtllm::fused_moe::gemm1"): -1,
        (True, "trtllm::fused_moe::gemm2"): 12,
        (True, "other"): 7,
        (False, "trtllm::fused_moe::gemm1"): -1,
        (False, "trtllm::fused_moe::gemm2"): -1,
        (False, "other"): 7,
    }
