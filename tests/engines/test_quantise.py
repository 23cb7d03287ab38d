"""llm-compressor for real over the small checkpoints, and the check that counts what it did."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.common.errors import DataError
from scripts.quants.manifest import make_manifest, write_manifest
from scripts.quants.model_free import check_quantised, find_targets
from scripts.quants.safetensors_files import read_tensors
from scripts.records.manifest import Manifest, WeightsSource
from tests.engines.serving import ROOT, checkpoint

pytestmark = pytest.mark.engines
ATTENTION = 4  # q, k, v and o of each layer


def bf16(folder: Path, architecture: str) -> Path:
    """The bf16 quant of a model, without its GGUF file, with a manifest."""
    weights = checkpoint(architecture, folder / "bf16")
    about = {"model": f"tinychart-{architecture}", "precision": "bf16", "quantised": "nothing"}
    write_manifest(weights, make_manifest(weights, **about, types={}, source=WeightsSource()))
    return weights


def quantise(folder: Path, architecture: str, precision: str, entry: dict[str, Any]) -> Manifest:
    output = folder / precision / "manifest.json"
    command = [sys.executable, "-m", "scripts.quantise_weights", f"tinychart-{architecture}", precision]
    done = subprocess.run(
        [
            *command,
            "--entry",
            json.dumps({"recipe": "model-free-ptq", "from": "bf16", **entry}),
            "--output",
            str(output),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Manifest.read(output)


def shape_of(weights: Path) -> tuple[int, int]:
    """Layers and experts (0 for a dense model)."""
    config = json.loads((weights / "config.json").read_text())
    return config["num_hidden_layers"], config.get("num_experts", 0)


def test_fp8_of_the_experts_alone_leaves_every_other_byte(tmp_path: Path) -> None:
    source = bf16(tmp_path, "moe")
    layers, experts = shape_of(source)
    manifest = quantise(tmp_path, "moe", "fp8-experts", {"scheme": "FP8_DYNAMIC", "experts_only": True})
    before, after = read_tensors(source), read_tensors(tmp_path / "fp8-experts")
    fp8 = {name for name, tensor in after.items() if tensor.dtype == "F8_E4M3"}
    assert len(fp8) == experts * 3 * layers == manifest.source.quantised_tensors["F8_E4M3"]
    assert all(".mlp.experts." in name for name in fp8)
    others = set(before) - fp8
    assert len(others) == manifest.source.quantised_tensors["unchanged"]
    assert {name: before[name].digest() for name in others} == {name: after[name].digest() for name in others}
    assert manifest.quantised == "experts: FP8 (not: attention, embedding, norms, router)"
    config = json.loads((tmp_path / "fp8-experts" / "config.json").read_text())["quantization_config"]
    assert any("self_attn" in name for name in config["ignore"]), "what is not quantised is named"


def test_fused_experts_are_split_and_counted(tmp_path: Path) -> None:
    source = bf16(tmp_path, "moe")
    layers, experts = shape_of(source)
    fuse_experts(source, layers, experts)
    manifest = quantise(tmp_path, "moe", "made", {"scheme": "FP8_DYNAMIC", "experts_only": True})
    assert manifest.source.quantised_tensors["F8_E4M3"] == experts * 3 * layers


def fuse_experts(weights: Path, layers: int, experts: int) -> None:
    """Rewrite the checkpoint with each layer's experts in two 3-D tensors, as Qwen3.5 has them."""
    file = weights / "model.safetensors"
    raw, tensors = file.read_bytes(), read_tensors(weights)
    parts: dict[str, tuple[list[int], bytes]] = {}
    for name, tensor in tensors.items():
        if ".experts." not in name:
            parts[name] = (list(tensor.shape), raw[tensor.begin : tensor.end])
    for layer in range(layers):
        prefix = f"model.layers.{layer}.mlp.experts"

        def read(expert: int, part: str, prefix: str = prefix) -> bytes:
            tensor = tensors[f"{prefix}.{expert}.{part}.weight"]
            return raw[tensor.begin : tensor.end]

        width, hidden = tensors[f"{prefix}.0.gate_proj.weight"].shape
        both = b"".join(read(number, "gate_proj") + read(number, "up_proj") for number in range(experts))
        parts[f"{prefix}.gate_up_proj"] = ([experts, 2 * width, hidden], both)
        down = b"".join(read(number, "down_proj") for number in range(experts))
        parts[f"{prefix}.down_proj"] = ([experts, hidden, width], down)
    header, place = {}, 0
    for name, (shape, data) in parts.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [place, place + len(data)]}
        place += len(data)
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for _, data in parts.values()))
    about = {"model": "tinychart-moe", "precision": "bf16", "quantised": ""}
    write_manifest(weights, make_manifest(weights, **about, types={}, source=WeightsSource()))


@pytest.mark.parametrize(
    ("architecture", "scheme", "dtype"),
    [
        ("dense", "FP8_DYNAMIC", "F8_E4M3"),
        ("dense", "W4A16", "I32"),
        ("moe", "W4A16", "I32"),
        ("moe", "NVFP4A16", "U8"),
    ],
)
def test_every_linear_layer_and_nothing_else(
    tmp_path: Path, architecture: str, scheme: str, dtype: str
) -> None:
    source = bf16(tmp_path, architecture)
    layers, experts = shape_of(source)
    manifest = quantise(tmp_path, architecture, "made", {"scheme": scheme})
    expected = layers * (ATTENTION + 3 * max(experts, 1))
    assert manifest.source.quantised_tensors[dtype] == expected
    assert len(manifest.files) >= 5
    assert not (tmp_path / ".made.partial").exists()


def test_the_check_finds_what_changed_what_is_missing_and_what_was_not_asked_for(tmp_path: Path) -> None:
    source = bf16(tmp_path, "dense")
    quantise(tmp_path, "dense", "made", {"scheme": "FP8_DYNAMIC"})
    targets = find_targets(source, experts_only=False)
    made = tmp_path / "made"
    assert check_quantised(source, made, "FP8_DYNAMIC", targets)["F8_E4M3"] == len(targets)
    with pytest.raises(DataError, match="has changed|was to stay as it was"):
        check_quantised(source, made, "FP8_DYNAMIC", targets[1:])
    with pytest.raises(DataError, match="weight_packed is missing"):
        check_quantised(source, made, "W4A16", targets)
    norm = read_tensors(made)["model.norm.weight"]
    changed = tmp_path / "changed"
    shutil.copytree(made, changed)
    with open(changed / norm.file.name, "r+b") as stream:
        stream.seek(norm.begin)
        byte = stream.read(1)
        stream.seek(norm.begin)
        stream.write(bytes([byte[0] ^ 1]))
    with pytest.raises(DataError, match=r"model\.norm\.weight has changed"):
        check_quantised(source, changed, "FP8_DYNAMIC", targets)


def test_experts_only_of_a_dense_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no matrix of an expert"):
        find_targets(bf16(tmp_path, "dense"), experts_only=True)


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    source = bf16(tmp_path, "dense")
    file = source / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataError, match="torn"):
        read_tensors(source)
