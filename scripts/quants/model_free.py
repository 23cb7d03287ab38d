"""The recipe model-free-ptq: llm-compressor's `model_free_ptq`, which streams and needs no data, and its check.

Runs in the environment of envs/quantise.lock. Formats: FP8_DYNAMIC (weights FP8 a channel, activations a token),
FP8_BLOCK, W4A16 (packed integers, what vLLM serves through Marlin), NVFP4A16.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from scripts.common.errors import ConfigError, DataError, nearest
from scripts.common.files import sha256_file, written_aside
from scripts.quants.checkpoint import CHAT_FILES
from scripts.quants.manifest import NAME, make_manifest, verify_manifest, write_manifest
from scripts.quants.safetensors_files import read_tensors
from scripts.records.manifest import WeightsSource
from scripts.records.models import Precision

BESIDE = (*CHAT_FILES, "generation_config.json")
EXPERTS = re.compile(r".*\.(mlp|block_sparse_moe)\.experts\.\d+\.((gate|up|down)_proj|w[123])$")
LINEAR = re.compile(rf".*\.(self_attn|mlp|linear_attn)\..*_proj(_\w+)?$|{EXPERTS.pattern}")
# vLLM asks for the scheme of Mixtral's experts by the names that they have in other models.
MIXTRAL = re.compile(r"(.*experts.*\.)w\\d\+\$$")
NEVER = re.compile(r"(^|\.)(lm_head|embed_tokens|visual|mtp)(\.|$)|\.mlp\.gate$|shared_expert_gate$")


# Experts fused into one 3-D tensor a layer, which llm-compressor splits: [experts, 2 × width or hidden, …].
FUSED = re.compile(r"(.*mlp\.experts)\.(gate_up_proj|down_proj)(?:\.weight)?$")
FUSED_PARTS = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}


@dataclass(frozen=True)
class Scheme:
    """`weight`: what the matrix is called afterwards, and its type; `companions`: what else comes, with types."""

    weight: tuple[str, str]
    companions: Mapping[str, tuple[str, ...]]


_SCALES = ("BF16", "F16", "F32")
SCHEMES: dict[str, Scheme] = {
    "FP8_DYNAMIC": Scheme(("weight", "F8_E4M3"), {"weight_scale": _SCALES}),
    "FP8_BLOCK": Scheme(("weight", "F8_E4M3"), {"weight_scale": _SCALES}),
    "W4A16": Scheme(("weight_packed", "I32"), {"weight_scale": _SCALES, "weight_shape": ("I64", "I32")}),
    "NVFP4A16": Scheme(
        ("weight_packed", "U8"), {"weight_scale": ("F8_E4M3",), "weight_global_scale": ("F32",)}
    ),
}


def build_model_free(model: str, precision: str, entry: Precision, output: Path) -> None:
    """Quantise the sister precision `from` by `scheme` (experts alone with `experts_only`) and write the manifest last.

    The folder is made aside, checked, and renamed when it is whole. ConfigError for an unknown scheme; DataError where
    the source is not what its manifest says, or the result is not exactly what was asked for.
    """
    scheme = str(entry.scheme)
    if scheme not in SCHEMES:
        raise ConfigError(
            f"unknown scheme {scheme!r}",
            where=f"config/models.yaml: {model}",
            remedy=nearest(scheme, SCHEMES),
        )
    assert entry.from_ is not None
    source = output.parent.parent / entry.from_
    verify_manifest(source / NAME)
    with written_aside(output.parent) as aside:
        targets = find_targets(source, experts_only=entry.experts_only)
        _quantise(source, aside, scheme, targets)
        counted = check_quantised(source, aside, scheme, targets)
        for name in BESIDE:
            if (source / name).is_file():
                shutil.copyfile(source / name, aside / name)
        made_from = WeightsSource(
            recipe="model-free-ptq",
            scheme=scheme,
            experts_only=entry.experts_only,
            from_=entry.from_,
            from_manifest_sha256=sha256_file(source / NAME),
            llmcompressor=version("llmcompressor"),
            device=_device().partition(":")[0],
            quantised_tensors=counted,
        )
        write_manifest(aside, make_manifest(aside, model=model, precision=precision, source=made_from))


def find_targets(source: Path, *, experts_only: bool) -> list[str]:
    """The modules whose matrices are quantised, by name, sorted: the experts' projections, or every linear layer.

    Embeddings, the output, routers, vision and MTP never are. DataError where there is nothing to quantise.
    """
    wanted = EXPERTS if experts_only else LINEAR
    found = []
    for name, tensor in read_tensors(source).items():
        module, _, leaf = name.rpartition(".")
        if (fused := FUSED.match(name)) and len(tensor.shape) == 3 and not NEVER.search(module):
            found += _parts(fused, tensor.shape[0])
        elif (
            leaf == "weight" and len(tensor.shape) == 2 and wanted.match(module) and not NEVER.search(module)
        ):
            found.append(module)
    if not found:
        what = "no matrix of an expert" if experts_only else "no linear layer"
        raise DataError(
            f"the checkpoint has {what}", where=str(source), remedy="experts_only is for MoE models"
        )
    return sorted(found)


def _parts(fused: re.Match[str], experts: int) -> list[str]:
    """The modules that a fused tensor becomes."""
    return [f"{fused[1]}.{number}.{part}" for number in range(experts) for part in FUSED_PARTS[fused[2]]]


def _quantise(source: Path, target: Path, scheme: str, targets: list[str]) -> None:
    from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme, preset_name_to_scheme
    from llmcompressor import model_free_ptq

    modules = {name.removesuffix(".weight") for name in read_tensors(source) if not FUSED.match(name)}
    # vLLM has crashed on modules that are neither targeted nor ignored: every other module is named.
    ignored = sorted(modules - set(targets))
    patterns = _patterns(targets)
    preset: QuantizationScheme = preset_name_to_scheme(scheme, patterns)
    config = QuantizationConfig(config_groups={"group_0": preset}, ignore=ignored)
    model_free_ptq(str(source), str(target), config=config, ignore=ignored, max_workers=1, device=_device())


def _device() -> str:
    """Where tensors are quantised: a GPU takes seconds for what a processor takes minutes for."""
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _patterns(targets: list[str]) -> list[str]:
    """The targets as few regular expressions, numbers left open: what a config file can hold."""
    found = {"re:.*" + re.escape(re.sub(r"\d+", "0", each)).replace("0", r"\d+") + "$" for each in targets}
    renamed = {f"{match[1]}(gate|up|down)_proj$" for each in found if (match := MIXTRAL.match(each))}
    return sorted(found | renamed)


def check_quantised(source: Path, target: Path, scheme: str, targets: list[str]) -> dict[str, int]:
    """How many tensors came to have which type; DataError unless exactly the `targets` were quantised, each as the
    scheme says, and every other tensor has its bytes, type and shape of before."""
    expected, found = read_tensors(source), read_tensors(target)
    plan = SCHEMES[scheme]
    counted: Counter[str] = Counter()
    left = set(found)
    for name, tensor in list(expected.items()):
        if (
            (fused := FUSED.match(name))
            and len(tensor.shape) == 3
            and set(_parts(fused, tensor.shape[0])) <= set(targets)
        ):
            del expected[name]
    for module in targets:
        expected.pop(f"{module}.weight", None)
        wanted = {plan.weight[0]: (plan.weight[1],), **plan.companions}
        for leaf, types in wanted.items():
            name = f"{module}.{leaf}"
            if name not in found:
                raise DataError(f"{name} is missing: it was to be quantised by {scheme}", where=str(target))
            if found[name].dtype not in types:
                raise DataError(f"{name} is {found[name].dtype}, not {' or '.join(types)}", where=str(target))
            left.discard(name)
        counted[plan.weight[1]] += 1
    for name, tensor in expected.items():
        if name not in found:
            raise DataError(f"{name} is missing: it was to stay as it was", where=str(target))
        left.discard(name)
        now = found[name]
        if (now.dtype, now.shape) != (tensor.dtype, tensor.shape) or now.digest() != tensor.digest():
            raise DataError(f"{name} has changed: it was to stay as it was", where=str(target))
        counted["unchanged"] += 1
    if left:
        raise DataError(f"{sorted(left)[0]} was not asked for", where=str(target))
    return dict(sorted(counted.items()))
