"""The recipe dequantise: a quantised GGUF file of a Llama model as a bf16 checkpoint and a GGUF file of the same bits.

Each weight is what llama.cpp's dequantisation makes of it (by the gguf package), rounded to bf16; vectors stay in
float32 in the GGUF file, as llama.cpp's own converter has them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import DataError
from scripts.common.files import write_json
from scripts.quants.checkpoint import CONFIG
from scripts.quants.safetensors_files import write_bf16

# A Llama checkpoint's names by GGUF's.
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TENSOR = re.compile(r"(?:blk\.(\d+)\.)?(\w+)\.weight")


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of float32 values rounded to bf16, to the nearest, ties to even."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def dequantise(source: Path, folder: Path, output: Path) -> None:
    """Write model.safetensors and config.json into `folder`, and the GGUF file `output`, from the GGUF file `source`.

    DataError for another architecture than Llama's, or a tensor that it does not have.
    """
    reader = gguf.GGUFReader(source)

    def value(key: str) -> Any:  # what a file's maker wrote
        return reader.fields[key].contents() if key in reader.fields else None

    if value("general.architecture") != "llama":
        raise DataError(
            f"only Llama models are dequantised, not {value('general.architecture')}", where=str(source)
        )
    heads, kv_heads = value("llama.attention.head_count"), value("llama.attention.head_count_kv")
    writer = _copied(reader, output)
    checkpoint: dict[str, NDArray[np.uint16]] = {}
    for tensor in reader.tensors:
        bits = to_bf16(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
        if bits.ndim == 1:
            writer.add_tensor(tensor.name, (bits.astype(np.uint32) << 16).view(np.float32))
        else:
            writer.add_tensor(tensor.name, bits.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            bits = _unpermuted(bits, heads if "attn_q" in tensor.name else kv_heads)
        checkpoint[_name(tensor.name, source)] = bits
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    shapes = {name: bits.shape for name, bits in sorted(checkpoint.items())}
    write_bf16(folder / "model.safetensors", shapes, (checkpoint[name].tobytes() for name in shapes))
    epsilon = value("llama.attention.layer_norm_rms_epsilon")
    width = value("llama.embedding_length")
    write_json(
        folder / CONFIG,
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": len(checkpoint["model.embed_tokens.weight"]),
            "hidden_size": width,
            "intermediate_size": value("llama.feed_forward_length"),
            "num_hidden_layers": value("llama.block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": width // heads,
            "max_position_embeddings": value("llama.context_length"),
            "rope_theta": value("llama.rope.freq_base"),
            "rms_norm_eps": float(np.format_float_positional(np.float32(epsilon), unique=True)),
            "hidden_act": "silu",
            "tie_word_embeddings": "lm_head.weight" not in checkpoint,
            "bos_token_id": value("tokenizer.ggml.bos_token_id"),
            "eos_token_id": value("tokenizer.ggml.eos_token_id"),
            "torch_dtype": "bfloat16",
        },
    )


def _copied(reader: gguf.GGUFReader, output: Path) -> gguf.GGUFWriter:
    """A writer with all that a file says of itself, but for the type of its weights."""
    writer = gguf.GGUFWriter(output, "llama")
    for field in reader.fields.values():
        if field.name in (
            gguf.Keys.General.ARCHITECTURE,
            gguf.Keys.General.FILE_TYPE,
        ) or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    return writer


def _name(tensor: str, source: Path) -> str:
    match = _TENSOR.fullmatch(tensor)
    if match is None or match[2] not in NAMES:
        raise DataError(f"the tensor {tensor} is none of a Llama model", where=str(source))
    layer = f"model.layers.{match[1]}." if match[1] else ""
    return f"{layer}{NAMES[match[2]]}.weight"


def _unpermuted(bits: NDArray[np.uint16], heads: int) -> NDArray[np.uint16]:
    """A projection's rows in a checkpoint's order: GGUF interleaves the two halves that are rotated together."""
    rows, columns = bits.shape
    return bits.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
