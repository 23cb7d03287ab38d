"""The recipe random: a checkpoint of a given shape whose weights are drawn from a seed.

Kernels are chosen by shape, so a checkpoint of a real model's widths measures what its bits do without its download.
Each part of a tensor has a generator of its own, keyed by the seed, the tensor's name and the part's number: the bytes
depend neither on the order in which parts are drawn, nor on how many threads draw them, nor on the machine. What is
drawn, and why so: resources/random/README.md.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import ConfigError, DataError
from scripts.common.files import read_json, write_json, written_aside
from scripts.quants.checkpoint import (
    CHAT_FILES,
    HybridConfig,
    ModelConfig,
    keep_layers,
    read_config,
    read_hybrid_config,
)
from scripts.quants.manifest import make_manifest, write_manifest
from scripts.quants.safetensors_files import reserve_bf16
from scripts.records.manifest import WeightsSource
from scripts.records.models import Precision

WHOLE = 2**28  # a matrix of more values is drawn in parts
PART = 2**24  # the values of such a part, about


@dataclass(frozen=True)
class Scales:
    """What the deviations of some weights are multiplied by: see resources/random/README.md."""

    head: float = 1.0
    attention: float = 1.0
    residual: float = 1.0


@dataclass(frozen=True)
class Drawn:
    """One tensor to draw: its name, its shape, standard deviation and mean; `constant` in place of a draw.

    It is drawn in so many equal `parts` of its first axis. `diagonal` is added where row and column are the same.
    """

    name: str
    shape: tuple[int, ...]
    deviation: float = 0.0
    constant: float | None = None
    mean: float = 0.0
    parts: int = 1
    diagonal: float = 0.0

    @property
    def bytes(self) -> int:
        """Its size in bf16."""
        return 2 * math.prod(self.shape)


def plan_layers(config: ModelConfig, scales: Scales) -> list[list[Drawn]]:
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
            matrix(f"{at}self_attn.o_proj", hidden, queries, scales.residual),
            norm(f"{at}self_attn.q_norm", head, scales.attention),
            norm(f"{at}self_attn.k_norm", head, scales.attention),
        ]
        if config.model_type == "qwen3":
            layer += feed_forward(f"{at}mlp.", hidden, config.intermediate_size, scales)
        else:
            layer.append(matrix(f"{at}mlp.gate", config.num_experts, hidden))
            width = config.moe_intermediate_size
            for expert in range(config.num_experts):
                layer += feed_forward(f"{at}mlp.experts.{expert}.", hidden, width, scales)
        layers.append(layer)
    rest = [
        Drawn("model.embed_tokens.weight", (config.vocab_size, hidden), 1.0),
        norm("model.norm", hidden),
    ]
    if not config.tie_word_embeddings:
        rest.append(matrix("lm_head", config.vocab_size, hidden, scales.head))
    return [*layers, rest]


def matrix(name: str, outputs: int, inputs: int, scale: float = 1.0) -> Drawn:
    """A projection's weight: its variance is 1 / inputs, times the square of `scale`."""
    return Drawn(f"{name}.weight", (outputs, inputs), scale / np.sqrt(inputs), parts=split(outputs, inputs))


