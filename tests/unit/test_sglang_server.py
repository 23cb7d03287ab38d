"""What SGLang says of a prompt's ids, read into logprobs."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.common.errors import ConfigError
from scripts.engines.http import Server
from scripts.engines.sglang_server import SglangServer, _chosen


def server(weights: Path, **arguments: Any) -> SglangServer:
    return SglangServer(Server("http://127.0.0.1:1", None, str, lambda: None, weights=weights), arguments, "")


def test_the_logprob_is_that_of_the_id_asked_for() -> None:
    assert _chosen(7, [-0.5, 7, None], [(3, -0.1), (7, -0.5)]) == -0.5


def test_the_last_id_of_the_vocabulary_is_read_from_the_candidates() -> None:
    """SGLang 0.5.15 gave [-1.76, 0, None] for id 32,767 of 32,768."""
    assert _chosen(32767, [-1.76, 0, None], [(32767, -0.25), (5, -1.5)]) == -0.25
    with pytest.raises(ValueError, match="id 0 for id 32767"):
        _chosen(32767, [-1.76, 0, None], [(4, -0.25), (5, -1.5)])


def test_the_experts_of_every_id_but_the_last_are_taken(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"text_config": {"num_experts_per_tok": 2}}')
    chosen = np.arange(3 * 2 * 2, dtype=np.int32)  # ids × layers × experts
    meta = {"routed_experts": base64.b64encode(chosen.tobytes()).decode()}
    engine = server(tmp_path, enable_return_routed_experts=True)
    assert [each.tolist() for each in engine._layers(meta, 3) or ()] == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
    with pytest.raises(ValueError, match="12 experts for 5 positions"):
        engine._layers(meta, 5)
    with pytest.raises(ValueError, match="no routed_experts"):
        engine._layers({}, 3)
    assert server(tmp_path)._layers(meta, 3) is None


def test_a_model_without_experts_is_refused(tmp_path: Path) -> None:
    meta = {"routed_experts": base64.b64encode(bytes(16)).decode()}
    with pytest.raises(ConfigError, match="num_experts_per_tok"):
        server(tmp_path, enable_return_routed_experts=True)._layers(meta, 2)
