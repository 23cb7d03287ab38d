"""The recipe random: a checkpoint of a given shape whose weights are drawn from a seed.

Kernels are chosen by shape, so a checkpoint of a real model's widths measures what its bits do without its download.
Each tensor has a generator of its own, keyed by the seed and its name: the bytes depend neither on the order in which
tensors are drawn nor on how many threads draw them. What is drawn, and why so: resources/random/README.md.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import ConfigError, DataError
from scripts.common.files import read_json, write_json, written_aside
from scripts.quants.checkpoint import (
    CHAT_FILES,
    CONFIG,
    HybridConfig,
    ModelConfig,
    read_config,
    read_hybrid_config,
)
from scripts.quants.manifest import make_manifest, write_manifest
from scripts.quants.safetensors_files import write_bf16
from scripts.records.manifest import WeightsSource
from scripts.records.models import Precision

AHEAD = 64  # tensors drawn before they are written, at most


@dataclass(frozen=True)
class Drawn:
    """One tensor to draw: its name, its shape, standard deviation and mean; `constant` in place of a draw."""

    name: str
    shape: tuple[int, ...]
    deviation: float = 0.0
    constant: float | None = None
    mean: float = 0.0

    @property
    def bytes(self) -> int:
        """Its size in bf16."""
        return 2 * math.prod(self.shape)


def plan_layers(config: ModelConfig, *, head_scale: float, attention_scale: float) -> list[list[Drawn]]:
    """What a checkpoint of the architecture `qwen3` or `qwen3_moe` holds: a list a layer, the rest last.

    ConfigError for another architecture.
    """
    if config.model_type not in ("qwen3", "qwen3_moe"):
        raise ConfigError(
            f"no random weights are drawn for {config.model_type!r}",
            where="config.json: model_type",
            remedy="qwen3, qwen3_moe, qwen3_5 or qwen3_5_moe",
        )
    hidden, head = config.hidden_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    layers = []
    for number in range(config.num_hidden_layers):
        at = f"model.layers.{number}."
        layer = [
            norm(f"{at}input_layernorm", hidden),
            norm(f"{at}post_attention_layernorm", hidden),
            matrix(f"{at}self_attn.q_proj", queries, hidden),
            matrix(f"{at}self_attn.k_proj", keys, hidden),
            matrix(f"{at}self_attn.v_proj", keys, hidden),
            matrix(f"{at}self_attn.o_proj", hidden, queries),
            norm(f"{at}self_attn.q_norm", head, attention_scale),
            norm(f"{at}self_attn.k_norm", head, attention_scale),
        ]
        if config.model_type == "qwen3":
            layer += feed_forward(f"{at}mlp.", hidden, config.intermediate_size)
        else:
            layer.append(matrix(f"{at}mlp.gate", config.num_experts, hidden))
            for expert in range(config.num_experts):
                layer += feed_forward(f"{at}mlp.experts.{expert}.", hidden, config.moe_intermediate_size)
        layers.append(layer)
    rest = [
        Drawn("model.embed_tokens.weight", (config.vocab_size, hidden), 1.0),
        norm("model.norm", hidden),
    ]
    if not config.tie_word_embeddings:
        rest.append(matrix("lm_head", config.vocab_size, hidden, head_scale))
    return [*layers, rest]


def matrix(name: str, outputs: int, inputs: int, scale: float = 1.0) -> Drawn:
    """A projection's weight: its variance is 1 / inputs, times the square of `scale`."""
    return Drawn(f"{name}.weight", (outputs, inputs), scale / np.sqrt(inputs))


def norm(name: str, width: int, value: float = 1.0) -> Drawn:
    """A norm's weight: the same value throughout."""
    return Drawn(f"{name}.weight", (width,), constant=value)


def feed_forward(at: str, hidden: int, width: int) -> list[Drawn]:
    """The three projections of a feed-forward network, or of an expert, whose names begin with `at`."""
    return [
        matrix(f"{at}gate_proj", width, hidden),
        matrix(f"{at}up_proj", width, hidden),
        matrix(f"{at}down_proj", hidden, width),
    ]


def plan_hybrid_layers(
    config: HybridConfig, *, head_scale: float, attention_scale: float
) -> list[list[Drawn]]:
    """What a checkpoint of Qwen3.5 holds, without vision tower and MTP layer: a list a layer, the rest last.

    Names and shapes are those that vLLM 0.25.1 loads. The norms multiply by 1 + weight, that of linear attention by its
    weight. A token's memory decays by 0.7 to nearly 1 at the next one, as A_log and dt_bias say.
    """
    hidden, head = config.hidden_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    heads = config.linear_num_value_heads
    linear_keys = config.linear_num_key_heads * config.linear_key_head_dim
    linear_values = heads * config.linear_value_head_dim
    convolved = 2 * linear_keys + linear_values
    layers = []
    for number, kind in enumerate(config.layer_types):
        at = f"model.language_model.layers.{number}."
        layer = [
            norm(f"{at}input_layernorm", hidden, 0.0),
            norm(f"{at}post_attention_layernorm", hidden, 0.0),
        ]
        if kind == "full_attention":
            layer += [
                matrix(f"{at}self_attn.q_proj", 2 * queries, hidden),  # a gate beside each query
                matrix(f"{at}self_attn.k_proj", keys, hidden),
                matrix(f"{at}self_attn.v_proj", keys, hidden),
                matrix(f"{at}self_attn.o_proj", hidden, queries),
                norm(f"{at}self_attn.q_norm", head, attention_scale - 1),
                norm(f"{at}self_attn.k_norm", head, attention_scale - 1),
            ]
        else:
            linear = f"{at}linear_attn."
            layer += [
                matrix(f"{linear}in_proj_qkv", convolved, hidden),
                matrix(f"{linear}in_proj_z", linear_values, hidden),
                matrix(f"{linear}in_proj_b", heads, hidden),
                matrix(f"{linear}in_proj_a", heads, hidden),
                Drawn(f"{linear}conv1d.weight", (convolved, 1, config.linear_conv_kernel_dim), 0.5),
                Drawn(f"{linear}dt_bias", (heads,), constant=-2.0),
                Drawn(f"{linear}A_log", (heads,), 1.0, mean=-1.6),
                norm(f"{linear}norm", config.linear_value_head_dim),
                matrix(f"{linear}out_proj", hidden, linear_values),
            ]
        layer += _hybrid_feed_forward(f"{at}mlp.", config)
        layers.append(layer)
    return [
        *layers,
        [
            Drawn("model.language_model.embed_tokens.weight", (config.vocab_size, hidden), 1.0),
            norm("model.language_model.norm", hidden, 0.0),
            matrix("lm_head", config.vocab_size, hidden, head_scale),
        ],
    ]


