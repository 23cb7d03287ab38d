"""Upcycling: a trained mixture of experts cut into more and smaller experts, to be trained further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
PARTS = ("gate", "up", "down")


def split_experts(
    tensors: Mapping[str, Floats],
    *,
    experts: int,
    pieces: int,
    units: int,
    layers: Sequence[int],
    seed: int,
    noise: float = 0.02,
) -> dict[str, Floats]:
    """A checkpoint's tensors, of its `layers` alone, each of their `experts` cut into `pieces` of `units` hidden units.

    Units are ranked by the product of the L2 norms of their three vectors: an expert's first piece has its strongest,
    and where the pieces have no room for all, the weakest go. First pieces come first, in the experts' order. A piece's
    router row is its expert's plus Gaussian `noise` (a share of the row's root mean square), and its output is scaled
    by `pieces`: with that many times as many active experts, no noise and no unit left out the function is the same.
    """
    rng = np.random.default_rng(seed)
    made: dict[str, Floats] = {}
    for name, value in tensors.items():
        parts = name.split(".")
        if parts[1] == "layers":
            if int(parts[2]) not in layers or ".experts." in name:
                continue
            parts[2] = str(layers.index(int(parts[2])))
        if name.endswith("mlp.gate.weight"):
            rows = np.tile(value, (pieces, 1))
            scale = noise * np.sqrt(np.mean(rows**2, axis=1, keepdims=True))
            value = (rows + scale * rng.standard_normal(rows.shape)).astype(np.float32)
        made[".".join(parts)] = value
    for place, layer in enumerate(layers):
        for expert in range(experts):
            at = f"model.layers.{layer}.mlp.experts.{expert}"
            gate, up, down = (tensors[f"{at}.{part}_proj.weight"] for part in PARTS)
            norms = np.linalg.norm(gate, axis=1) * np.linalg.norm(up, axis=1) * np.linalg.norm(down, axis=0)
            order = np.argsort(-norms, kind="stable")
            for piece in range(pieces):
                mine = order[piece * units : (piece + 1) * units]
                to = f"model.layers.{place}.mlp.experts.{piece * experts + expert}"
                made[f"{to}.gate_proj.weight"] = gate[mine]
                made[f"{to}.up_proj.weight"] = up[mine]
                made[f"{to}.down_proj.weight"] = down[:, mine] * np.float32(pieces)
    return made
