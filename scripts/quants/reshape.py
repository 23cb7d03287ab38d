"""The recipe reshape: a trained dense model's function in another shape, wider, and as a Mixture of Experts.

The residual stream of width d lies in one of width D as Q x, where the d columns of Q are orthonormal and drawn from
the seed: what reads the stream is multiplied by Qᵀ, what writes it by Q. RMSNorm's mean over D is d/D of that over d,
so its epsilon is multiplied by d/D, √(d/D) and its own weights go into what reads it, and it keeps weights of one.
Experts that all are the feed-forward network give its output whatever the router says, where their weights add to one.
More heads or a wider feed-forward network are copies, which share what each of them writes. In exact arithmetic all
are one function.

Everything is computed in float64 and rounded once, to bf16.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import ConfigError, DataError
from scripts.common.files import read_json, write_json
from scripts.quants.checkpoint import CONFIG, ONE_EXPERT, ModelConfig, read_config
from scripts.quants.dequantise import to_bf16
from scripts.quants.gguf_files import read_bf16, widen
from scripts.quants.safetensors_files import write_bf16
from scripts.records.models import Shape

Floats = NDArray[np.float64]
READERS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
_TENSOR = re.compile(r"model\.(?:layers\.\d+\.)?(.+)\.weight|lm_head\.weight")
_KNOWN: set[str | None] = {
    *READERS,
    "self_attn.o_proj",
    "mlp.down_proj",
    "embed_tokens",
    "norm",
    "input_layernorm",
}
_KNOWN |= {"post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm", None}


@dataclass(frozen=True)
class Mixture:
    """How an architecture names its experts: config.json's keys, the router, an expert's matrices by dense names."""

    config: Mapping[str, Any]
    experts_key: str
    router: str
    expert: str
    matrices: Mapping[str, str]


MIXTURES = {
    "qwen3": Mixture(
        config={
            "architectures": ["Qwen3MoeForCausalLM"],
            "model_type": "qwen3_moe",
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
            "output_router_logits": False,
        },
        experts_key="num_experts",
        router="mlp.gate",
        expert="mlp.experts.{}.",
        matrices={name: name for name in ("gate_proj", "up_proj", "down_proj")},
    ),
    "llama": Mixture(
        config={
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "sliding_window": None,
            "output_router_logits": False,
        },
        experts_key="num_local_experts",
        router="block_sparse_moe.gate",
        expert="block_sparse_moe.experts.{}.",
        matrices={"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"},
    ),
}


def read_dense(folder: Path) -> tuple[ModelConfig, dict[str, Any], dict[str, Floats]]:
    """The dense checkpoint in a folder: its config.json, typed and as it is, and its tensors in float64.

    ConfigError for an architecture other than Qwen3's and Llama's, DataError for a tensor that these do not have.
    """
    config = read_config(folder)
    if config.model_type not in MIXTURES:
        raise ConfigError(
            f"the recipe reshape knows {' and '.join(MIXTURES)}, not {config.model_type}",
            where=str(folder / CONFIG),
        )
    tensors: dict[str, Floats] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, bits in read_bf16(file).items():
            match = _TENSOR.fullmatch(name)
            if match is None or match[1] not in _KNOWN:
                raise DataError(f"the recipe reshape does not know the tensor {name}", where=str(file))
            tensors[name] = widen(bits).astype(np.float64)
    return config, read_json(folder / CONFIG), tensors


def shaped_config(config: ModelConfig, content: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """The config.json of the model in its new shape.

    ConfigError where something would become smaller, or heads would not be whole groups.
    """
    wide = shape.intermediate_size or config.intermediate_size
    groups = shape.key_value_heads or config.num_key_value_heads
    positions = shape.max_position_embeddings or config.max_position_embeddings
    for what, new, old in (
        ("hidden_size", shape.hidden_size, config.hidden_size),
        ("intermediate_size", wide, config.intermediate_size),
        ("key_value_heads", groups, config.num_key_value_heads),
        ("max_position_embeddings", positions, config.max_position_embeddings),
        ("experts", shape.experts or shape.top_k, shape.top_k),
    ):
        if new < old:
            raise ConfigError(
                f"{what} cannot be {new}: it is at least {old}", where="config/models.yaml: shape"
            )
    made = {
        **content,
        "hidden_size": shape.hidden_size,
        "intermediate_size": wide,
        "num_key_value_heads": groups,
        "num_attention_heads": groups * (config.num_attention_heads // config.num_key_value_heads),
        "head_dim": config.head_dim,
        "max_position_embeddings": positions,
        "rms_norm_eps": config.rms_norm_eps * config.hidden_size / shape.hidden_size,
        "tie_word_embeddings": False,
    }
    if shape.experts:
        mixture = MIXTURES[config.model_type]
        made |= {**mixture.config, mixture.experts_key: shape.experts, "num_experts_per_tok": shape.top_k}
        if mixture.experts_key == "num_experts":
            made["moe_intermediate_size"] = wide
        if shape.one_expert:
            made[ONE_EXPERT] = shape.experts
    return made


def reshaped(
    config: ModelConfig, tensors: Mapping[str, Floats], shape: Shape, seed: int
) -> Iterator[tuple[str, Floats]]:
    """The tensors of the model in its new shape, in float64, one after the other.

    Beside the first expert, where it alone is in the file, lies a tensor without use that no loader knows: one that is
    not told to hand the expert on then ends in place of computing with experts that it never loaded.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    old, new = config.hidden_size, shape.hidden_size
    turn: Floats = np.linalg.qr(rng.standard_normal((new, old)))[0]
    ones = np.ones(new)
    scale = math.sqrt(old / new)

    def into(weight: Floats, norm: Floats | float) -> Floats:
        return np.asarray((weight * norm) @ turn.T)

    embedding = tensors["model.embed_tokens.weight"]
    yield "model.embed_tokens.weight", into(embedding, 1.0)
    for number in range(config.num_hidden_layers):
        at = f"model.layers.{number}."

        def old_one(name: str, at: str = at) -> Floats:
            return tensors[f"{at}{name}.weight"]

        heads = _copied_heads(config, shape.key_value_heads or config.num_key_value_heads)
        norm = scale * old_one("input_layernorm")
        for name, rows in (("q_proj", heads.queries), ("k_proj", heads.keys), ("v_proj", heads.keys)):
            # Where queries and keys are normed too, it is with the same epsilon, and they are to be as much smaller.
            normed = scale if f"{at}self_attn.{name[0]}_norm.weight" in tensors else 1.0
            yield f"{at}self_attn.{name}.weight", into(old_one(f"self_attn.{name}")[rows], normed * norm)
        output = old_one("self_attn.o_proj")[:, heads.queries] / heads.shares
        yield f"{at}self_attn.o_proj.weight", turn @ output
        for name in ("self_attn.q_norm", "self_attn.k_norm"):
            if f"{at}{name}.weight" in tensors:
                yield f"{at}{name}.weight", old_one(name)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{at}{name}.weight", ones
        norm = scale * old_one("post_attention_layernorm")
        units = np.arange(shape.intermediate_size or config.intermediate_size) % config.intermediate_size
        gate, up = (into(old_one(f"mlp.{name}_proj")[units], norm) for name in ("gate", "up"))
        down = turn @ (old_one("mlp.down_proj")[:, units] / np.bincount(units)[units])
        # Their largest are made equal, which the down projection takes back: formats with one scale a matrix have one
        # for both, as kernels that compute them together take for granted.
        balance = np.abs(gate).max() / np.abs(up).max()
        network = {"gate_proj": gate, "up_proj": up * balance, "down_proj": down / balance}
        yield from _feed_forward(config, network, shape, at, rng)
    yield "model.norm.weight", ones
    yield (
        "lm_head.weight",
        into(tensors.get("lm_head.weight", embedding), scale * tensors["model.norm.weight"]),
    )
    if shape.one_expert:
        yield ONE_EXPERT, np.array([float(shape.experts)])


