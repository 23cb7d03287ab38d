"""The recipe reap: experts of a Mixture-of-Experts checkpoint pruned by router-weighted expert activation.

Of each layer those experts go whose saliency is least: the mean, over the tokens that are routed to the expert, of its
gate's weight times the L2 norm of its output. Gates are the router's softmax, divided by their sum over a token's
chosen experts where the model divides so itself (`norm_topk_prob`). Source: Lasby et al., REAP the Experts: Why Pruning
Prevails for One-Shot MoE Compression, arXiv 2510.13999, and its code (CerebrasResearch/reap).

The forward pass is Qwen3-MoE's in float32 numpy, one layer and sequence at a time; a test holds it against llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from scripts.common.errors import ConfigError, DataError
from scripts.quants.checkpoint import CONFIG, ModelConfig, copy_config, read_config
from scripts.quants.gguf_files import EXPERT, read_bf16, widen
from scripts.quants.safetensors_files import write_bf16

Floats = NDArray[np.float32]
ARCHITECTURE = "Qwen3MoeForCausalLM"
ROUTER = "model.layers.{}.mlp.gate.weight"


@dataclass
class Routed:
    """What one layer's router and experts did: tokens routed to each expert, and the sum of its saliencies."""

    tokens: NDArray[np.int64]
    sums: NDArray[np.float64]

    @property
    def saliency(self) -> NDArray[np.float64]:
        """The mean over the routed tokens; 0 for an expert that was routed none."""
        return np.divide(self.sums, self.tokens, out=np.zeros_like(self.sums), where=self.tokens > 0)


@dataclass
class Checkpoint:
    """A Qwen3-MoE checkpoint in bf16: its config.json, and its tensors as raw bits."""

    config: ModelConfig
    bits: dict[str, NDArray[np.uint16]]
    _wide: dict[str, Floats] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> Floats:
        """A tensor, widened to float32 once."""
        if name not in self._wide:
            self._wide[name] = widen(self.bits[name])
        return self._wide[name]


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder (config.json, model.safetensors); ConfigError where no layer of it has experts."""
    config = read_config(folder)
    if config.architectures != [ARCHITECTURE]:
        raise ConfigError(
            f"the recipe reap prunes {ARCHITECTURE}, not {', '.join(config.architectures)}",
            where=str(folder / CONFIG),
        )
    return Checkpoint(config, read_bf16(folder / "model.safetensors"))


def saliencies(checkpoint: Checkpoint, sequences: Sequence[Sequence[int]]) -> list[Routed]:
    """The saliency of each expert of each layer over all tokens of the sequences."""
    experts = checkpoint.config.num_experts
    found = [
        Routed(np.zeros(experts, dtype=np.int64), np.zeros(experts))
        for _ in range(checkpoint.config.num_hidden_layers)
    ]
    for ids in sequences:
        for _ in _layers(checkpoint, ids, found):
            pass
    return found


def logits(checkpoint: Checkpoint, ids: Sequence[int]) -> Floats:
    """The logits at every position, [ids, vocabulary]."""
    normed = _rms_norm(
        list(_layers(checkpoint, ids, None))[-1], checkpoint["model.norm.weight"], checkpoint.config
    )
    head = "model.embed_tokens.weight" if checkpoint.config.tie_word_embeddings else "lm_head.weight"
    return np.asarray(normed @ checkpoint[head].T)


def kept_experts(saliency: Sequence[NDArray[np.float64]], share: float, active: int) -> list[list[int]]:
    """The experts that stay in each layer, ascending, once the nearest whole number to `share` of them has gone.

    Of equals the one with the lower number goes first. ConfigError where nothing would go, or where fewer stay than a
    token is routed to (`active`): such a model cannot be run.
    """
    experts = len(saliency[0])
    gone = int(share * experts + 0.5)
    if gone < 1 or experts - gone < active:
        raise ConfigError(
            f"{share:.0%} of {experts} experts are {gone}: {experts - gone} stay, and a token is routed to {active}",
            where="config/models.yaml: share",
            remedy=f"prune at least {0.5 / experts:.0%} and less than {(experts - active + 0.5) / experts:.0%}",
        )
    return [sorted(np.argsort(layer, kind="stable")[gone:].tolist()) for layer in saliency]


def prune(checkpoint: Checkpoint, kept: Sequence[Sequence[int]]) -> Checkpoint:
    """The checkpoint with these experts of each layer alone, numbered anew, and the router's rows that lead to them."""
    places = [{expert: place for place, expert in enumerate(layer)} for layer in kept]
    bits: dict[str, NDArray[np.uint16]] = {}
    for name, value in checkpoint.bits.items():
        if match := EXPERT.fullmatch(name):
            layer, expert = int(name.split(".")[2]), int(match[2])
            if expert in places[layer]:
                bits[f"{match[1]}.{places[layer][expert]}.{match[3]}.weight"] = value
        else:
            bits[name] = value
    for layer, experts in enumerate(kept):
        name = ROUTER.format(layer)
        bits[name] = np.ascontiguousarray(bits[name][list(experts)])
    return Checkpoint(replace(checkpoint.config, num_experts=len(kept[0])), bits)


