"""GGUF files: written from a Qwen3 or Qwen3-MoE checkpoint, quantised by llama.cpp, and read back.

llama.cpp's own converter refuses a tokenizer it does not know; token in, token out needs none in the
file (`no_vocab`), so the `gguf` package writes the file here.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import ConfigError, DataError, nearest
from scripts.common.files import read_json
from scripts.quants.checkpoint import CONFIG, ModelConfig, read_config
from scripts.quants.safetensors_files import read_file

_ARCHITECTURES = {
    "Qwen3ForCausalLM": gguf.MODEL_ARCH.QWEN3,
    "Qwen3MoeForCausalLM": gguf.MODEL_ARCH.QWEN3MOE,
}
KEPT = (r"attn_", r"ffn_(gate|up|down)\.weight", r"shexp")  # what else llama.cpp would quantise
EXPERT = re.compile(r"(model\.layers\.\d+\.mlp\.experts)\.(\d+)\.(\w+_proj)\.weight")


def read_bf16(path: Path) -> dict[str, NDArray[np.uint16]]:
    """All tensors of a bf16 safetensors file as their raw 16 bits, numpy having no bf16."""
    tensors: dict[str, NDArray[np.uint16]] = {}
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    for name, tensor in read_file(path).items():
        if tensor.dtype != "BF16":
            raise DataError(f"the tensor {name} is {tensor.dtype}, not BF16", where=str(path))
        tensors[name] = raw[tensor.begin : tensor.end].view(np.uint16).reshape(tensor.shape)
    return tensors


def widen(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bf16 bits to float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _stack_experts(tensors: dict[str, NDArray[np.uint16]]) -> dict[str, NDArray[np.uint16]]:
    """The experts' matrices of each layer as one tensor [experts, rows, columns], as GGUF holds them."""
    stacked: dict[str, NDArray[np.uint16]] = {}
    experts: dict[str, dict[int, NDArray[np.uint16]]] = {}
    for name, value in tensors.items():
        match = EXPERT.fullmatch(name)
        if match is None:
            stacked[name] = value
        else:
            experts.setdefault(f"{match[1]}.{match[3]}.weight", {})[int(match[2])] = value
    for name, each in experts.items():
        stacked[name] = np.stack([each[number] for number in range(len(each))])
    return stacked


