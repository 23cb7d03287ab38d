"""The entries of config/models.yaml: models, and how the weights of each precision are pulled or built."""

from __future__ import annotations

from typing import Literal

import msgspec

from scripts.records.base import Record
from scripts.records.settings import Architecture

Recipe = Literal[
    "dequantise", "gguf-bf16", "llama-quantize", "model-free-ptq", "package", "random", "reap", "reshape"
]


class Calibration(Record, frozen=True, kw_only=True):
    """The charts whose episodes the experts' saliency is taken from."""

    first_seed: int
    """The first chart's seed."""
    charts: int
    """How many charts, of seeds one after the other."""


class Shape(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The shape that a dense model's function is brought into."""

    hidden_size: int
    """The width of the residual stream."""
    intermediate_size: int | None = None
    """The width of the feed-forward network, or of each expert; missing is that of the source."""
    key_value_heads: int | None = None
    """Heads of keys and values, each with as many of queries as before; missing are those of the source."""
    max_position_embeddings: int | None = None
    """The longest context that an engine may be started with; missing is that of the source."""
    experts: int = 0
    """How many experts a layer has; 0 is a dense model."""
    top_k: int = 0
    """How many of them a token is routed to."""
    spread: float = 0.0
    """The deviation of an expert's weights from the source's, relative to each; 0 has all experts equal."""
    one_expert: bool = False
    """The file holds one expert, which an engine is handed for each of them."""


class StandInModel(Record, frozen=True, kw_only=True):
    """What a model's weights are rehearsed with."""

    model: str
    """A model of models.yaml with drawn weights of the same architecture."""
    experts: int | None = None
    """How many experts each layer has, where these are not the drawn model's."""


class StandInPrecision(Record, frozen=True, kw_only=True, omit_defaults=True):
    """In which format of the model that stands in a precision is rehearsed."""

    precision: str | None = None
    """The precision of the drawn model; null is the one of the same name."""
    unlike: str | None = None
    """In what that format differs from the weights' own."""


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
    """What weights are drawn from (random), or the rotation, the routers and the spread (reshape)."""
    head_scale: float = 1.0
    """The standard deviation of the logits (random)."""
    attention_scale: float = 1.0
    """The norms of queries and keys (random)."""
    residual_scale: float = 1.0
    """The deviation of the matrices whose products are added to the residual (random)."""
    layers: int | None = None
    """How many of the shape's layers are drawn; all of them where this is left out (random)."""
    from_: str | None = msgspec.field(name="from", default=None)
    """The precision that is quantised, dequantised, pruned or reshaped; of another model as MODEL/PRECISION."""
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
    shape: Shape | None = None
    """What it is brought into (reshape)."""
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
    stand_in: StandInPrecision | None = None
    """In which format of the model that stands in it is rehearsed."""
    disk_gb: float | None = None
    """Size of the weights, 10^9 bytes."""
    gpu_memory_gb: float | None = None
    """GPU memory that the weights and their cache need, 10^9 bytes."""


def source_quant(model: str, source: str) -> tuple[str, str]:
    """The model and precision that `from` names in an entry, or in a manifest, of `model`."""
    other, _, precision = source.rpartition("/")
    return other or model, precision


class Model(Record, frozen=True, kw_only=True):
    """One lineage of weights."""

    architecture: Architecture
    """dense, moe, or unknown."""
    precisions: dict[str, Precision]
    """Precision → how its weights are had."""
    description: str | None = None
    """One line on what the model is."""
    stand_in: StandInModel | None = None
    """What its weights are rehearsed with."""
