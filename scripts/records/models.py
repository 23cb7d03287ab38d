"""The entries of config/models.yaml: models, and how the weights of each precision are pulled or built."""

from __future__ import annotations

from typing import Literal

import msgspec

from scripts.records.base import Record
from scripts.records.settings import Architecture

Recipe = Literal["dequantise", "gguf-bf16", "llama-quantize", "model-free-ptq", "package", "random", "reap"]


class Calibration(Record, frozen=True, kw_only=True):
    """The charts whose episodes the experts' saliency is taken from."""

    first_seed: int
    """The first chart's seed."""
    charts: int
    """How many charts, of seeds one after the other."""


class TokenizerSource(Record, frozen=True, kw_only=True):
    """Where tokenizer and chat template come from, for a repository that has none."""

    repository: str
    """The hub's OWNER/NAME."""
    revision: str | None
    """The commit; null resolves the head at the first pull."""


class Precision(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How the weights of one precision are had: by a recipe, from a repository, from a folder, or from a server.

    Which keys go together is the schema's to check (config/schemas/models.schema.yaml).
    """

    recipe: Recipe | None = None
    """How the weights are built."""
    source: str | None = None
    """The folder of the checkpoint (gguf-bf16) or of the config.json (random), from the root."""
    chat: str | None = None
    """The folder of tokenizer and chat template (random), from the root."""
    seed: int | None = None
    """What weights are drawn from (random)."""
    head_scale: float = 1.0
    """The standard deviation of the logits (random)."""
    attention_scale: float = 1.0
    """The norms of queries and keys (random)."""
    residual_scale: float = 1.0
    """The deviation of the matrices whose products are added to the residual (random)."""
    layers: int | None = None
    """How many of the shape's layers are drawn; all of them where this is left out (random)."""
    from_: str | None = msgspec.field(name="from", default=None)
    """The precision of the same model that is quantised, dequantised or pruned."""
    type: str | None = None
    """llama.cpp's name of what is made (llama-quantize)."""
    scheme: str | None = None
    """llm-compressor's name of what is made (model-free-ptq)."""
    experts_only: bool = False
    """Quantise the experts' projections and nothing else."""
    share: float | None = None
    """The share of each layer's experts that is pruned (reap)."""
    calibration: Calibration | None = None
    """What the experts' saliency is taken from (reap)."""
    package: str | None = None
    """NAME==VERSION of the Python package that holds them (package)."""
    sha256: str | None = None
    """The sha256 of the package's file (package)."""
    files: list[str] | None = None
    """Of a repository, the weights that are pulled; all its safetensors where this is left out."""
    tokenizer: TokenizerSource | None = None
    """Where the tokenizer comes from, for a repository that has none."""
    served: bool = False
    """The weights are those of a server that already runs."""
    tokenizer_path: str | None = None
    """Of a served one, the folder with its tokenizer, by config.yaml's `tokenizer`; missing is text mode."""
    local_path: str | None = None
    """A folder with weights that are already there."""
    repository: str | None = None
    """The hub's OWNER/NAME."""
    revision: str | None = None
    """The commit that is pulled; null resolves the head at the first pull."""
    quantised: str | None = None
    """What exactly is quantised, where the weights cannot be read."""
    disk_gb: float | None = None
    """Size of the weights, 10^9 bytes."""
    gpu_memory_gb: float | None = None
    """GPU memory that the weights and their cache need, 10^9 bytes."""


class Model(Record, frozen=True, kw_only=True):
    """One lineage of weights."""

    architecture: Architecture
    """dense, moe, or unknown."""
    precisions: dict[str, Precision]
    """Precision → how its weights are had."""
    description: str | None = None
    """One line on what the model is."""
