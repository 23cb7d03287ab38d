"""Upcycling: cut experts compute what they computed whole."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from test_quants_reap import checkpoint

from scripts.quants.random_weights import to_bf16
from scripts.quants.reap import Checkpoint, logits
from scripts.tinychart.upcycle import split_experts


def test_cut_experts_compute_what_they_computed_whole() -> None:
    config, rng = checkpoint().config, np.random.default_rng(0)
    bits = {
        name: to_bf16(rng.standard_normal(each.shape).astype(np.float32))
        for name, each in checkpoint().bits.items()
    }
    source = Checkpoint(config, bits)
    tensors = {name: source[name] for name in bits}

    def cut(noise: float, pieces: int = 2) -> NDArray[np.float32]:
        made = split_experts(tensors, experts=4, pieces=pieces, units=1, layers=[0], seed=1, noise=noise)
        wanted = replace(config, num_experts=4 * pieces, num_experts_per_tok=2 * pieces)
        return logits(Checkpoint(wanted, {name: to_bf16(value) for name, value in made.items()}), [0, 1, 1])

    whole = logits(source, [0, 1, 1])
    np.testing.assert_allclose(cut(0), whole, rtol=1e-5)
    assert not np.allclose(cut(0.5), whole, rtol=1e-3)
    assert not np.allclose(cut(0, pieces=1), whole, rtol=1e-3)  # the weaker half of each expert has gone


def test_the_strongest_units_make_the_first_piece_and_the_weakest_go() -> None:
    rng = np.random.default_rng(0)
    at = "model.layers.{}.mlp.experts.0"
    tensors = {
        f"{at.format(layer)}.{part}_proj.weight": rng.standard_normal(
            (3, 2) if part != "down" else (2, 3)
        ).astype(np.float32)
        * np.float32(layer + 1)
        for layer in (0, 1)
        for part in ("gate", "up", "down")
    }
    gate = tensors[f"{at.format(1)}.gate_proj.weight"] = np.array([[1, 1], [9, 9], [5, 5]], dtype=np.float32)
    for part, shape in (("up", (3, 2)), ("down", (2, 3))):
        tensors[f"{at.format(1)}.{part}_proj.weight"] = np.ones(shape, dtype=np.float32)
    made = split_experts(tensors, experts=1, pieces=2, units=1, layers=[1], seed=1)
    assert sorted(made) == [
        f"model.layers.0.mlp.experts.{piece}.{part}_proj.weight"
        for piece in (0, 1)
        for part in ("down", "gate", "up")
    ]
    first, second = (made[f"model.layers.0.mlp.experts.{piece}.gate_proj.weight"] for piece in (0, 1))
    np.testing.assert_array_equal(np.concatenate((first, second)), gate[[1, 2]])
    np.testing.assert_array_equal(made["model.layers.0.mlp.experts.0.down_proj.weight"], np.full((2, 1), 2))
