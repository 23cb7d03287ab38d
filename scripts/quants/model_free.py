"""The recipe model-free-ptq: llm-compressor's quantisation of checkpoints, which streams and needs no data.

Runs in the environment of envs/quantise.lock, on a GPU where there is one. Formats: FP8_DYNAMIC (weights FP8 a channel,
activations a token), FP8_BLOCK, W4A16 (packed integers, what vLLM serves through Marlin), NVFP4A16.

llm-compressor splits fused experts and quantises one by one, which takes ten milliseconds each whatever their size.
Here the experts of a layer are laid one below the other, many of them one matrix, and what that becomes is split by
rows: the same bits, since no group of values with one scale reaches from one expert to the next. NVFP4 has a scale of a
whole matrix beside, which so is one of many experts. vLLM wants it equal for an expert's gate and up, takes gate's for
both, and llm-compressor sees to that in dense layers alone: where experts lie one by one, gate and up become a matrix.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.errors import ConfigError, DataError, nearest
from scripts.common.files import read_json, sha256_file, write_json, written_aside
from scripts.quants.checkpoint import CHAT_FILES, CONFIG
from scripts.quants.manifest import NAME, make_manifest, verify_manifest, write_manifest
from scripts.quants.safetensors_files import Tensor, read_tensors
from scripts.records.manifest import WeightsSource
from scripts.records.models import Precision

if TYPE_CHECKING:
    import torch
    from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme

INDEX = "model.safetensors.index.json"
WORKERS = 4  # files that are quantised at a time on a GPU, as far as they fit into it
BESIDE = (*CHAT_FILES, "generation_config.json")
EXPERTS = re.compile(r".*\.(mlp|block_sparse_moe)\.experts\.\d+\.((gate|up|down)_proj|w[123])$")
LINEAR = re.compile(rf".*\.(self_attn|mlp|linear_attn)\..*_proj(_\w+)?$|{EXPERTS.pattern}")
# vLLM asks for the scheme of Mixtral's experts by the names that they have in other models.
MIXTRAL = re.compile(r"(.*experts.*\.)w\\d\+\$$")
NEVER = re.compile(
    r"(^|\.)(lm_head|embed_tokens|visual|mtp)(\.|$)|\.mlp\.gate$|shared_expert_gate$|\.in_proj_[ab]$"
)


# Experts fused into one 3-D tensor a layer, which llm-compressor splits: [experts, 2 × width or hidden, …].
FUSED = re.compile(r"(.*mlp\.experts)\.(gate_up_proj|down_proj)(?:\.weight)?$")
FUSED_PARTS = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
GATE = re.compile(r"(.*\.mlp\.experts\.\d+)\.gate_proj\.weight$")
TOGETHER = 16  # experts that are quantised as one matrix
ROWS = 128  # a scale is of so many rows at most


@dataclass(frozen=True)
class Scheme:
    """What a matrix becomes.

    `weight`: what it is called afterwards, and its type; `packed`: values in one of its elements; `companions`: what
    else comes, with types; `block`: rows and columns of values with one scale, 0 for all columns; `error`: the relative
    error, root mean square, that is too large (of normal values FP8 has 0.03, 4 bits have 0.1).
    """

    weight: tuple[str, str]
    packed: int
    companions: Mapping[str, tuple[str, ...]]
    block: tuple[int, int]
    error: float

    def shapes(self, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the weight and its scales, by name, of a matrix."""
        high, wide = self.block[0], self.block[1] or columns
        return {
            self.weight[0]: (rows, columns // self.packed),
            "weight_scale": (math.ceil(rows / high), math.ceil(columns / wide)),
        }


_SCALES = ("BF16", "F16", "F32")
_OF_NVFP4 = {"weight_scale": ("F8_E4M3",), "weight_global_scale": ("F32",)}
SCHEMES: dict[str, Scheme] = {
    "FP8_DYNAMIC": Scheme(("weight", "F8_E4M3"), 1, {"weight_scale": _SCALES}, (1, 0), 0.06),
    "FP8_BLOCK": Scheme(("weight", "F8_E4M3"), 1, {"weight_scale": _SCALES}, (ROWS, ROWS), 0.06),
    "W4A16": Scheme(
        ("weight_packed", "I32"), 8, {"weight_scale": _SCALES, "weight_shape": ("I64", "I32")}, (1, 128), 0.2
    ),
    "NVFP4A16": Scheme(("weight_packed", "U8"), 2, _OF_NVFP4, (1, 16), 0.2),
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
        check_error(source, aside, scheme, targets)
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


def _parts(fused: re.Match[str], experts: int, first: int = 0) -> list[str]:
    """The modules that so many experts of a fused tensor become, from the `first` on, in the order of its rows."""
    return [
        f"{fused[1]}.{number}.{part}"
        for number in range(first, first + experts)
        for part in FUSED_PARTS[fused[2]]
    ]


def _quantise(source: Path, target: Path, scheme: str, targets: list[str]) -> None:
    """Quantise the files that hold a target; the others are linked, or copied where links are not had."""
    from compressed_tensors.entrypoints.convert import convert_checkpoint
    from llmcompressor.entrypoints.model_free.converter import ModelFreePtqConverter

    tensors = read_tensors(source)
    wanted = set(targets)
    touched = {tensor.file for name, tensor in tensors.items() if _modules(name, tensor) & wanted}
    config = _config(source, scheme, targets)
    with tempfile.TemporaryDirectory() as folder:
        view = Path(folder)
        for file in touched:
            (view / file.name).symlink_to(file.resolve())
        shutil.copyfile(source / CONFIG, view / CONFIG)
        names = {name: tensor.file.name for name, tensor in tensors.items() if tensor.file in touched}
        write_json(view / INDEX, {"metadata": {}, "weight_map": names})
        fused = FusedExperts(wanted, pairs="weight_global_scale" in SCHEMES[scheme].companions)
        steps = [fused, ModelFreePtqConverter(config), SplitExperts(fused)]
        convert_checkpoint(str(view), str(target), steps, max_workers=WORKERS, device=_device())
    for file in sorted({each.file for each in tensors.values()} - touched):
        _link(file, target / file.name)
    made = read_tensors(target)
    total = sum(tensor.end - tensor.begin for tensor in made.values())
    index = {name: tensor.file.name for name, tensor in made.items()}
    write_json(target / INDEX, {"metadata": {"total_size": total}, "weight_map": index})


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file.resolve(), target)
    except OSError:
        shutil.copyfile(file, target)


def _modules(name: str, tensor: Tensor) -> set[str]:
    """The modules whose matrices a tensor is, or holds."""
    if (fused := FUSED.match(name)) and len(tensor.shape) == 3:
        return set(_parts(fused, tensor.shape[0]))
    return {name.removesuffix(".weight")}


def _config(source: Path, scheme: str, targets: list[str]) -> QuantizationConfig:
    """What is quantised and what is not, as config.json is to say it.

    vLLM has crashed on modules that are neither targeted nor ignored: every other module is named, and of a vision
    tower and MTP layers, which an engine may construct, the prefix.
    """
    from compressed_tensors.quantization import QuantizationConfig, preset_name_to_scheme
    from llmcompressor.entrypoints.model_free.validate import validate_config

    names = read_tensors(source)
    modules = {name.removesuffix(".weight") for name in names if not FUSED.match(name)}
    ignored = sorted(modules - set(targets))
    if any(name.startswith("mtp.") for name in names):
        ignored.append("re:.*mtp.*")
    if "vision_config" in read_json(source / CONFIG):
        ignored.append("re:.*visual.*")
    preset: QuantizationScheme = preset_name_to_scheme(scheme, _patterns(targets))
    config = QuantizationConfig(config_groups={"group_0": preset}, ignore=ignored)
    checked: QuantizationConfig = validate_config(config, None, ())
    return checked


class _Step:
    """A converter of compressed-tensors that says nothing of the config and loads no tensor beside a file's own."""

    def get_dependencies(self, weight_name: str) -> set[str]:
        """None."""
        return set()

    def update_config(self, config: QuantizationConfig | None) -> QuantizationConfig | None:
        """The config as it is."""
        return config

    def update_model_config(self, model_config: dict[str, object]) -> dict[str, object]:
        """The model's config as it is."""
        return model_config


class FusedExperts(_Step):
    """Fused experts become matrices of TOGETHER experts, one below the other, named as an expert's of the first.

    Experts that are no target are kept from the next step, which would split them. `pairs`: of experts that lie one by
    one gate and up become one matrix, named as gate.
    """

    def __init__(self, targets: set[str], *, pairs: bool) -> None:
        self.targets = targets
        self.pairs = pairs
        self.kept: dict[str, tuple[int, ...]] = {}
        """Experts that are no target → their shape."""
        self.stacked: dict[str, tuple[list[str], tuple[int, int]]] = {}
        """Module → the modules whose matrices it holds, in the order of its rows, and the shape of one of them."""

    def process(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors of a file with those of its fused experts replaced."""
        made = {}
        tensors = self._paired(tensors) if self.pairs else tensors
        for name, tensor in tensors.items():
            fused = FUSED.match(name)
            if fused is None or tensor.dim() != 3:
                made[name] = tensor
                continue
            experts, rows, columns = tensor.shape
            if not set(_parts(fused, experts)) <= self.targets:
                self.kept[name] = (experts, rows, columns)
                made[name] = tensor.reshape(-1, columns)
                continue
            parts = FUSED_PARTS[fused[2]]
            each = (rows // len(parts), columns)
            together = TOGETHER if each[0] % ROWS == 0 else 0
            if not together:  # a block of one scale would reach into the next expert
                made[name] = tensor
                continue
            for first in range(0, experts, together):
                some = tensor[first : first + together]
                module = f"{fused[1]}.{first}.{parts[0]}"
                self.stacked[module] = (_parts(fused, len(some), first), each)
                made[f"{module}.weight"] = some.reshape(-1, columns)
        return made

    validate = process

    def _paired(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors of a file with each expert's gate and up one below the other, where both are targets."""
        import torch

        made = dict(tensors)
        for name, gate in tensors.items():
            if (expert := GATE.match(name)) is None:
                continue
            modules = [f"{expert[1]}.{part}" for part in FUSED_PARTS["gate_up_proj"]]
            up = tensors.get(f"{modules[1]}.weight")
            if up is not None and up.shape == gate.shape and self.targets >= set(modules):
                del made[f"{modules[1]}.weight"]
                made[name] = torch.cat([gate, up])
                self.stacked[modules[0]] = (modules, (gate.shape[0], gate.shape[1]))
        return made


class SplitExperts(_Step):
    """What became of the matrices that FusedExperts made, expert by expert, and the experts that it kept."""

    def __init__(self, fused: FusedExperts) -> None:
        self.fused = fused

    def process(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors of a file with names and shapes as an engine loads them."""
        import torch

        made: dict[str, torch.Tensor] = {}
        for name, tensor in tensors.items():
            module, _, leaf = name.rpartition(".")
            if name in self.fused.kept:
                made[name] = tensor.reshape(self.fused.kept[name])
                continue
            if module not in self.fused.stacked:
                made[name] = tensor
                continue
            found, shape = self.fused.stacked[module]
            if leaf == "weight_shape":
                made |= {f"{each}.{leaf}": torch.tensor(shape, dtype=tensor.dtype) for each in found}
            elif tensor.numel() == 1:
                made |= {f"{each}.{leaf}": tensor.clone() for each in found}
            else:
                pieces = tensor if tensor.device.type == "meta" else tensor.cpu()
                made |= {
                    f"{each}.{leaf}": piece
                    for each, piece in zip(found, pieces.chunk(len(found)), strict=True)
                }
        return made

    validate = process


def _device() -> str:
    """Where tensors are quantised: a GPU takes seconds for what a processor takes minutes for."""
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _patterns(targets: list[str]) -> list[str]:
    """The targets as few regular expressions, numbers left open: what a config file can hold.

    An engine may name its modules otherwise than the checkpoint of a multimodal model: language_model.model.layers.
    """
    plain = (each.replace("model.language_model.", "") for each in targets)
    found = {"re:.*" + re.escape(re.sub(r"\d+", "0", each)).replace("0", r"\d+") + "$" for each in plain}
    renamed = {f"{match[1]}(gate|up|down)_proj$" for each in found if (match := MIXTRAL.match(each))}
    return sorted(found | renamed)


def check_quantised(source: Path, target: Path, scheme: str, targets: list[str]) -> dict[str, int]:
    """How many tensors came to have which type; DataError unless exactly the `targets` were quantised, each with types
    and shapes as the scheme says, and every other tensor has its bytes, type and shape of before."""
    expected, found = read_tensors(source), read_tensors(target)
    plan = SCHEMES[scheme]
    counted: Counter[str] = Counter()
    left = set(found)
    matrices = _matrices(expected)
    for module in targets:
        expected.pop(matrices[module].name, None)
        wanted = {plan.weight[0]: (plan.weight[1],), **plan.companions}
        shapes = plan.shapes(*matrices[module].shape)
        for leaf, types in wanted.items():
            name = f"{module}.{leaf}"
            if name not in found:
                raise DataError(f"{name} is missing: it was to be quantised by {scheme}", where=str(target))
            if found[name].dtype not in types:
                raise DataError(f"{name} is {found[name].dtype}, not {' or '.join(types)}", where=str(target))
            if leaf in shapes and found[name].shape != shapes[leaf]:
                raise DataError(
                    f"{name} has the shape {found[name].shape}, not {shapes[leaf]}", where=str(target)
                )
            left.discard(name)
        counted[plan.weight[1]] += 1
    for name in expected:
        if name not in found:
            raise DataError(f"{name} is missing: it was to stay as it was", where=str(target))
        left.discard(name)
        counted["unchanged"] += 1
    if changed := _first_changed(expected, found):
        raise DataError(f"{changed} has changed: it was to stay as it was", where=str(target))
    if left:
        raise DataError(f"{sorted(left)[0]} was not asked for", where=str(target))
    return dict(sorted(counted.items()))


def _first_changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> str | None:
    """The first tensor, by name, that has another type, another shape or other bytes; a file's links are not read."""

    def changed(name: str) -> bool:
        old, new = before[name], after[name]
        if (new.dtype, new.shape) != (old.dtype, old.shape):
            return True
        return not old.file.samefile(new.file) and new.digest() != old.digest()

    names = sorted(before)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return next(
            (name for name, is_changed in zip(names, pool.map(changed, names), strict=True) if is_changed),
            None,
        )


@dataclass(frozen=True)
class _Matrix:
    """Where a module's matrix lies before it is quantised: the tensor's name, the first row, the shape."""

    name: str
    row: int
    shape: tuple[int, int]


def _matrices(tensors: Mapping[str, Tensor]) -> dict[str, _Matrix]:
    """The matrix of each module; of fused experts, of each expert's projection."""
    found = {}
    for name, tensor in tensors.items():
        if (fused := FUSED.match(name)) and len(tensor.shape) == 3:
            experts, rows, columns = tensor.shape
            high = rows // len(FUSED_PARTS[fused[2]])
            for number, module in enumerate(_parts(fused, experts)):
                found[module] = _Matrix(name, number * high, (high, columns))
        elif name.endswith(".weight") and len(tensor.shape) == 2:
            found[name.removesuffix(".weight")] = _Matrix(name, 0, (tensor.shape[0], tensor.shape[1]))
    return found


SAMPLE = 12  # modules whose error is computed


def check_error(source: Path, target: Path, scheme: str, targets: list[str]) -> dict[str, float]:
    """The relative error, root mean square, of a sample of the quantised matrices, by module; DataError where one is as
    large as no rounding is: a scale, a row or an expert is another's."""
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    before, after = read_tensors(source), read_tensors(target)
    matrices, plan = _matrices(before), SCHEMES[scheme]
    group = read_json(target / CONFIG)["quantization_config"]["config_groups"]["group_0"]
    compressor = BaseCompressor.get_value_from_registry(group["format"])
    errors = {}
    for module in _sample(targets):
        matrix = matrices[module]
        old = _read_matrix(matrix, before).float()
        state = {leaf: _read(f"{module}.{leaf}", after) for leaf in (plan.weight[0], *plan.companions)}
        new = compressor.decompress(state, QuantizationScheme.model_validate(group))["weight"].float()
        errors[module] = float(torch.linalg.vector_norm(new - old) / torch.linalg.vector_norm(old))
        if not errors[module] < plan.error:
            raise DataError(
                f"{module} by {scheme} has a relative error of {errors[module]:.3f}, and {plan.error} is too much",
                where=str(target),
            )
    return errors


def _sample(targets: list[str]) -> Iterable[str]:
    """SAMPLE of the targets, with the first and the last: as many of the first layers as of the last."""
    step = max(1, math.ceil(len(targets) / (SAMPLE - 1)))
    return sorted({*targets[::step], targets[-1]})


def _read(name: str, tensors: Mapping[str, Tensor], rows: slice = slice(None)) -> torch.Tensor:
    """Rows of a tensor of safetensors files; of gigabytes no more is read than these."""
    from safetensors import safe_open

    with safe_open(tensors[name].file, framework="pt") as file:
        found: torch.Tensor = file.get_slice(name)[rows] if tensors[name].shape else file.get_tensor(name)
    return found


def _read_matrix(matrix: _Matrix, tensors: Mapping[str, Tensor]) -> torch.Tensor:
    """A module's matrix as it was; of fused experts no other expert is read."""
    shape = tensors[matrix.name].shape
    if len(shape) == 2:
        return _read(matrix.name, tensors)
    expert, row = divmod(matrix.row, shape[1])
    return _read(matrix.name, tensors, slice(expert, expert + 1))[0, row : row + matrix.shape[0]]