def write_checkpoint(checkpoint: Checkpoint, source: Path, folder: Path) -> None:
    """Write config.json, as that of the checkpoint `source` that this was pruned from, and model.safetensors.

    The same tensors give the same bytes.
    """
    copy_config(source, folder, experts=checkpoint.config.num_experts)
    bits = dict(sorted(checkpoint.bits.items()))
    shapes = {name: value.shape for name, value in bits.items()}
    write_bf16(folder / "model.safetensors", shapes, (value.tobytes() for value in bits.values()))


def _layers(checkpoint: Checkpoint, ids: Sequence[int], found: list[Routed] | None) -> Iterator[Floats]:
    """The hidden states after each layer, [ids, width]; what the routers did is added to `found`."""
    config = checkpoint.config
    if max(ids) >= config.vocab_size:
        raise DataError(f"the id {max(ids)} is none of the model's {config.vocab_size}")
    x = checkpoint["model.embed_tokens.weight"][list(ids)]
    half = config.head_dim // 2
    steps = np.arange(half, dtype=np.float64) * 2 / config.head_dim
    angles = np.outer(np.arange(len(ids)), config.rope_theta**-steps)
    cos, sin = (np.asarray(turn(angles), dtype=np.float32) for turn in (np.cos, np.sin))
    for number in range(config.num_hidden_layers):
        at = f"model.layers.{number}"
        normed = _rms_norm(x, checkpoint[f"{at}.input_layernorm.weight"], config)
        x = x + _attention(checkpoint, at, normed, cos, sin)
        normed = _rms_norm(x, checkpoint[f"{at}.post_attention_layernorm.weight"], config)
        x = x + _mixture(checkpoint, at, normed, None if found is None else found[number])
        yield x


def _rms_norm(x: Floats, weight: Floats, config: ModelConfig) -> Floats:
    spread = np.sqrt(
        np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32) + np.float32(config.rms_norm_eps)
    )
    return np.asarray(x / spread * weight)


def _attention(checkpoint: Checkpoint, at: str, x: Floats, cos: Floats, sin: Floats) -> Floats:
    config = checkpoint.config
    heads, shared, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim

    def projected(name: str, count: int) -> Floats:
        return (x @ checkpoint[f"{at}.self_attn.{name}_proj.weight"].T).reshape(len(x), count, size)

    def turned(y: Floats, name: str) -> Floats:
        y = _rms_norm(y, checkpoint[f"{at}.self_attn.{name}_norm.weight"], config)
        first, second = y[..., : size // 2], y[..., size // 2 :]
        c, s = cos[:, None], sin[:, None]
        return np.concatenate((first * c - second * s, second * c + first * s), axis=-1)

    q, k, v = turned(projected("q", heads), "q"), turned(projected("k", shared), "k"), projected("v", shared)
    hidden = np.triu(np.full((len(x), len(x)), -np.inf, dtype=np.float32), 1)
    made = np.empty((len(x), heads, size), dtype=np.float32)
    for head in range(heads):
        group = head // (heads // shared)
        weights = q[:, head] @ k[:, group].T / np.float32(np.sqrt(size)) + hidden
        made[:, head] = _softmax(weights) @ v[:, group]
    return np.asarray(made.reshape(len(x), -1) @ checkpoint[f"{at}.self_attn.o_proj.weight"].T)


def _mixture(checkpoint: Checkpoint, at: str, x: Floats, routed: Routed | None) -> Floats:
    config = checkpoint.config
    shares = _softmax(x @ checkpoint[f"{at}.mlp.gate.weight"].T)
    chosen = np.argsort(-shares, axis=-1, kind="stable")[:, : config.num_experts_per_tok]
    gates = np.take_along_axis(shares, chosen, axis=-1)
    if config.norm_topk_prob:
        gates = gates / gates.sum(axis=-1, keepdims=True)
    made = np.zeros_like(x)
    for expert in range(config.num_experts):
        rows, place = np.nonzero(chosen == expert)
        if not len(rows):
            continue
        name = f"{at}.mlp.experts.{expert}"
        gate = x[rows] @ checkpoint[f"{name}.gate_proj.weight"].T
        up = x[rows] @ checkpoint[f"{name}.up_proj.weight"].T
        y = (gate / (1 + np.exp(-gate)) * up) @ checkpoint[f"{name}.down_proj.weight"].T
        weights = gates[rows, place]
        made[rows] += y * weights[:, None]
        if routed is not None:
            routed.tokens[expert] += len(rows)
            routed.sums[expert] += float(np.sum(weights * np.linalg.norm(y, axis=-1), dtype=np.float64))
    return made


def _softmax(x: Floats) -> Floats:
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
