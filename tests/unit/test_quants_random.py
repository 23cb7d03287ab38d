"""Random checkpoints: the same bytes whoever draws them, of the shapes and sizes that were asked for."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from scripts.common.configs import load_yaml
from scripts.common.errors import ConfigError, DataError
from scripts.common.files import read_json
from scripts.quants.checkpoint import ModelConfig, keep_layers, read_config, read_hybrid_config
from scripts.quants.manifest import verify_manifest
from scripts.quants.random_weights import (
    Drawn,
    Scales,
    build_random,
    draw,
    extend_tokenizer,
    plan_hybrid_layers,
    plan_layers,
    to_bf16,
    write_safetensors,
)
from scripts.quants.safetensors_files import read_tensors
from scripts.records.base import convert
from scripts.records.manifest import Manifest
from scripts.records.models import Precision

ROOT = Path(__file__).parents[2]
SMALL = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "hidden_size": 64,
    "head_dim": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_experts": 4,
    "vocab_size": 2000,
    "tie_word_embeddings": False,
}


def config(model_type: str) -> ModelConfig:
    return convert(ModelConfig, {**SMALL, "model_type": model_type}, "config.json")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A root with a small MoE's shape and tinychart's chat form."""
    shape = tmp_path / "shape"
    shape.mkdir()
    (shape / "config.json").write_text(json.dumps({**SMALL, "model_type": "qwen3_moe"}))
    (tmp_path / "chat").symlink_to(ROOT / "resources/tinychart")
    return tmp_path


ENTRY = Precision(recipe="random", source="shape", chat="chat", seed=5, head_scale=4.0)


