"""Pruning by router-weighted expert activation: the criterion by hand, what goes, what stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from scripts.common.errors import ConfigError
from scripts.quants.checkpoint import ModelConfig
from scripts.quants.gguf_files import read_bf16
from scripts.quants.prune import calibration
from scripts.quants.random_weights import to_bf16
from scripts.quants.reap import (
    Checkpoint,
    kept_experts,
    logits,
    prune,
    read_checkpoint,
    saliencies,
    write_checkpoint,
)
from scripts.records.base import convert
from scripts.records.models import Calibration

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "head_dim": 2,
    "hidden_size": 2,
    "hidden_act": "silu",
    "intermediate_size": 4,
    "max_position_embeddings": 64,
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 2,
    "norm_topk_prob": True,
    "num_attention_heads": 1,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 1,
    "num_key_value_heads": 1,
    "rms_norm_eps": 0.0,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "vocab_size": 2,
}


def checkpoint() -> Checkpoint:
    """One layer of four experts over two ids, whose attention adds nothing; all numbers are exact in bf16."""
    at = "model.layers.0"
    eye, zero = np.eye(2), np.zeros((2, 2))
    tensors: dict[str, Any] = {
        "model.embed_tokens.weight": eye,
        "model.norm.weight": np.ones(2),
        f"{at}.input_layernorm.weight": np.ones(2),
        f"{at}.post_attention_layernorm.weight": np.full(2, 0.5),
        **{f"{at}.self_attn.{name}_proj.weight": eye for name in "qk"},
        f"{at}.self_attn.v_proj.weight": zero,
        f"{at}.self_attn.o_proj.weight": eye,
        **{f"{at}.self_attn.{name}_norm.weight": np.ones(2) for name in "qk"},
        # Id 0 goes to experts 0 and 1, id 1 to experts 2 and 1.
        f"{at}.mlp.gate.weight": np.array([[8, -8], [6, 6], [-8, 8], [-16, -16]]),
    }
    for expert, size in enumerate((1, 2, 4, 8)):
        tensors[f"{at}.mlp.experts.{expert}.gate_proj.weight"] = eye
        tensors[f"{at}.mlp.experts.{expert}.up_proj.weight"] = eye
        tensors[f"{at}.mlp.experts.{expert}.down_proj.weight"] = size * eye
    bits = {name: to_bf16(np.asarray(v, dtype=np.float32)) for name, v in tensors.items()}
    return Checkpoint(convert(ModelConfig, CONFIG, "config.json"), bits)


def test_the_criterion_by_hand() -> None:
    (routed,) = saliencies(checkpoint(), [[0, 1, 0], [0]])
    assert routed.tokens.tolist() == [3, 4, 1, 0]
    # A normed one-hot input is √2 · 0.5 on its axis: x = 0.7071; an expert gives silu(x) · x times its size.
    x = np.sqrt(2) / 2
    norm = x / (1 + np.exp(-x)) * x
    # Of its two experts' logits 8x and 6x a token gives the first 1 / (1 + e^(-2x)).
    first = 1 / (1 + np.exp(-2 * x))
    wanted = [first * norm, (1 - first) * norm * 2, first * norm * 4, 0]
    assert routed.saliency == pytest.approx(wanted, rel=1e-5)


def test_gates_are_the_softmax_s_own_where_the_model_does_not_divide_them() -> None:
    plain = checkpoint()
    plain.config = replace(plain.config, norm_topk_prob=False)
    (routed,) = saliencies(plain, [[0]])
    x = np.sqrt(2) / 2
    shares = np.exp(np.array([8, 6, -8, -16]) * x)
    assert routed.saliency[0] == pytest.approx(shares[0] / shares.sum() * x / (1 + np.exp(-x)) * x, rel=1e-5)


def test_the_least_go_and_of_equals_the_first() -> None:
    layers = [np.array([3.0, 1.0, 2.0, 4.0]), np.array([1.0, 1.0, 1.0, 5.0])]
    assert kept_experts(layers, 0.5, 2) == [[0, 3], [2, 3]]
    assert kept_experts(layers, 0.35, 2) == [[0, 2, 3], [1, 2, 3]]
    assert len(kept_experts([np.arange(8.0)], 0.35, 2)[0]) == 5
    assert len(kept_experts([np.arange(512.0)], 0.35, 10)[0]) == 333


@pytest.mark.parametrize("share", [0.75, 0.9, 0.05])
def test_a_share_that_leaves_too_few_or_all_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"a token is routed to 2\n.*prune at least 12% and less than 62%"):
        kept_experts([np.arange(4.0)], share, 2)


def test_what_stays_keeps_its_bits(tmp_path: Path) -> None:
    whole = checkpoint()
    pruned = prune(whole, [[1, 3]])
    source, made = tmp_path / "source", tmp_path / "made"
    for folder in (source, made):
        folder.mkdir()
    (source / "config.json").write_text(json.dumps(CONFIG))
    write_checkpoint(pruned, source, made)
    again = read_checkpoint(made)
    assert json.loads((made / "config.json").read_text()) == {**CONFIG, "num_experts": 2}
    assert again.config == replace(whole.config, num_experts=2)
    at = "model.layers.0.mlp"
    for place, expert in enumerate((1, 3)):
        for name in ("gate_proj", "up_proj", "down_proj"):
            mine = again.bits[f"{at}.experts.{place}.{name}.weight"]
            assert np.array_equal(mine, whole.bits[f"{at}.experts.{expert}.{name}.weight"])
    assert np.array_equal(again.bits[f"{at}.gate.weight"], whole.bits[f"{at}.gate.weight"][[1, 3]])
    assert len(again.bits) == len(whole.bits) - 6
    first = (made / "model.safetensors").read_bytes()
    write_checkpoint(pruned, source, made)
    assert (made / "model.safetensors").read_bytes() == first


def test_pruning_what_no_token_is_routed_to_changes_nothing() -> None:
    whole = checkpoint()
    assert np.array_equal(logits(prune(whole, [[0, 1, 2]]), [0, 1, 0]), logits(whole, [0, 1, 0]))


def test_a_dense_checkpoint_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="prunes Qwen3MoeForCausalLM, not Qwen3ForCausalLM"):
        read_checkpoint(root / "resources/tinychart/dense")


def test_calibration_never_sees_a_benchmark_s_charts(root: Path) -> None:
    with pytest.raises(ConfigError, match="the workloads' own"):
        calibration(root / "resources/tinychart", Calibration(first_seed=5001, charts=1))
    (ids,) = calibration(root / "resources/tinychart", Calibration(first_seed=3_000_000, charts=1))
    assert len(ids) > 500
    assert read_bf16(root / "resources/tinychart/moe/model.safetensors")["model.norm.weight"].shape == (256,)