def write_gguf(checkpoint: Path, output: Path) -> None:
    """Write the bf16 checkpoint in the folder `checkpoint` as a bf16 GGUF file.

    The vocabulary of a tokenizer.json beside it goes in too: llama.cpp's server wants one, to know the end of a
    generation. Nothing here ever tokenizes by it.
    Matrices keep their bits; vectors and routers are widened to float32, as llama.cpp's converter does.
    """
    config = read_config(checkpoint)
    name = config.architectures[0]
    if name not in _ARCHITECTURES:
        raise ConfigError(
            f"no GGUF is written for the architecture {name}",
            where=str(checkpoint / CONFIG),
            remedy=nearest(name, _ARCHITECTURES),
        )
    architecture = _ARCHITECTURES[name]
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    writer = gguf.GGUFWriter(output, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    _add_vocabulary(writer, checkpoint, config)
    if config.num_experts:
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    for key, bits in sorted(_stack_experts(read_bf16(checkpoint / "model.safetensors")).items()):
        target = names.get_name(key, try_suffixes=(".weight",))
        if target is None:
            raise DataError(f"GGUF has no name for the tensor {key}", where=str(checkpoint))
        if bits.ndim == 1 or key.endswith("mlp.gate.weight"):
            writer.add_tensor(target, widen(bits))
        else:
            writer.add_tensor(target, bits.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def is_written(checkpoint: Path) -> bool:
    """Whether write_gguf knows the architecture of the checkpoint in the folder."""
    return read_config(checkpoint).architectures[0] in _ARCHITECTURES


def _add_vocabulary(writer: gguf.GGUFWriter, checkpoint: Path, config: ModelConfig) -> None:
    """The tokens of tokenizer.json (byte-level BPE) with its special ids, or none where there is no such file."""
    path = checkpoint / "tokenizer.json"
    if not path.is_file():
        writer.add_tokenizer_model("no_vocab")
        return
    tokenizer = read_json(path)
    tokens = [f"[unused{index}]" for index in range(config.vocab_size)]
    types = [gguf.TokenType.UNUSED] * config.vocab_size
    for text, index in tokenizer["model"]["vocab"].items():
        tokens[index], types[index] = text, gguf.TokenType.NORMAL
    for each in tokenizer["added_tokens"]:
        kind = gguf.TokenType.CONTROL if each["special"] else gguf.TokenType.USER_DEFINED
        tokens[each["id"]], types[each["id"]] = each["content"], kind
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(
        [each if isinstance(each, str) else " ".join(each) for each in tokenizer["model"]["merges"]]
    )
    specials = read_json(checkpoint / "tokenizer_config.json")
    for key, add in (("eos_token", writer.add_eos_token_id), ("pad_token", writer.add_pad_token_id)):
        if specials.get(key) in tokens:
            add(tokens.index(specials[key]))
    writer.add_add_bos_token(False)


def quantise_gguf(source: Path, output: Path, file_type: str, *, experts_only: bool = False) -> None:
    """Quantise a GGUF file by llama.cpp's own quantiser; `file_type` as llama-quantize names it: `Q4_K_M`.

    `experts_only`: the experts' matrices alone, all others stay in bf16.
    """
    import ctypes

    import llama_cpp

    known = {
        name.removeprefix("LLAMA_FTYPE_MOSTLY_"): name
        for name in dir(llama_cpp)
        if name.startswith("LLAMA_FTYPE_MOSTLY_")
    }
    if file_type not in known:
        raise ConfigError(
            f"llama.cpp has no file type {file_type!r}",
            where="config/models.yaml",
            remedy=nearest(file_type, known),
        )
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, known[file_type])
    parameters.nthread = 1
    if experts_only:
        bf16 = int(gguf.GGMLQuantizationType.BF16)
        override = llama_cpp.llama_model_tensor_override
        kept = [override(pattern.encode(), bf16) for pattern in KEPT]
        overrides = (override * (len(kept) + 1))(*kept, override(None, 0))  # an empty one ends the list
        parameters.tt_overrides = ctypes.cast(overrides, type(parameters.tt_overrides))
        parameters.token_embedding_type = parameters.output_tensor_type = bf16
    code = llama_cpp.llama_model_quantize(
        str(source).encode(), str(output).encode(), ctypes.byref(parameters)
    )
    if code != 0:
        raise DataError(f"llama.cpp could not quantise to {file_type} (code {code})", where=str(source))


def quantise_arguments(*, experts_only: bool) -> list[str]:
    """What has llama-quantize do as quantise_gguf does: the options that come before its files."""
    if not experts_only:
        return []
    kept = [part for pattern in KEPT for part in ("--tensor-type", f"{pattern}=bf16")]
    return [*kept, "--token-embedding-type", "bf16", "--output-tensor-type", "bf16"]


def tensor_types(path: Path) -> dict[str, dict[str, int]]:
    """How many tensors of each group have which type: {"experts": {"Q4_K": 18}, …}, read from the file."""
    groups: dict[str, Counter[str]] = {}
    for tensor in gguf.GGUFReader(path).tensors:
        groups.setdefault(_group(tensor.name), Counter())[tensor.tensor_type.name] += 1
    return {group: dict(sorted(count.items())) for group, count in sorted(groups.items())}


def _group(name: str) -> str:
    """What a tensor belongs to, by its GGUF name."""
    if "_exps" in name:
        return "experts"
    if "ffn_gate_inp" in name:
        return "router"
    if "norm" in name:
        return "norms"
    if ".attn_" in name:
        return "attention"
    if ".ffn_" in name:
        return "feed-forward"
    return "embedding" if "token_embd" in name else "output" if name.startswith("output") else "other"
