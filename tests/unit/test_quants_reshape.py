"""A trained model in another shape: what its files say, what is refused, and who may read a file with one expert.

That it is the same function is tested by torch (tests/engines/test_reshape.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.common.errors import ConfigError, DataError
from scripts.common.files import read_json, write_json
from scripts.engines.start import start_engine
from scripts.quants.build import build_quant
from scripts.quants.checkpoint import CHAT_FILES, ONE_EXPERT, one_expert
from scripts.quants.dequantise import to_bf16
from scripts.quants.gguf_files import read_bf16, widen
from scripts.quants.manifest import make_manifest, verify_manifest, write_manifest
from scripts.quants.reshape import reshape, reshaped, shaped_config
from scripts.quants.safetensors_files import read_tensors, write_bf16
from scripts.records.manifest import WeightsSource
from scripts.records.models import Precision, Shape, source_quant
from tests.engines.serving import kind_settings
from tests.unit.shapes import QWEN3, dense_tensors, typed

TWIN = Shape(hidden_size=48, experts=4, top_k=2, one_expert=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The quant of a small dense model with random weights, as results/quants holds it; its folder."""
    folder = tmp_path / "results/quants/small/bf16"
    folder.mkdir(parents=True)
    write_json(folder / "config.json", QWEN3)
    tensors = {name: to_bf16(values.astype(np.float32)) for name, values in dense_tensors(QWEN3).items()}
    shapes = {name: bits.shape for name, bits in tensors.items()}
    write_bf16(folder / "model.safetensors", shapes, (bits.tobytes() for bits in tensors.values()))
    for name in CHAT_FILES:
        write_json(folder / name, {"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": []})
    write_manifest(folder, make_manifest(folder, model="small", precision="bf16", source=WeightsSource()))
    return folder


def build(source: Path, model: str, shape: Shape) -> Path:
    entry = Precision(recipe="reshape", from_="small/bf16", seed=3, shape=shape)
    folder = source.parent.parent / model / "bf16"
    build_quant(model, "bf16", entry, folder / "manifest.json")
    return folder


def test_a_file_with_one_expert_says_so_and_holds_what_no_model_knows(source: Path) -> None:
    folder = build(source, "twin", TWIN)
    manifest = verify_manifest(folder / "manifest.json")
    assert manifest.source.shape == TWIN and manifest.source.from_ == "small/bf16"
    assert source_quant("twin", "small/bf16") == ("small", "bf16") == source_quant("small", "bf16")
    assert manifest.quantised == "nothing (bf16)"
    config = read_json(folder / "config.json")
    assert config["num_experts"] == config[ONE_EXPERT] == one_expert(folder) == 4
    tensors = read_tensors(folder)
    assert tensors[ONE_EXPERT].shape == (1,)
    experts = [name for name in tensors if ".experts." in name]
    assert len(experts) == 3 * config["num_hidden_layers"]
    assert all(".experts.0." in name for name in experts)
    assert tensors["model.layers.1.mlp.gate.weight"].shape == (4, 48)


def test_no_other_engine_is_given_a_file_with_one_expert(source: Path) -> None:
    folder = build(source, "twin", TWIN)
    with pytest.raises(ConfigError, match=r"transformers is not told to take the one expert.*\n.*with vLLM"):
        start_engine(kind_settings("transformers"), folder, folder / "engine.log")


def test_a_whole_mixture_has_a_gguf_file_of_the_same_experts(source: Path) -> None:
    folder = build(source, "whole", Shape(hidden_size=48, experts=4, top_k=2))
    assert (folder / "model.gguf").is_file() and not one_expert(folder)
    tensors = read_tensors(folder)
    digests = {
        number: [
            tensors[f"model.layers.0.mlp.experts.{number}.{name}_proj.weight"].digest()
            for name in ("gate", "up", "down")
        ]
        for number in range(4)
    }
    assert digests[0] == digests[1] == digests[2] == digests[3]
    other = build(source, "spread", Shape(hidden_size=48, experts=4, top_k=2, spread=0.1))
    spread = [
        read_tensors(other)[f"model.layers.0.mlp.experts.{n}.up_proj.weight"].digest() for n in range(4)
    ]
    assert len(set(spread)) == 4


def test_dense_and_mixture_have_the_same_weights_and_equal_largest_ones(source: Path) -> None:
    """Formats with one scale a matrix so have one scale for both that a kernel computes together."""
    dense, twin = (build(source, name, shape) for name, shape in (("d", Shape(hidden_size=48)), ("t", TWIN)))
    one, other = (read_bf16(folder / "model.safetensors") for folder in (dense, twin))
    for name, bits in one.items():
        renamed = name.replace(".mlp.", ".mlp.experts.0.")
        assert np.array_equal(bits, other.get(name, other.get(renamed)))
    for layer in range(2):
        gate, up = (widen(one[f"model.layers.{layer}.mlp.{name}_proj.weight"]) for name in ("gate", "up"))
        assert np.abs(gate).max() == np.abs(up).max()


def test_what_cannot_be_is_refused(source: Path, tmp_path: Path) -> None:
    config = typed(QWEN3)
    for shape, message in (
        (Shape(hidden_size=16), "hidden_size cannot be 16: it is at least 32"),
        (Shape(hidden_size=32, intermediate_size=8), "intermediate_size cannot be 8"),
        (Shape(hidden_size=32, key_value_heads=1), "key_value_heads cannot be 1"),
        (Shape(hidden_size=32, experts=2, top_k=3), "experts cannot be 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            shaped_config(config, QWEN3, shape)
    twin = build(source, "twin", TWIN)
    with pytest.raises(ConfigError, match="knows qwen3 and llama, not qwen3_moe"):
        reshape(twin, tmp_path, TWIN, 1)
    biased = {"model.layers.0.self_attn.q_proj.bias": (4,)}
    write_bf16(source / "more.safetensors", biased, [bytes(8)])
    with pytest.raises(
        DataError, match=r"does not know the tensor model\.layers\.0\.self_attn\.q_proj\.bias"
    ):
        reshape(source, tmp_path, TWIN, 1)


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    config, tensors = typed(QWEN3), dense_tensors(QWEN3)
    made = [dict(reshaped(config, tensors, TWIN, seed)) for seed in (1, 1, 2)]
    name = "model.embed_tokens.weight"
    assert np.array_equal(made[0][name], made[1][name])
    assert not np.allclose(made[0][name], made[2][name])
