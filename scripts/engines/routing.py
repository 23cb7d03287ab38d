"""Which experts a Mixture-of-Experts model chose, as digests: one a position, one for what was read before.

The experts of a layer count as a set: two that change places in the order of their weights are the same choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import ConfigError
from scripts.common.files import read_json, sha256_bytes
from scripts.records.base import convert

ASKED = "enable_return_routed_experts"  # vLLM's argument and SGLang's

Layer = NDArray[np.integer]
"""Positions × experts a token, of one layer."""


def routing_digests(layers: Sequence[Layer], count: int) -> list[str]:
    """For each of the last `count` positions 16 hexadecimal digits over the experts of every layer.

    ValueError where there is no layer, or one has fewer positions.
    """
    if not layers or min(len(each) for each in layers) < count:
        raise ValueError(
            f"{[len(each) for each in layers]} positions with experts, layer by layer, for {count}"
        )
    if not count:
        return []
    chosen = np.stack([_as_sets(each[-count:]) for each in layers], axis=1)
    return [sha256_bytes(position.tobytes())[:16] for position in chosen]


def routing_digest(layers: Sequence[Layer], *, but: int) -> str:
    """16 hexadecimal digits over the experts of all positions but the last `but`, layer by layer.

    Layers may have different numbers of positions: llama.cpp computes the last one only where logits are wanted.
    """
    whole = hashlib.sha256()
    for each in layers:
        rows = _as_sets(each[: max(len(each) - but, 0)])
        whole.update(len(rows).to_bytes(8, "little") + rows.tobytes())
    return whole.hexdigest()[:16]


def split_layers(flat: NDArray[np.integer], positions: int, experts: int) -> list[Layer]:
    """A server's row of positions × layers × experts a token, as its layers; ValueError where it does not fit."""
    if positions < 1 or experts < 1 or flat.size % (positions * experts):
        raise ValueError(f"{flat.size} experts for {positions} positions of {experts} a layer")
    return list(flat.reshape(positions, -1, experts).transpose(1, 0, 2))


class _Config(msgspec.Struct):
    num_experts_per_tok: int | None = None
    text_config: _Config | None = None


@cache
def experts_per_token(weights: Path | None) -> int:
    """How many experts of a layer a token goes through, from config.json of the folder `weights`.

    ConfigError where it has none, or where the folder is not known.
    """
    where = None if weights is None else weights / "config.json"
    known = read_json(where) if where is not None and where.is_file() else {}
    config = convert(_Config, known, str(where))
    found = (config.text_config or config).num_experts_per_tok or config.num_experts_per_tok
    if found is None or found < 1:
        raise ConfigError(
            f"{ASKED} is set, and the model's config.json names no num_experts_per_tok",
            where=str(where or "the weights are not on this machine"),
            remedy="record experts of a Mixture-of-Experts model only: run the cell without this variant",
        )
    return found


def _as_sets(rows: Layer) -> NDArray[np.int32]:
    return np.sort(rows.astype(np.int32), axis=-1)
