"""What is read of a checkpoint beside its weights: config.json, and what a conversation needs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from scripts.common.errors import ConfigError
from scripts.common.files import read_json, write_json
from scripts.records.base import Record, convert

CONFIG = "config.json"
CHAT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
# Where a file holds one expert for all: config.json's key with their number, and a tensor that no loader knows.
ONE_EXPERT = "copies_of_expert_0"


class ModelConfig(Record, frozen=True, kw_only=True):
    """A checkpoint's config.json, as far as it is needed here; of a dense model the numbers of experts are 0."""

    architectures: list[str]
    model_type: str
    vocab_size: int
    max_position_embeddings: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rope_theta: float
    rms_norm_eps: float
    tie_word_embeddings: bool
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    norm_topk_prob: bool = False


def read_config(folder: Path) -> ModelConfig:
    """The config.json of the checkpoint in `folder`; DataError where it is missing or lacks what is needed."""
    return convert(ModelConfig, read_json(folder / CONFIG), str(folder / CONFIG))


class HybridConfig(Record, frozen=True, kw_only=True):
    """The text_config of a Qwen3.5 checkpoint, as far as it is needed: layers of linear attention among full ones.

    Of a dense model the numbers of experts are 0, of a Mixture of Experts the feed-forward's width is.
    """

    vocab_size: int
    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    layer_types: list[Literal["full_attention", "linear_attention"]]
    linear_conv_kernel_dim: int
    linear_key_head_dim: int
    linear_value_head_dim: int
    linear_num_key_heads: int
    linear_num_value_heads: int
    intermediate_size: int = 0
    num_experts: int = 0
    moe_intermediate_size: int = 0
    shared_expert_intermediate_size: int = 0
    mtp_num_hidden_layers: int = 0


def read_hybrid_config(folder: Path) -> HybridConfig | None:
    """The text_config of the Qwen3.5 checkpoint in `folder`; None of another architecture."""
    content = read_json(folder / CONFIG)
    if not str(content.get("model_type")).startswith("qwen3_5"):
        return None
    return convert(HybridConfig, content.get("text_config"), f"{folder / CONFIG}: text_config")


def copy_config(source: Path, target: Path, *, experts: int) -> None:
    """Copy the config.json of the checkpoint in `source` for one with so many experts; all its other keys stay."""
    write_json(target / CONFIG, {**read_json(source / CONFIG), "num_experts": experts})


def one_expert(folder: Path) -> int:
    """For how many experts the one in a checkpoint's file stands; 0 where all are there, or there is no config.json."""
    return int(read_json(folder / CONFIG).get(ONE_EXPERT, 0)) if (folder / CONFIG).is_file() else 0


def keep_layers(source: Path, target: Path, layers: int | None) -> None:
    """Copy the config.json of the shape in `source`, of its layers the first so many, all of them for None.

    ConfigError where it has fewer.
    """
    if layers is None:
        shutil.copyfile(source / CONFIG, target / CONFIG)
        return
    content = read_json(source / CONFIG)
    text = content.get("text_config", content)
    if layers > text["num_hidden_layers"]:
        raise ConfigError(
            f"{layers} layers are asked for, and the shape has {text['num_hidden_layers']}",
            where=str(source / CONFIG),
            remedy="give `layers` fewer in config/models.yaml",
        )
    text["num_hidden_layers"] = layers
    if "layer_types" in text:
        text["layer_types"] = text["layer_types"][:layers]
    write_json(target / CONFIG, content)