def _feed_forward(
    config: ModelConfig, network: Mapping[str, Floats], shape: Shape, at: str, rng: np.random.Generator
) -> Iterator[tuple[str, Floats]]:
    """A layer's feed-forward network, or its router and experts."""
    if not shape.experts:
        for name, weight in network.items():
            yield f"{at}mlp.{name}.weight", weight
        return
    mixture = MIXTURES[config.model_type]
    # What the router reads has a mean square of one: its logits have a deviation of one.
    router = rng.standard_normal((shape.experts, shape.hidden_size)) / math.sqrt(shape.hidden_size)
    yield f"{at}{mixture.router}.weight", router
    for expert in range(1 if shape.one_expert else shape.experts):
        for name, weight in network.items():
            noise = shape.spread * rng.standard_normal(weight.shape) if shape.spread else 0.0
            path = f"{mixture.expert.format(expert)}{mixture.matrices[name]}"
            yield f"{at}{path}.weight", np.asarray(weight * (1 + noise))


@dataclass(frozen=True)
class _Heads:
    """Which row of the old projections each new one is, and among how many copies a query head's output is shared."""

    queries: NDArray[np.int64]
    keys: NDArray[np.int64]
    shares: Floats


def _copied_heads(config: ModelConfig, groups: int) -> _Heads:
    """Groups of query heads around one key and value head, copied round and round up to so many."""
    size, together = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    sources = np.arange(groups) % config.num_key_value_heads
    keys = (sources[:, None] * size + np.arange(size)).ravel()
    queries = (sources[:, None] * together * size + np.arange(together * size)).ravel()
    shares = np.repeat(np.bincount(sources)[sources], together * size).astype(np.float64)
    return _Heads(queries, keys, shares)


def reshape(source: Path, folder: Path, shape: Shape, seed: int) -> None:
    """Write config.json and model.safetensors of the dense checkpoint in `source`, in its new shape, into `folder`.

    ConfigError and DataError as read_dense and shaped_config.
    """
    config, content, tensors = read_dense(source)
    write_json(folder / CONFIG, shaped_config(config, content, shape))
    made = {name: to_bf16(each.astype(np.float32)) for name, each in reshaped(config, tensors, shape, seed)}
    shapes = {name: bits.shape for name, bits in made.items()}
    write_bf16(folder / "model.safetensors", shapes, (bits.tobytes() for bits in made.values()))
