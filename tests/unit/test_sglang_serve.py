"""The patches of SGLang by name, where SGLang is not installed."""

from __future__ import annotations

import pytest

from scripts.engines.sglang_serve import PATCHES
from scripts.engines.vllm_patches import VARIABLE, apply_patch


def test_nothing_is_patched_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    apply_patch(PATCHES, "SGLang")


def test_a_patch_of_another_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "int4-triton")
    with pytest.raises(ValueError, match="for SGLang there is marlin-no-atomics"):
        apply_patch(PATCHES, "SGLang")