def split(rows: int, columns: int) -> int:
    """Into how many equal parts a matrix is divided by rows: one, unless it is large."""
    if rows * columns <= WHOLE:
        return 1
    return next(parts for parts in range(rows * columns // PART, rows + 1) if rows % parts == 0)


def norm(name: str, width: int, value: float = 1.0) -> Drawn:
    """A norm's weight: the same value throughout."""
    return Drawn(f"{name}.weight", (width,), constant=value)


def feed_forward(at: str, hidden: int, width: int, scales: Scales) -> list[Drawn]:
    """The three projections of a feed-forward network, or of an expert, whose names begin with `at`."""
    return [
        matrix(f"{at}gate_proj", width, hidden),
        matrix(f"{at}up_proj", width, hidden),
        matrix(f"{at}down_proj", hidden, width, scales.residual),
    ]


def plan_hybrid_layers(config: HybridConfig, scales: Scales) -> list[list[Drawn]]:
    """What a checkpoint of Qwen3.5 holds, without vision tower: a list a layer, those of MTP after them, the rest last.

    Names and shapes are those of the public checkpoints, which vLLM 0.25.1 loads: a layer's experts are two tensors of
    three axes. The norms multiply by 1 + weight, that of linear attention by its weight. A token's memory decays by 0.7
    to nearly 1 at the next one, as A_log and dt_bias say. What an MTP layer reads is mostly the last token.
    """
    hidden = config.hidden_size
    layers = [
        _hybrid_layer(f"model.language_model.layers.{number}.", kind, config, scales)
        for number, kind in enumerate(config.layer_types)
    ]
    for number in range(config.mtp_num_hidden_layers):
        layers.append(_hybrid_layer(f"mtp.layers.{number}.", "full_attention", config, scales))
    if config.mtp_num_hidden_layers:
        layers[-1] += [
            Drawn("mtp.fc.weight", (hidden, 2 * hidden), 0.2 / np.sqrt(hidden), diagonal=1.0),
            *(
                norm(f"mtp.{name}", hidden, 0.0)
                for name in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden")
            ),
        ]
    embedding = ("model.language_model.embed_tokens.weight", (config.vocab_size, hidden))
    return [
        *layers,
        [
            Drawn(*embedding, 1.0, parts=split(*embedding[1])),
            norm("model.language_model.norm", hidden, 0.0),
            matrix("lm_head", config.vocab_size, hidden, scales.head),
        ],
    ]


def _hybrid_layer(at: str, kind: str, config: HybridConfig, scales: Scales) -> list[Drawn]:
    hidden, head = config.hidden_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    heads = config.linear_num_value_heads
    linear_keys = config.linear_num_key_heads * config.linear_key_head_dim
    linear_values = heads * config.linear_value_head_dim
    convolved = 2 * linear_keys + linear_values
    layer = [
        norm(f"{at}input_layernorm", hidden, 0.0),
        norm(f"{at}post_attention_layernorm", hidden, 0.0),
    ]
    if kind == "full_attention":
        layer += [
            matrix(f"{at}self_attn.q_proj", 2 * queries, hidden),  # a gate beside each query
            matrix(f"{at}self_attn.k_proj", keys, hidden),
            matrix(f"{at}self_attn.v_proj", keys, hidden),
            matrix(f"{at}self_attn.o_proj", hidden, queries, scales.residual),
            norm(f"{at}self_attn.q_norm", head, scales.attention - 1),
            norm(f"{at}self_attn.k_norm", head, scales.attention - 1),
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
            matrix(f"{linear}out_proj", hidden, linear_values, scales.residual),
        ]
    return layer + _hybrid_feed_forward(f"{at}mlp.", config, scales)


def _hybrid_feed_forward(at: str, config: HybridConfig, scales: Scales) -> list[Drawn]:
    hidden, width, experts = config.hidden_size, config.moe_intermediate_size, config.num_experts
    if not experts:
        return feed_forward(at, hidden, config.intermediate_size, scales)
    both, down = (experts, 2 * width, hidden), (experts, hidden, width)
    return [
        matrix(f"{at}gate", experts, hidden),
        matrix(f"{at}shared_expert_gate", 1, hidden),
        *feed_forward(f"{at}shared_expert.", hidden, config.shared_expert_intermediate_size, scales),
        Drawn(f"{at}experts.gate_up_proj", both, 1 / np.sqrt(hidden), parts=experts),
        Drawn(f"{at}experts.down_proj", down, scales.residual / np.sqrt(width), parts=experts),
    ]


def draw(tensor: Drawn, seed: int, part: int = 0) -> NDArray[np.uint16]:
    """The values of a part of the tensor as the bits of bf16, rounded to nearest, ties to even."""
    shape = (tensor.shape[0] // tensor.parts, *tensor.shape[1:])
    if tensor.constant is not None:
        values = np.full(shape, tensor.constant, dtype=np.float32)
    else:
        key = [seed, zlib.crc32(tensor.name.encode())]
        generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, part]))
        values = generator.standard_normal(shape, dtype=np.float32)
        values *= np.float32(tensor.deviation)
        if tensor.mean:
            values += np.float32(tensor.mean)
        if tensor.diagonal:
            rows = np.arange(shape[0])
            values[rows, part * shape[0] + rows] += np.float32(tensor.diagonal)
    return to_bf16(values)


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of each float32's bits, rounded to nearest, ties to even; values are finite."""
    bits = values.view(np.uint32)
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    return rounded.astype(np.uint16)


def write_safetensors(files: dict[Path, list[Drawn]], seed: int) -> None:
    """Draw the tensors of each file on all cores and write each part to its place; a part a core is in memory."""
    threads = len(os.sched_getaffinity(0))
    with ExitStack() as stack, ThreadPoolExecutor(threads) as pool:
        jobs = []
        for file, tensors in files.items():
            places = reserve_bf16(file, {tensor.name: tensor.shape for tensor in tensors})
            stream = stack.enter_context(open(file, "r+b"))
            jobs += [
                pool.submit(_write_part, stream.fileno(), places[tensor.name].begin, tensor, seed, part)
                for tensor in tensors
                for part in range(tensor.parts)
            ]
        for job in as_completed(jobs):
            job.result()


def _write_part(stream: int, begin: int, tensor: Drawn, seed: int, part: int) -> None:
    data = memoryview(draw(tensor, seed, part).tobytes())
    place = begin + part * (tensor.bytes // tensor.parts)
    while data:
        written = os.pwrite(stream, data, place)
        data, place = data[written:], place + written


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
    scales = Scales(entry.head_scale, entry.attention_scale, entry.residual_scale)
    with written_aside(output.parent) as aside:
        keep_layers(source, aside, entry.layers)
        hybrid = read_hybrid_config(aside)
        config = hybrid or read_config(aside)
        parts = plan_hybrid_layers(hybrid, scales) if hybrid else plan_layers(read_config(aside), scales)
        names = [f"model-{number:05d}-of-{len(parts):05d}.safetensors" for number in range(1, len(parts) + 1)]
        write_safetensors(
            {aside / name: tensors for name, tensors in zip(names, parts, strict=True)}, entry.seed
        )
        index = {tensor.name: name for name, tensors in zip(names, parts, strict=True) for tensor in tensors}
        total = sum(tensor.bytes for tensors in parts for tensor in tensors)
        write_json(
            aside / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index}
        )
        for name in CHAT_FILES[1:]:
            shutil.copyfile(chat / name, aside / name)
        extend_tokenizer(chat / CHAT_FILES[0], aside / CHAT_FILES[0], config.vocab_size)
        made_from = WeightsSource(
            recipe="random",
            source=entry.source,
            seed=entry.seed,
            head_scale=entry.head_scale,
            attention_scale=entry.attention_scale,
            residual_scale=None if entry.residual_scale == 1 else entry.residual_scale,
            layers=entry.layers,
        )
        write_manifest(aside, make_manifest(aside, model=model, precision=precision, source=made_from))