def _hybrid_feed_forward(at: str, config: HybridConfig) -> list[Drawn]:
    hidden, width, experts = config.hidden_size, config.moe_intermediate_size, config.num_experts
    if not experts:
        return feed_forward(at, hidden, config.intermediate_size)
    return [
        matrix(f"{at}gate", experts, hidden),
        matrix(f"{at}shared_expert_gate", 1, hidden),
        *feed_forward(f"{at}shared_expert.", hidden, config.shared_expert_intermediate_size),
        *(
            part
            for expert in range(experts)
            for part in feed_forward(f"{at}experts.{expert}.", hidden, width)
        ),
    ]


def draw(tensor: Drawn, seed: int) -> NDArray[np.uint16]:
    """The tensor's values as the bits of bf16, rounded to nearest, ties to even."""
    if tensor.constant is not None:
        values = np.full(tensor.shape, tensor.constant, dtype=np.float32)
    else:
        generator = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(tensor.name.encode())]))
        values = generator.standard_normal(tensor.shape, dtype=np.float32)
        values *= np.float32(tensor.deviation)
        if tensor.mean:
            values += np.float32(tensor.mean)
    return to_bf16(values)


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of each float32's bits, rounded to nearest, ties to even; values are finite."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_safetensors(path: Path, tensors: list[Drawn], seed: int) -> None:
    """Draw the tensors on all cores and write them to a safetensors file, a few at a time."""
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    write_bf16(path, shapes, (values.tobytes() for values in _in_order(tensors, seed)))


def _in_order(tensors: list[Drawn], seed: int) -> Iterator[NDArray[np.uint16]]:
    """Drawn tensors in their order; at most AHEAD of them are in memory."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: list[Future[NDArray[np.uint16]]] = []
        for tensor in tensors:
            waiting.append(pool.submit(draw, tensor, seed))
            if len(waiting) == AHEAD:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()


def extend_tokenizer(source: Path, target: Path, vocabulary: int) -> None:
    """Copy a tokenizer, with a name for every id up to `vocabulary` that it lacks: `w01792`.

    No merge makes them, so no text is ever encoded to one. DataError where it knows more ids than that.
    """
    tokenizer = read_json(source)
    known: dict[str, int] = tokenizer["model"]["vocab"]
    # An added token that the vocabulary lacks would be numbered anew, after the last name.
    known |= {each["content"]: each["id"] for each in tokenizer["added_tokens"]}
    first = 1 + max(known.values())
    if first > vocabulary:
        raise DataError(f"the tokenizer knows {first} ids, the model {vocabulary}", where=str(source))
    known |= {f"w{number:05d}": number for number in range(first, vocabulary)}
    target.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def build_random(model: str, precision: str, entry: Precision, output: Path, *, root: Path = Path()) -> None:
    """Draw the checkpoint of a precision's `entry` and write its manifest, `output`; whole or not at all."""
    assert entry.source is not None and entry.chat is not None and entry.seed is not None
    source, chat = root / entry.source, root / entry.chat
    scales = {"head_scale": entry.head_scale, "attention_scale": entry.attention_scale}
    hybrid = read_hybrid_config(source)
    config = hybrid or read_config(source)
    parts = plan_hybrid_layers(hybrid, **scales) if hybrid else plan_layers(read_config(source), **scales)
    with written_aside(output.parent) as aside:
        index: dict[str, str] = {}
        for number, tensors in enumerate(parts, start=1):
            name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
            write_safetensors(aside / name, tensors, entry.seed)
            index |= {tensor.name: name for tensor in tensors}
            print(f"{model}: {number} of {len(parts)} files drawn", file=sys.stderr, flush=True)
        total = sum(tensor.bytes for tensors in parts for tensor in tensors)
        write_json(
            aside / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index}
        )
        shutil.copyfile(source / CONFIG, aside / CONFIG)
        for name in CHAT_FILES[1:]:
            shutil.copyfile(chat / name, aside / name)
        extend_tokenizer(chat / CHAT_FILES[0], aside / CHAT_FILES[0], config.vocab_size)
        made_from = WeightsSource(
            recipe="random",
            source=entry.source,
            seed=entry.seed,
            head_scale=entry.head_scale,
            attention_scale=entry.attention_scale,
        )
        write_manifest(aside, make_manifest(aside, model=model, precision=precision, source=made_from))
