"""Upcycling: a trained mixture of experts cut into more and smaller experts, to be trained further."""

from __future__ import annotations

import torch
from torch import Tensor

from scripts.tinychart.model import ModelSpec, TinyModel, exported_tensors, load_tensors


def split_experts(
    source: TinyModel, spec: ModelSpec, *, layers: tuple[int, ...], seed: int, noise: float = 0.02
) -> TinyModel:
    """A model of `spec`, made of the given `layers` of `source`, each expert of which is cut into pieces.

    A piece has an equal part of its expert's hidden units; where the pieces have room for fewer units than the
    expert has, the weakest go, by the product of the L2 norms of a unit's three vectors. The first piece of each
    expert has its strongest units, and first pieces come first. A piece's router row is its expert's with Gaussian
    `noise` (a share of the row's root mean square) and its output is scaled by the number of pieces: with that many
    times as many active experts, no noise and no unit left out the function is the same.
    """
    pieces = spec.experts // source.spec.experts
    if spec.experts % source.spec.experts or spec.active_experts != pieces * source.spec.active_experts:
        raise ValueError(f"{source.spec} cannot be cut into {spec}")
    generator = torch.Generator().manual_seed(seed)
    found = {name: value.float() for name, value in exported_tensors(source).items()}
    made: dict[str, Tensor] = {}
    for name, value in found.items():
        parts = name.split(".")
        if parts[1] == "layers":
            if int(parts[2]) not in layers or ".experts." in name:
                continue
            parts[2] = str(layers.index(int(parts[2])))
        if name.endswith("mlp.gate.weight"):
            value = value.repeat(pieces, 1)
            scale = value.square().mean(1, keepdim=True).sqrt() * noise
            value = value + torch.randn(value.shape, generator=generator) * scale
        made[".".join(parts)] = value
    for place, layer in enumerate(layers):
        for expert in range(source.spec.experts):
            at = f"model.layers.{layer}.mlp.experts.{expert}"
            gate, up, down = (found[f"{at}.{part}_proj.weight"] for part in ("gate", "up", "down"))
            order = (gate.norm(dim=1) * up.norm(dim=1) * down.norm(dim=0)).argsort(descending=True, stable=True)
            for piece in range(pieces):
                units = order[piece * spec.expert_hidden : (piece + 1) * spec.expert_hidden]
                to = f"model.layers.{place}.mlp.experts.{piece * source.spec.experts + expert}"
                made[f"{to}.gate_proj.weight"] = gate[units]
                made[f"{to}.up_proj.weight"] = up[units]
                made[f"{to}.down_proj.weight"] = down[:, units] * pieces
    model = TinyModel(spec)
    load_tensors(model, made)
    return model
