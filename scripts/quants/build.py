"""Building a quant by its recipe: into a folder aside, renamed when it is whole, the manifest written last."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from scripts.common.errors import ConfigError, DataError, nearest
from scripts.common.files import sha256_file, written_aside
from scripts.quants.checkpoint import CHAT_FILES, CONFIG
from scripts.quants.gguf_files import is_written, quantise_gguf, tensor_types, write_gguf
from scripts.quants.manifest import NAME, make_manifest, verify_manifest, write_manifest
from scripts.quants.safetensors_files import describe_groups
from scripts.records.manifest import WeightsSource
from scripts.records.models import Precision, source_quant

GGUF = "model.gguf"


class Quantiser(Protocol):
    """llama.cpp's quantiser, wherever it runs: of a GGUF file it makes another, and says which version it is."""

    def __call__(self, source: Path, output: Path, file_type: str, *, experts_only: bool) -> WeightsSource:
        """Quantise; DataError or EngineError where that fails. What it returns names the version and nothing else."""


def quantise_here(source: Path, output: Path, file_type: str, *, experts_only: bool) -> WeightsSource:
    """llama.cpp's quantiser in the environment of this Python."""
    quantise_gguf(source, output, file_type, experts_only=experts_only)
    return WeightsSource(llama_cpp_python=version("llama-cpp-python"))


Recipe = Callable[[Path, Precision, Path, Path, Quantiser], WeightsSource]


def _gguf_bf16(
    root: Path, entry: Precision, quants: Path, aside: Path, quantiser: Quantiser
) -> WeightsSource:
    """The checkpoint of `source` as it is, with a GGUF file of the same bits beside it."""
    assert entry.source is not None
    source = root / entry.source
    if not (source / "model.safetensors").is_file():
        raise DataError(
            "there is no model.safetensors",
            where=str(source),
            remedy="name a folder with a checkpoint as `source`",
        )
    for name in ("model.safetensors", CONFIG):
        shutil.copyfile(source / name, aside / name)
    for name in CHAT_FILES:
        found = source / name if (source / name).is_file() else source.parent / name
        shutil.copyfile(found, aside / name)
    write_gguf(aside, aside / GGUF)
    return WeightsSource(recipe="gguf-bf16", source=entry.source, gguf=version("gguf"))


def _llama_quantize(
    root: Path, entry: Precision, quants: Path, aside: Path, quantiser: Quantiser
) -> WeightsSource:
    """llama.cpp's quantiser over the GGUF file of the precision `from`."""
    assert entry.from_ is not None and entry.type is not None
    source = quants / entry.from_
    experts = verify_manifest(source / NAME).source.experts
    for name in CHAT_FILES:
        shutil.copyfile(source / name, aside / name)
    return replace(
        quantiser(source / GGUF, aside / GGUF, entry.type, experts_only=entry.experts_only),
        recipe="llama-quantize",
        type=entry.type,
        experts_only=entry.experts_only or None,
        experts=experts,
        from_=entry.from_,
        from_manifest_sha256=sha256_file(source / NAME),
    )


def _package(root: Path, entry: Precision, quants: Path, aside: Path, quantiser: Quantiser) -> WeightsSource:
    """The GGUF file of a Python package."""
    from scripts.quants.package import unpack_package

    return unpack_package(entry, aside / GGUF)


def _dequantise(
    root: Path, entry: Precision, quants: Path, aside: Path, quantiser: Quantiser
) -> WeightsSource:
    """The GGUF file of the precision `from` in bf16, as a checkpoint and as a GGUF file."""
    from scripts.quants.dequantise import dequantise

    assert entry.from_ is not None
    source = quants / entry.from_
    verify_manifest(source / NAME)
    for name in CHAT_FILES:
        shutil.copyfile(source / name, aside / name)
    dequantise(source / GGUF, aside, aside / GGUF)
    return WeightsSource(
        recipe="dequantise",
        from_=entry.from_,
        from_manifest_sha256=sha256_file(source / NAME),
        gguf=version("gguf"),
    )


def _reshape(root: Path, entry: Precision, quants: Path, aside: Path, quantiser: Quantiser) -> WeightsSource:
    """The checkpoint of the precision `from` in another shape; a GGUF file too where all its experts are there."""
    from scripts.quants.reshape import reshape

    assert entry.from_ is not None and entry.shape is not None and entry.seed is not None
    source = quants.parent.joinpath(*source_quant(quants.name, entry.from_))
    verify_manifest(source / NAME)
    reshape(source, aside, entry.shape, entry.seed)
    for name in CHAT_FILES:
        shutil.copyfile(source / name, aside / name)
    if not entry.shape.one_expert and is_written(aside):
        write_gguf(aside, aside / GGUF)
    return WeightsSource(
        recipe="reshape",
        from_=entry.from_,
        from_manifest_sha256=sha256_file(source / NAME),
        shape=entry.shape,
        seed=entry.seed,
        numpy=version("numpy"),
    )


def write_gguf_manifest(folder: Path, model: str, precision: str, source: WeightsSource) -> None:
    """Write the manifest of a quant with a GGUF file, whose types it names, and of the experts how many were pruned."""
    types = tensor_types(folder / GGUF)
    quantised = describe_groups(types, widened=("F32",))
    if source.recipe == "dequantise":
        quantised = f"what {source.from_} holds, rounded to bf16"
    if source.experts is not None:
        before = source.experts.before
        quantised += f"; {before - source.experts.after} of {before} experts pruned (REAP)"
    about = make_manifest(
        folder, model=model, precision=precision, source=source, types=types, quantised=quantised
    )
    write_manifest(folder, about)


RECIPES: dict[str, Recipe] = {
    "dequantise": _dequantise,
    "gguf-bf16": _gguf_bf16,
    "llama-quantize": _llama_quantize,
    "package": _package,
    "reshape": _reshape,
}


def build_quant(
    model: str,
    precision: str,
    entry: Precision,
    output: Path,
    *,
    root: Path = Path(),
    quantiser: Quantiser = quantise_here,
) -> None:
    """Build the quant `model` × `precision` by the recipe of its `entry` in models.yaml and write `output`.

    `output` is results/quants/{model}/{precision}/manifest.json; the folder is replaced as a whole.
    `quantiser`: what quantises GGUF files.
    ConfigError for an unknown recipe, DataError for a source that is missing or not what it says.
    """
    recipe = RECIPES.get(str(entry.recipe))
    if recipe is None:
        raise ConfigError(
            f"unknown recipe {entry.recipe!r}",
            where=f"config/models.yaml: {model}.precisions.{precision}.recipe",
            remedy=nearest(str(entry.recipe), RECIPES),
        )
    with written_aside(output.parent) as aside:
        source = recipe(root, entry, aside.parent, aside, quantiser)
        if (aside / GGUF).is_file():
            write_gguf_manifest(aside, model, precision, source)
        else:
            write_manifest(aside, make_manifest(aside, model=model, precision=precision, source=source))
