"""A quant's manifest, manifest.json, and what is left of one whose weights were deleted.

A manifest is deterministic: files sorted by path, no date, no host, no absolute path. Its sha256 is what sessions name.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from scripts.records.base import FileRecord, Record
from scripts.records.models import Calibration, Shape, TokenizerSource


class ManifestFile(Record, frozen=True, kw_only=True):
    """One file of weights, or beside them."""

    path: str
    """Its path from the quant's folder."""
    size: int
    """Its size in bytes."""
    sha256: str
    """Its sha256."""


class Experts(Record, frozen=True, kw_only=True):
    """How many experts a layer had, and has."""

    before: int
    """Before pruning."""
    after: int
    """After it."""


class WeightsSource(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Where weights come from. What a recipe has no use for is missing."""

    recipe: str | None = None
    """How they were built; missing of weights that were pulled, linked or are a server's."""
    source: str | None = None
    """The folder, from the root, of the checkpoint or of the config.json they were drawn after."""
    from_: str | None = msgspec.field(name="from", default=None)
    """The precision that was quantised, dequantised, pruned or reshaped; of another model as MODEL/PRECISION."""
    from_manifest_sha256: str | None = None
    """The sha256 of its manifest."""
    type: str | None = None
    """llama.cpp's name of what was made."""
    scheme: str | None = None
    """llm-compressor's name of what was made."""
    experts_only: bool | None = None
    """Whether the experts' projections alone were quantised."""
    quantised_tensors: dict[str, int] | None = None
    """Type → how many tensors were made; `unchanged`: how many were not."""
    device: str | None = None
    """What quantised them: cpu or cuda."""
    share: float | None = None
    """The share of experts that was pruned."""
    calibration: Calibration | None = None
    """What their saliency was taken from."""
    experts: Experts | None = None
    """How many there were and are, of pruned weights."""
    seed: int | None = None
    """What random weights were drawn from, or what is random of reshaped ones."""
    head_scale: float | None = None
    """The standard deviation of their logits."""
    attention_scale: float | None = None
    """The norms of their queries and keys."""
    shape: Shape | None = None
    """What the weights were brought into."""
    residual_scale: float | None = None
    """The deviation of the matrices whose products are added to the residual; missing where it is 1."""
    layers: int | None = None
    """How many of the shape's layers were drawn; missing where all were."""
    package: str | None = None
    """NAME==VERSION of the Python package that held them."""
    package_sha256: str | None = None
    """The sha256 of its file."""
    repository: str | None = None
    """The hub's OWNER/NAME."""
    revision: str | None = None
    """The commit that was pulled."""
    revision_resolved_at_pull: bool | None = None
    """True where no commit was pinned."""
    tokenizer: TokenizerSource | None = None
    """Where the tokenizer comes from, of a repository that has none."""
    local_path: bool | None = None
    """True of the owner's own folder, which is not named."""
    served: bool | None = None
    """True of the weights of a server that runs."""
    mode: str | None = None
    """tokens or text, of a server that runs."""
    gguf: str | None = None
    """The version of gguf that took part."""
    llmcompressor: str | None = None
    """The version of llm-compressor that took part."""
    numpy: str | None = None
    """The version of numpy that took part."""
    llama_cpp_python: str | None = msgspec.field(name="llama-cpp-python", default=None)
    """The version of llama.cpp's quantiser that took part."""
    image: str | None = None
    """The image that quantised them, where it was pulled and names no version."""


class Manifest(FileRecord, frozen=True, kw_only=True):
    """The weights of a quant, file by file."""

    REMEDY: ClassVar[str] = "build the quant again: snakemake --cores 1 -F -- MANIFEST"

    model: str
    """The model's name."""
    precision: str
    """The precision's name."""
    files: list[ManifestFile]
    """Its files, sorted by path."""
    bytes: int
    """Their size together."""
    quantised: str
    """The table's words for what exactly is quantised."""
    tensor_types: dict[str, dict[str, int]]
    """Group of tensors → type → how many; empty where the weights do not say."""
    source: WeightsSource
    """Where they come from."""


class Evicted(FileRecord, frozen=True, kw_only=True, omit_defaults=True):
    """Weights that were deleted once no cell needed them (results/evicted/MODEL/PRECISION.json)."""

    files: int
    """How many files their manifest names."""
    bytes: int
    """Their size together."""
    at: str = ""
    """When, UTC, ISO 8601, to the microsecond: no two are equal, so that what is made again after it is known to be."""
