"""What vLLM says of experts, read into digests."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

from scripts.engines.answers import scores
from scripts.engines.http import Server
from scripts.engines.routing import routing_digest, routing_digests
from scripts.engines.vllm_server import VllmServer, read_log

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


# Lines as vLLM 0.25.1 writes them on Hopper; a wrapped line is one.
LOG = """\
(EngineCore pid=7) INFO 11-26 18:00:01 [core.py:105] Initializing a V1 LLM engine (v0.25.1) with config: model='m', \
dtype=torch.bfloat16, tensor_parallel_size=4, quantization=compressed-tensors, enforce_eager=False, kv_cache_dtype=auto
(Worker_TP0 pid=9) INFO 11-26 18:00:04 [cuda_communicator.py:264] Using ['CUSTOM', 'SYMM_MEM', 'PYNCCL'] all-reduce \
backends (in dispatch order) for group 'tp:0' out of potential backends: ['NCCL_SYMM_MEM', 'QUICK_REDUCE', 'PYNCCL'].
(Worker_TP0 pid=9) INFO 11-26 18:00:04 [gpu_worker.py:360] Using V2 Model Runner
(Worker_TP0 pid=9) INFO 11-26 18:00:05 [cuda.py:477] Using FLASH_ATTN attention backend out of potential backends: []
(Worker_TP0 pid=9) INFO 11-26 18:00:05 [flash_attn.py:718] Using FlashAttention version 3
(Worker_TP0 pid=9) INFO 11-26 18:00:05 [qwen_gdn_linear_attn.py:228] Using Triton/FLA GDN prefill kernel \
(requested=auto, head_k_dim=128).
(Worker_TP0 pid=9) INFO 11-26 18:00:06 [compressed_tensors_wNa16.py:137] Using MacheteLinearKernel for \
CompressedTensorsWNA16
(Worker_TP0 pid=9) INFO 11-26 18:00:06 [__init__.py:600] Selected CutlassFP8ScaledMMLinearKernel for \
CompressedTensorsW8A8Fp8
(Worker_TP0 pid=9) INFO 11-26 18:00:06 [fp8.py:297] Using VLLM_CUTLASS Fp8 MoE backend out of potential backends: ['X'].
"""


def test_what_vllm_chose_is_read_from_its_log() -> None:
    found = read_log(LOG)
    assert found["all_reduce"] == "CUSTOM, SYMM_MEM, PYNCCL"
    assert found["model_runner"] == "V2"
    assert (found["attention_backend"], found["flash_attention"]) == ("FLASH_ATTN", "3")
    assert found["gdn_kernel"] == "Triton/FLA"
    assert found["linear_kernel"] == "CutlassFP8ScaledMMLinearKernel, MacheteLinearKernel"
    assert found["moe_backend"] == "VLLM_CUTLASS Fp8"
    assert (found["dtype"], found["quantisation"]) == ("bfloat16", "compressed-tensors")


def test_what_the_layers_say_comes_before_the_log() -> None:
    layers = 'tempzero resolved: {"attention_backend": ["FLASH_ATTN", "GDN_ATTN"], "model_runner": ["V1"]}\n'
    found = read_log(LOG + layers)
    assert (found["attention_backend"], found["model_runner"]) == ("FLASH_ATTN, GDN_ATTN", "V1")
    assert set(read_log("").values()) == {None}
