"""llm-compressor for real over the small checkpoints, and the check that counts what it did."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.common.errors import DataError
from scripts.quants.manifest import make_manifest, write_manifest
from scripts.quants.model_free import check_quantised, find_targets
from scripts.quants.random_weights import build_random
from scripts.quants.safetensors_files import read_tensors, write_bf16
from scripts.records.manifest import Manifest, WeightsSource
from scripts.records.models import Precision
from tests.engines.serving import ROOT, checkpoint, environment_python

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


EXPERTS, WIDTH, HIDDEN = 20, 128, 256


def draw_qwen35(folder: Path, shape: str, **changes: int) -> Path:
    """A checkpoint in the shape of a Qwen3.5, its first four layers and its MTP layer, small in every direction."""
    config = json.loads((ROOT / "resources/random" / shape / "config.json").read_text())
    small = {"hidden_size": HIDDEN, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2048}
    config["text_config"] |= {**small, "linear_num_key_heads": 2, "linear_num_value_heads": 4, **changes}
    (folder / "shape").mkdir()
    (folder / "shape/config.json").write_text(json.dumps(config))
    (folder / "chat").symlink_to(ROOT / "resources/tinychart")
    entry = Precision(recipe="random", source="shape", chat="chat", seed=1, layers=4)
    build_random(shape, "bf16", entry, folder / "bf16/manifest.json", root=folder)
    return folder / "bf16"


def test_fused_experts_become_what_they_become_one_by_one_and_mtp_stays(tmp_path: Path) -> None:
    widths = {"moe_intermediate_size": WIDTH, "shared_expert_intermediate_size": WIDTH}
    source = draw_qwen35(tmp_path, "qwen35-122b", num_experts=EXPERTS, num_experts_per_tok=2, **widths)
    before = read_tensors(source)
    manifest = quantise(tmp_path, "moe", "made", {"scheme": "W4A16", "experts_only": True})
    assert manifest.source.quantised_tensors == {"I32": EXPERTS * 3 * 4, "unchanged": len(before) - 2 * 4}
    made = read_tensors(tmp_path / "made")
    assert made["mtp.layers.0.mlp.experts.down_proj"].shape == (EXPERTS, HIDDEN, WIDTH)
    mtp = {name: tensor for name, tensor in before.items() if name.startswith("mtp.")}
    assert all(made[name].file.samefile(tensor.file) for name, tensor in mtp.items()), (
        "linked, not written again"
    )
    index = json.loads((tmp_path / "made/model.safetensors.index.json").read_text())["weight_map"]
    assert index == {name: tensor.file.name for name, tensor in made.items()}
    config = json.loads((tmp_path / "made/config.json").read_text())["quantization_config"]
    assert {"re:.*mtp.*", "re:.*visual.*"} <= set(config["ignore"])
    targets = config["config_groups"]["group_0"]["targets"]
    name = "language_model.model.layers.3.mlp.experts.7.up_proj"  # as vLLM names it
    assert any(re.fullmatch(target.removeprefix("re:"), name) for target in targets)

    split_experts(source, tmp_path / "split")
    quantise(tmp_path, "moe", "one-by-one", {"from": "split", "scheme": "W4A16", "experts_only": True})
    single = read_tensors(tmp_path / "one-by-one")
    experts = [name for name in single if ".experts." in name and not name.startswith("mtp.")]
    assert len(experts) == EXPERTS * 3 * 4 * 3
    assert all(single[name].digest() == made[name].digest() for name in experts)

    one, other = (
        made[f"model.language_model.layers.0.mlp.experts.{n}.up_proj.weight_packed"] for n in (0, 1)
    )
    raw = bytearray(one.file.read_bytes())
    raw[one.begin : one.end], raw[other.begin : other.end] = (
        raw[other.begin : other.end],
        raw[one.begin : one.end],
    )
    one.file.write_bytes(raw)
    check = (
        "import sys; from pathlib import Path; from scripts.quants.model_free import check_error, find_targets;"
        "source, made = map(Path, sys.argv[1:]);"
        "targets = [each for each in find_targets(source, experts_only=True) if '.0.mlp.experts.0.' in each];"
        "check_error(source, made, 'W4A16', targets)"
    )
    command = [environment_python("quantise"), "-c", check, str(source), str(tmp_path / "made")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "layers.0.mlp.experts.0.up_proj by W4A16 has a relative error of 1." in done.stderr


def split_experts(source: Path, target: Path) -> None:
    """The checkpoint in one file, with each expert of its layers by itself."""
    target.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(source / name, target / name)
    shapes: dict[str, tuple[int, ...]] = {}
    data: list[bytes] = []
    for name, tensor in read_tensors(source).items():
        raw = tensor.file.read_bytes()[tensor.begin : tensor.end]
        fused = re.fullmatch(r"(model.*\.mlp\.experts)\.(gate_up|down)_proj", name)
        parts = {"gate_up": ("gate", "up"), "down": ("down",)}[fused[2]] if fused else ()
        modules = (
            [f"{fused[1]}.{n}.{part}_proj.weight" for n in range(EXPERTS) for part in parts]
            if fused
            else [name]
        )
        shape = (tensor.shape[1] // len(parts), tensor.shape[2]) if fused else tensor.shape
        size = len(raw) // len(modules)
        shapes |= dict.fromkeys(modules, shape)
        data += [raw[number * size : (number + 1) * size] for number in range(len(modules))]
    write_bf16(target / "model.safetensors", shapes, data)
    about = {"model": "split", "precision": "split", "quantised": ""}
    write_manifest(target, make_manifest(target, **about, types={}, source=WeightsSource()))


def test_blocks_of_a_dense_model_with_linear_attention(tmp_path: Path) -> None:
    source = draw_qwen35(tmp_path, "qwen35-27b", intermediate_size=512)
    quantise(tmp_path, "dense", "made", {"scheme": "FP8_BLOCK"})
    made = read_tensors(tmp_path / "made")
    fp8 = {name for name, tensor in made.items() if tensor.dtype == "F8_E4M3"}
    at = "model.language_model.layers."
    linear = {
        f"{at}{n}.linear_attn.{part}" for n in range(3) for part in ("in_proj_qkv", "in_proj_z", "out_proj")
    }
    full = {f"{at}3.self_attn.{part}_proj" for part in "qkvo"}
    feed_forward = {f"{at}{n}.mlp.{part}_proj" for n in range(4) for part in ("gate", "up", "down")}
    assert fp8 == {f"{name}.weight" for name in linear | full | feed_forward}
    assert made[f"{at}0.mlp.up_proj.weight_scale"].shape == (4, 2)
    assert read_tensors(source)["mtp.fc.weight"].digest() == made["mtp.fc.weight"].digest()


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
    if (architecture, scheme) == ("moe", "NVFP4A16"):  # vLLM takes gate's scale for both
        made = read_tensors(tmp_path / "made")
        gates = [name for name in made if name.endswith(".gate_proj.weight_global_scale")]
        assert len(gates) == layers * experts
        assert all(made[name].digest() == made[name.replace(".gate_", ".up_")].digest() for name in gates)
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
