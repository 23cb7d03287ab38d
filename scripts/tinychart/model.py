"""Qwen3 and Qwen3-MoE in plain PyTorch, for training only: every engine runs the exported checkpoint.

Parameter names are those of the published checkpoints, except that a layer's experts are kept as three
stacked tensors here and written one by one. Source of the architecture: transformers' modeling_qwen3.py
and modeling_qwen3_moe.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.records.base import Record


@dataclass(frozen=True)
class ModelSpec:
    """Sizes of a small model; `experts` 0 is dense."""

    vocabulary: int
    experts: int = 0
    active_experts: int = 2
    width: int = 256
    layers: int = 6
    heads: int = 8
    kv_heads: int = 4
    head_size: int = 64
    hidden: int = 1024
    expert_hidden: int = 256
    rope_theta: float = 10_000.0
    context: int = 4096


class Qwen3Config(Record, frozen=True, kw_only=True):
    """config.json of a dense checkpoint, by transformers' own names."""

    architectures: tuple[str, ...]
    model_type: str
    attention_bias: bool = False
    attention_dropout: float = 0.0
    bos_token_id: int = 0
    eos_token_id: int = 2
    pad_token_id: int = 0
    head_dim: int
    hidden_act: str = "silu"
    hidden_size: int
    initializer_range: float = 0.02
    intermediate_size: int
    max_position_embeddings: int
    num_attention_heads: int
    num_hidden_layers: int
    num_key_value_heads: int
    rms_norm_eps: float = 1e-6
    rope_scaling: None = None
    rope_theta: float
    sliding_window: None = None
    tie_word_embeddings: bool = True
    torch_dtype: str = "bfloat16"
    use_cache: bool = True
    use_sliding_window: bool = False
    vocab_size: int


class Qwen3MoeConfig(Qwen3Config, frozen=True, kw_only=True):
    """The same of a mixture of experts."""

    decoder_sparse_step: int = 1
    mlp_only_layers: tuple[int, ...] = ()
    moe_intermediate_size: int
    norm_topk_prob: bool = True
    num_experts: int
    num_experts_per_tok: int
    output_router_logits: bool = False
    router_aux_loss_coef: float = 0.001


