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
from scripts.quants.checkpoint import CHAT_FILES, CONFIG, ModelConfig, read_config
from scripts.quants.manifest import make_manifest, write_manifest
from scripts.quants.safetensors_files import write_bf16
from scripts.records.manifest import WeightsSource
from scripts.records.models import Precision

AHEAD = 64  # tensors drawn before they are written, at most


@dataclass(frozen=True)
class Drawn:
    """One tensor to draw: its name, its shape, and the standard deviation; `constant` in place of a draw."""

    name: str
    shape: tuple[int, ...]
    deviation: float = 0.0
    constant: float | None = None

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
            remedy="qwen3 or qwen3_moe",
        )
    hidden, head = config.hidden_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    layers = []
    for number in range(config.num_hidden_layers):
        at = f"model.layers.{number}."
        layer = [
            _norm(f"{at}input_layernorm", hidden),
            _norm(f"{at}post_attention_layernorm", hidden),
            _matrix(f"{at}self_attn.q_proj", queries, hidden),
            _matrix(f"{at}self_attn.k_proj", keys, hidden),
            _matrix(f"{at}self_attn.v_proj", keys, hidden),
            _matrix(f"{at}self_attn.o_proj", hidden, queries),
            _norm(f"{at}self_attn.q_norm", head, attention_scale),
            _norm(f"{at}self_attn.k_norm", head, attention_scale),
        ]
        if config.model_type == "qwen3":
            layer += _feed_forward(f"{at}mlp.", hidden, config.intermediate_size)
        else:
            layer.append(_matrix(f"{at}mlp.gate", config.num_experts, hidden))
            for expert in range(config.num_experts):
                layer += _feed_forward(f"{at}mlp.experts.{expert}.", hidden, config.moe_intermediate_size)
        layers.append(layer)
    rest = [
        Drawn("model.embed_tokens.weight", (config.vocab_size, hidden), 1.0),
        _norm("model.norm", hidden),
    ]
    if not config.tie_word_embeddings:
        rest.append(_matrix("lm_head", config.vocab_size, hidden, head_scale))
    return [*layers, rest]


def _matrix(name: str, outputs: int, inputs: int, scale: float = 1.0) -> Drawn:
    return Drawn(f"{name}.weight", (outputs, inputs), scale / np.sqrt(inputs))


def _norm(name: str, width: int, value: float = 1.0) -> Drawn:
    return Drawn(f"{name}.weight", (width,), constant=value)


def _feed_forward(at: str, hidden: int, width: int) -> list[Drawn]:
    return [
        _matrix(f"{at}gate_proj", width, hidden),
        _matrix(f"{at}up_proj", width, hidden),
        _matrix(f"{at}down_proj", hidden, width),
    ]


def draw(tensor: Drawn, seed: int) -> NDArray[np.uint16]:
    """The tensor's values as the bits of bf16, rounded to nearest, ties to even."""
    if tensor.constant is not None:
        values = np.full(tensor.shape, tensor.constant, dtype=np.float32)
    else:
        generator = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(tensor.name.encode())]))
        values = generator.standard_normal(tensor.shape, dtype=np.float32)
        values *= np.float32(tensor.deviation)
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
    config = read_config(source)
    parts = plan_layers(config, head_scale=entry.head_scale, attention_scale=entry.attention_scale)
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
