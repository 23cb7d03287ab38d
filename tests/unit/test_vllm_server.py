"""What vLLM says of experts, read into digests."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

from scripts.engines.answers import scores
from scripts.engines.http import Server
from scripts.engines.routing import routing_digest, routing_digests
from scripts.engines.vllm_server import VllmServer

CHOSEN = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
"""Ids × layers × experts, as vLLM has them."""


def server(**arguments: bool) -> VllmServer:
    return VllmServer(Server("http://127.0.0.1:1", None, str, lambda: None), arguments, "")


def test_the_experts_are_a_npy_of_ids_layers_and_experts() -> None:
    stream = io.BytesIO()
    np.save(stream, CHOSEN)
    choice = {"routed_experts": base64.b64encode(stream.getvalue()).decode()}
    layers = server(enable_return_routed_experts=True)._layers(choice)
    assert layers is not None
    assert [each.tolist() for each in layers] == [CHOSEN[:, number].tolist() for number in range(3)]
    assert server()._layers(choice) is None
    with pytest.raises(ValueError, match="no routed_experts"):
        server(enable_return_routed_experts=True)._layers({"routed_experts": None})


def test_the_step_of_an_id_computed_the_position_after_it() -> None:
    """Three prompt ids and two generated ones: the experts of all but the last; two steps computed the two positions."""
    layers = list(CHOSEN.transpose(1, 0, 2))
    found = scores(3, [-0.5, -1.0], [[(1, -0.5)], [(2, -1.0)]], layers)
    assert found.routing == routing_digests(layers, 2)
    assert found.before == routing_digest([each[:2] for each in layers], but=0)
    with pytest.raises(ValueError, match="for 5"):
        scores(4, [-0.5, -1.0], [[(1, -0.5)], [(2, -1.0)]], layers)
