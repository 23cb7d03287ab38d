"""Building a quant by its recipe: into a folder aside, renamed when it is whole, the manifest written last."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from scripts.common.errors import ConfigError, DataError, nearest
from scripts.common.files import read_json, sha256_file
from scripts.quants.gguf_files import describe_types, quantise_gguf, tensor_types, write_gguf
from scripts.quants.manifest import NAME, make_manifest, verify_manifest, write_manifest

GGUF = "model.gguf"
CHAT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


class Quantiser(Protocol):
    """llama.cpp's quantiser, wherever it runs: of a GGUF file it makes another, and says which version it is."""

    def __call__(self, source: Path, output: Path, file_type: str, *, experts_only: bool) -> dict[str, str]:
        """Quantise; DataError or EngineError where that fails."""


def quantise_here(source: Path, output: Path, file_type: str, *, experts_only: bool) -> dict[str, str]:
    """llama.cpp's quantiser in the environment of this Python."""
    quantise_gguf(source, output, file_type, experts_only=experts_only)
    return {"llama-cpp-python": version("llama-cpp-python")}


Recipe = Callable[[Path, Mapping[str, Any], Path, Path, Quantiser], dict[str, Any]]


def _gguf_bf16(
    root: Path, entry: Mapping[str, Any], quants: Path, aside: Path, quantiser: Quantiser
) -> dict[str, Any]:
    """The checkpoint of `source` as it is, with a GGUF file of the same bits beside it."""
    source = root / entry["source"]
    if not (source / "model.safetensors").is_file():
        raise DataError(
            "there is no model.safetensors",
            where=str(source),
            remedy="name a folder with a checkpoint as `source`",
        )
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(source / name, aside / name)
    for name in CHAT_FILES:
        found = source / name if (source / name).is_file() else source.parent / name
        shutil.copyfile(found, aside / name)
    write_gguf(aside, aside / GGUF)
    return {"recipe": "gguf-bf16", "source": entry["source"], "gguf": version("gguf")}


def _llama_quantize(
    root: Path, entry: Mapping[str, Any], quants: Path, aside: Path, quantiser: Quantiser
) -> dict[str, Any]:
    """llama.cpp's quantiser over the GGUF file of the precision `from`."""
    source = quants / entry["from"]
    verify_manifest(source / NAME)
    for name in CHAT_FILES:
        shutil.copyfile(source / name, aside / name)
    alone = entry.get("experts_only", False)
    made_by = quantiser(source / GGUF, aside / GGUF, entry["type"], experts_only=alone)
    pruned = read_json(source / NAME)["source"].get("experts")
    return {
        "recipe": "llama-quantize",
        "type": entry["type"],
        **({"experts_only": True} if alone else {}),
        **({"experts": pruned} if pruned else {}),
        "from": entry["from"],
        "from_manifest_sha256": sha256_file(source / NAME),
        **made_by,
    }


def describe_pruning(experts: Mapping[str, int] | None) -> str:
    """What of the experts was pruned, as an addition to the table's words; nothing where nothing was."""
    if experts is None:
        return ""
    return f"; {experts['before'] - experts['after']} of {experts['before']} experts pruned (REAP)"


RECIPES: dict[str, Recipe] = {"gguf-bf16": _gguf_bf16, "llama-quantize": _llama_quantize}


def build_quant(
    model: str,
    precision: str,
    entry: Mapping[str, Any],
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
    recipe = RECIPES.get(entry["recipe"])
    if recipe is None:
        raise ConfigError(
            f"unknown recipe {entry['recipe']!r}",
            where=f"config/models.yaml: {model}.precisions.{precision}.recipe",
            remedy=nearest(entry["recipe"], RECIPES),
        )
    folder = output.parent
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        source = recipe(root, entry, folder.parent, aside, quantiser)
        types = tensor_types(aside / GGUF)
        write_manifest(
            aside,
            make_manifest(
                aside,
                model=model,
                precision=precision,
                quantised=describe_types(types) + describe_pruning(source.get("experts")),
                types=types,
                source=source,
            ),
        )
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