def hugging_face_config(spec: ModelSpec) -> Qwen3Config:
    """config.json of the exported checkpoint."""
    config = Qwen3Config(
        architectures=("Qwen3MoeForCausalLM" if spec.experts else "Qwen3ForCausalLM",),
        model_type="qwen3_moe" if spec.experts else "qwen3",
        head_dim=spec.head_size,
        hidden_size=spec.width,
        intermediate_size=spec.hidden,
        max_position_embeddings=spec.context,
        num_attention_heads=spec.heads,
        num_hidden_layers=spec.layers,
        num_key_value_heads=spec.kv_heads,
        rope_theta=spec.rope_theta,
        vocab_size=spec.vocabulary,
    )
    if not spec.experts:
        return config
    return Qwen3MoeConfig(
        **msgspec.structs.asdict(config),
        moe_intermediate_size=spec.expert_hidden,
        num_experts=spec.experts,
        num_experts_per_tok=spec.active_experts,
    )


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=0.02)
    return layer


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys; input and output [rows, ids, width]."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.q_proj = _linear(spec.width, spec.heads * spec.head_size)
        self.k_proj = _linear(spec.width, spec.kv_heads * spec.head_size)
        self.v_proj = _linear(spec.width, spec.kv_heads * spec.head_size)
        self.o_proj = _linear(spec.heads * spec.head_size, spec.width)
        self.q_norm = nn.RMSNorm(spec.head_size, eps=1e-6)
        self.k_norm = nn.RMSNorm(spec.head_size, eps=1e-6)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attend causally; `cos` and `sin` are [ids, head size]."""
        rows, length, _ = x.shape
        split = (rows, length, -1, self.spec.head_size)
        q = _rotate(self.q_norm(self.q_proj(x).view(split)).transpose(1, 2), cos, sin)
        k = _rotate(self.k_norm(self.k_proj(x).view(split)).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(split).transpose(1, 2)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(rows, length, -1))


class Dense(nn.Module):
    """The gated feed-forward layer; its balance loss is zero."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.gate_proj = _linear(spec.width, spec.hidden)
        self.up_proj = _linear(spec.width, spec.hidden)
        self.down_proj = _linear(spec.hidden, spec.width)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [rows, ids, width]; there are no experts to hide."""
        y = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return y, x.new_zeros((), dtype=torch.float32)


class Experts(nn.Module):
    """The mixture layer. Returns the output and the load-balance loss.

    All experts compute all ids, and gates of zero take out those that the router did not choose: experts as small as
    these cost less so than sorting the ids by expert.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.gate = _linear(spec.width, spec.experts)
        shape = (spec.experts, spec.expert_hidden, spec.width)
        self.gate_proj = nn.Parameter(torch.randn(shape) * 0.02)
        self.up_proj = nn.Parameter(torch.randn(shape) * 0.02)
        self.down_proj = nn.Parameter(torch.randn(shape[0], shape[2], shape[1]) * 0.02)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [rows, ids, width]; `hidden` [rows, experts]: true for the experts that a row may not use."""
        experts, active = self.spec.experts, self.spec.active_experts
        routed = self.gate(x).float()
        if hidden is not None:
            routed = routed.masked_fill(hidden[:, None], -torch.inf)
        share = functional.softmax(routed, dim=-1)
        best, chosen = share.topk(active, dim=-1)
        gates = torch.zeros_like(share).scatter(-1, chosen, best / best.sum(-1, keepdim=True))
        load = (gates > 0).float().mean((0, 1)) / active
        balance = experts * (load * share.mean((0, 1))).sum()
        gated = functional.silu(functional.linear(x, self.gate_proj.flatten(0, 1)))
        made = gated * functional.linear(x, self.up_proj.flatten(0, 1))
        weighted = made.unflatten(-1, (experts, -1)) * gates.to(made.dtype)[..., None]
        y = functional.linear(weighted.flatten(-2), self.down_proj.transpose(0, 1).flatten(1))
        return y.to(x.dtype), balance


class Layer(nn.Module):
    """One transformer layer."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(spec.width, eps=1e-6)
        self.self_attn = Attention(spec)
        self.post_attention_layernorm = nn.RMSNorm(spec.width, eps=1e-6)
        self.mlp: nn.Module = Experts(spec) if spec.experts else Dense(spec)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        """x [rows, ids, width] to the same shape, and the balance loss."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        y, balance = self.mlp(self.post_attention_layernorm(x), hidden)
        return x + y, balance


class TinyModel(nn.Module):
    """Ids [rows, ids] to the last hidden state [rows, ids, width] and the mean balance loss."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.embed_tokens = nn.Embedding(spec.vocabulary, spec.width)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(spec) for _ in range(spec.layers))
        self.norm = nn.RMSNorm(spec.width, eps=1e-6)
        half = torch.arange(0, spec.head_size, 2, dtype=torch.float32) / spec.head_size
        angles = torch.outer(torch.arange(spec.context, dtype=torch.float32), spec.rope_theta**-half)
        self.register_buffer("angles", torch.cat((angles, angles), dim=-1), persistent=False)

    def forward(self, ids: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """ids [rows, ids]; `hidden` [layers, rows, experts]: true for the experts that a row may not use."""
        x = self.embed_tokens(ids)
        angles = self.angles[: ids.shape[1]]
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        balances = []
        for number, layer in enumerate(self.layers):
            x, balance = layer(x, cos, sin, None if hidden is None else hidden[number])
            balances.append(balance)
        return self.norm(x), torch.stack(balances).mean()

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states to logits; the embedding is tied."""
        return functional.linear(hidden, self.embed_tokens.weight)


def exported_tensors(model: TinyModel) -> dict[str, Tensor]:
    """The checkpoint's tensors in bf16 under their published names, experts one by one, on the CPU."""
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        value = value.detach().to(torch.bfloat16).cpu()
        if value.dim() == 3:
            prefix, _, part = name.rpartition(".")
            for expert, matrix in enumerate(value):
                tensors[f"model.{prefix}.experts.{expert}.{part}.weight"] = matrix.contiguous()
        else:
            tensors[f"model.{name}"] = value.contiguous()
    return tensors


def load_tensors(model: TinyModel, tensors: dict[str, Tensor]) -> None:
    """Fill `model` with a checkpoint's tensors: `exported_tensors` the other way round."""
    state = model.state_dict()
    for name, value in state.items():
        if value.dim() == 3:
            prefix, _, part = name.rpartition(".")
            each = [tensors[f"model.{prefix}.experts.{expert}.{part}.weight"] for expert in range(len(value))]
            state[name] = torch.stack(each).to(value.dtype)
        else:
            state[name] = tensors[f"model.{name}"].to(value.dtype)
    model.load_state_dict(state)
