"""Small dense models with random weights, for the tests of the recipe reshape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.quants.checkpoint import ModelConfig
from scripts.records.base import convert

QWEN3: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": 90,
    "max_position_embeddings": 256,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "attention_bias": False,
}
LLAMA = {
    **QWEN3,
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 36,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "tie_word_embeddings": False,
}


def typed(config: dict[str, Any]) -> ModelConfig:
    """A config.json as it is read."""
    return convert(ModelConfig, config, "config.json")


def dense_tensors(config: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    """The tensors of a dense model of this shape, drawn from one seed; norms' weights are not one."""
    rng = np.random.default_rng(5)
    hidden, wide, size = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens": (config["vocab_size"], hidden),
        "model.norm": (hidden,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head"] = (config["vocab_size"], hidden)
    for number in range(config["num_hidden_layers"]):
        at = f"model.layers.{number}."
        shapes |= {f"{at}input_layernorm": (hidden,), f"{at}post_attention_layernorm": (hidden,)}
        shapes |= {f"{at}self_attn.q_proj": (queries, hidden), f"{at}self_attn.o_proj": (hidden, queries)}
        shapes |= {f"{at}self_attn.{name}_proj": (keys, hidden) for name in "kv"}
        shapes |= {f"{at}mlp.{name}_proj": (wide, hidden) for name in ("gate", "up")}
        shapes[f"{at}mlp.down_proj"] = (hidden, wide)
        if config["model_type"] == "qwen3":
            shapes |= {f"{at}self_attn.{name}_norm": (size,) for name in "qk"}
    made = {}
    for name, shape in shapes.items():
        drawn = rng.standard_normal(shape)
        made[f"{name}.weight"] = 1 + 0.3 * drawn if len(shape) == 1 else drawn / np.sqrt(shape[-1])
    return made