@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**126), max_value=2.0**126)
    )
)
def test_bf16_is_the_nearest(values: list[float]) -> None:
    exact = np.array(values, dtype=np.float32)
    bits = to_bf16(exact)
    back = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    near = exact.astype(np.float64)
    for step in (-1, 1):
        other = ((bits.astype(np.int64) + step).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        usable = np.isfinite(other) & (np.sign(other) == np.sign(back)) & np.isfinite(back)
        assert (np.abs(back - near)[usable] <= np.abs(other - near)[usable]).all()


def test_a_tie_goes_to_the_even_one() -> None:
    ties = np.array([0x3F808000, 0x3F818000], dtype=np.uint32).view(np.float32)
    assert to_bf16(ties).tolist() == [0x3F80, 0x3F82]


def test_a_tensor_depends_on_its_name_and_seed_alone() -> None:
    one, other = Drawn("a.weight", (40, 30), 0.5), Drawn("b.weight", (40, 30), 0.5)
    assert (draw(one, 1) == draw(one, 1)).all()
    assert (draw(one, 1) != draw(other, 1)).any()
    assert (draw(one, 1) != draw(one, 2)).any()


def test_a_matrix_has_the_deviation_it_was_asked_for() -> None:
    bits = draw(Drawn("a.weight", (400, 400), 0.05), 3)
    values = (bits.astype(np.uint32) << 16).view(np.float32)
    assert abs(values.std() - 0.05) < 0.001
    assert abs(values.mean()) < 0.001


@pytest.mark.parametrize("name", ["dense", "moe"])
def test_the_shapes_in_resources_have_the_sizes_that_their_descriptions_say(name: str) -> None:
    shape = read_config(ROOT / "resources/random" / name)
    layers = plan_layers(shape, Scales(head=4, attention=2))
    parameters = sum(tensor.bytes // 2 for layer in layers for tensor in layer)
    assert len(layers) == shape.num_hidden_layers + 1
    assert parameters == pytest.approx({"dense": 1.5e9, "moe": 4.0e9}[name], rel=0.05)


def test_the_shape_of_qwen35_has_the_tensors_that_its_architecture_names() -> None:
    shape = read_hybrid_config(ROOT / "resources/random/dense-gdn")
    assert shape is not None
    layers = plan_hybrid_layers(shape, Scales(head=4, attention=2))
    tensors = {tensor.name: tensor for layer in layers for tensor in layer}
    assert sum(tensor.bytes // 2 for tensor in tensors.values()) == pytest.approx(3.3e9, rel=0.05)
    of_attention = {name.split(".")[3] for name in tensors if ".self_attn." in name}
    assert of_attention == {"3", "7"}
    at = "model.language_model.layers."
    assert tensors[f"{at}0.linear_attn.in_proj_qkv.weight"].shape == (2 * 16 * 128 + 48 * 128, 5120)
    assert tensors[f"{at}3.self_attn.q_proj.weight"].shape == (2 * 24 * 256, 5120)
    assert tensors[f"{at}3.self_attn.q_norm.weight"].constant == 1.0
    assert tensors[f"{at}0.input_layernorm.weight"].constant == 0.0


def test_a_mixture_of_experts_of_qwen35_has_its_shared_expert_and_its_router() -> None:
    shape = read_hybrid_config(ROOT / "resources/random/dense-gdn")
    assert shape is not None
    moe = msgspec.structs.replace(
        shape, num_experts=4, moe_intermediate_size=32, shared_expert_intermediate_size=48
    )
    names = {tensor.name: tensor.shape for tensor in plan_hybrid_layers(moe, Scales())[0]}
    at = "model.language_model.layers.0.mlp."
    assert names[f"{at}gate.weight"] == (4, 5120)
    assert names[f"{at}experts.gate_up_proj"] == (4, 64, 5120)
    assert names[f"{at}experts.down_proj"] == (4, 5120, 32)
    assert names[f"{at}shared_expert.up_proj.weight"] == (48, 5120)
    assert names[f"{at}shared_expert_gate.weight"] == (1, 5120)
    assert f"{at}gate_proj.weight" not in names


@pytest.mark.parametrize(
    ("size", "layers", "billions"), [("27b", 8, 6.0), ("122b", 8, 24.1), ("397b", 4, 34.9)]
)
def test_a_model_of_qwen35_has_so_many_layers_of_its_shape_and_the_mtp_layer(
    size: str, layers: int, billions: float, tmp_path: Path
) -> None:
    entry = load_yaml(ROOT / "config/models.yaml")[f"random-qwen35-{size}"]["precisions"]["bf16"]
    assert entry["layers"] == layers
    keep_layers(ROOT / entry["source"], tmp_path, layers)
    assert read_json(tmp_path / "config.json")["text_config"]["num_hidden_layers"] == layers
    shape = read_hybrid_config(tmp_path)
    assert shape is not None
    tensors = [tensor for layer in plan_hybrid_layers(shape, Scales()) for tensor in layer]
    assert sum(tensor.bytes for tensor in tensors) == pytest.approx(2e9 * billions, rel=0.01)
    assert entry["disk_gb"] == pytest.approx(2 * billions, rel=0.02)
    names = {tensor.name for tensor in tensors}
    assert f"model.language_model.layers.{layers - 1}.self_attn.k_proj.weight" in names
    assert {"mtp.fc.weight", "mtp.norm.weight", "mtp.layers.0.self_attn.q_norm.weight"} <= names
    assert all(tensor.shape[0] % tensor.parts == 0 for tensor in tensors)
    assert max(tensor.bytes // tensor.parts for tensor in tensors) < 1e9, "what a core holds is bounded"


def test_more_layers_than_the_shape_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="65 layers are asked for, and the shape has 64"):
        keep_layers(ROOT / "resources/random/qwen35-27b", tmp_path, 65)


def test_a_tensor_in_parts_is_written_whole(tmp_path: Path) -> None:
    tensor = Drawn("a", (6, 12), 1.0, parts=3, diagonal=100.0)
    write_safetensors({tmp_path / "a.safetensors": [tensor]}, 1)
    place = read_tensors(tmp_path)["a"]
    bits = np.frombuffer((tmp_path / "a.safetensors").read_bytes()[place.begin : place.end], dtype=np.uint16)
    values = (bits.astype(np.uint32) << 16).view(np.float32).reshape(6, 12)
    assert (bits == np.concatenate([draw(tensor, 1, part).ravel() for part in range(3)])).all()
    assert ((values > 50) == np.eye(6, 12, dtype=bool)).all()
    assert len(np.unique(values)) > 60, "no part repeats another"


def test_a_mean_moves_what_is_drawn() -> None:
    values = (draw(Drawn("a", (10_000,), 1.0, mean=-1.6), 1).astype(np.uint32) << 16).view(np.float32)
    assert abs(values.mean() + 1.6) < 0.05


def test_the_scales_touch_the_head_and_the_norms_of_queries_and_keys_alone() -> None:
    plain, scaled = (
        {tensor.name: tensor for layer in plan_layers(config("qwen3"), scales) for tensor in layer}
        for scales in (Scales(), Scales(head=4, attention=2))
    )
    changed = {name for name in plain if plain[name] != scaled[name]}
    norms = {f"model.layers.{n}.self_attn.{which}_norm.weight" for n in (0, 1) for which in "qk"}
    assert changed == {"lm_head.weight", *norms}


def test_another_architecture_is_refused() -> None:
    with pytest.raises(ConfigError, match="llama"):
        plan_layers(config("llama"), Scales())


def test_a_safetensors_file_holds_what_was_drawn(tmp_path: Path) -> None:
    tensors = [Drawn(f"t{n}.weight", (n + 1, 8), 0.1) for n in range(100)] + [Drawn("n", (4,), constant=2.0)]
    write_safetensors({tmp_path / "a.safetensors": tensors}, 9)
    found = read_tensors(tmp_path)
    assert [(name, tensor.shape, tensor.dtype) for name, tensor in found.items()] == [
        (each.name, each.shape, "BF16") for each in tensors
    ]
    raw = (tmp_path / "a.safetensors").read_bytes()
    for each in (tensors[0], tensors[70], tensors[-1]):
        place = found[each.name]
        assert raw[place.begin : place.end] == draw(each, 9).tobytes()
    assert struct.unpack("<4H", raw[-8:]) == (0x4000,) * 4


def test_a_checkpoint_is_the_same_twice_and_its_manifest_holds(project: Path) -> None:
    for name in ("one", "two"):
        build_random("m", "bf16", ENTRY, project / name / "manifest.json", root=project)
    one, two = (verify_manifest(project / name / "manifest.json") for name in ("one", "two"))
    assert one == two
    assert one.quantised == "nothing (bf16)"
    assert one.tensor_types["experts"] == {"BF16": 2 * 4 * 3}
    assert read_json(project / "one" / "manifest.json") == {**one.as_json(), "version": Manifest.VERSION}
    made_from = {"recipe": "random", "source": "shape", "seed": 5, "head_scale": 4.0, "attention_scale": 1.0}
    assert one.source.as_json() == made_from
    index = read_json(project / "one" / "model.safetensors.index.json")
    assert set(index["weight_map"]) == set(read_tensors(project / "one"))
    tokenizer = Tokenizer.from_file(str(project / "one" / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 2000
    assert tokenizer.decode([1999, 1998]) == "w01999w01998"


def test_the_longer_tokenizer_encodes_as_the_one_it_was_made_from(project: Path) -> None:
    build_random("m", "bf16", ENTRY, project / "one" / "manifest.json", root=project)
    text = "Question 1: What is the close of bar 7? w01999"
    ids = [
        Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
        for folder in (project / "one", project / "chat")
    ]
    assert ids[0] == ids[1]


def test_a_vocabulary_smaller_than_the_tokenizer_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1733"):
        extend_tokenizer(project / "chat/tokenizer.json", tmp_path / "tokenizer.json", 1000)
