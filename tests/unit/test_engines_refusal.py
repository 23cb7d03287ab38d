"""A start that an engine refuses is told from one that fails; the logs' lines are those of real engines."""

from __future__ import annotations

import pytest

from scripts.engines.refusal import find_ignored, find_refusal, last_error
from scripts.records.base import Value

ARGPARSE = """\
                     [--enable-log-requests | --no-enable-log-requests]
                     [model_tag]
api_server.py: error: unrecognized arguments: --no-such-argument
"""
VLLM = """\
(EngineCore pid=1327) INFO 11-26 18:55:40 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='m'
(Worker pid=1343) ERROR 11-26 18:55:52 [multiproc_executor.py:953]     raise ValueError(_make_log_unsupported(backend))
(Worker pid=1343) ERROR 11-26 18:55:52 [multiproc_executor.py:953] ValueError: Unquantized MoE backend FlashInfer \
CUTLASS does not support the deployment configuration since kernel does not support current device cpu.
(EngineCore pid=1327) ERROR 11-26 18:55:55 [core.py:1510] Exception: WorkerProc initialization failed due to an \
exception in a background process. See stack trace for root cause.
Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace for root cause.
    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}
"""
PYDANTIC = """\
(APIServer pid=9) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
(APIServer pid=9)   Value error, User-specified max_model_len (10000000) is greater than the derived max_model_len \
(max_position_embeddings=8192). [type=value_error, input_value=ArgsKwargs(()), input_type=ArgsKwargs]
(APIServer pid=9)     For further information visit https://errors.pydantic.dev/2.12/v/value_error
"""
RUNNER = """\
(APIServer pid=9) pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig
(APIServer pid=9)   Value error, Model Runner V2 requires Triton. [type=value_error, input_value=ArgsKwargs(())]
"""
LLAMA = "error: invalid argument: --no-such-argument\n"
MEMORY = """\
(EngineCore pid=7) ERROR 11-26 18:55:52 [core.py:9] ValueError: No available memory for the cache blocks. Try \
increasing `gpu_memory_utilization` when initializing the engine, or decreasing max_model_len.
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
OTHER = "(EngineCore pid=7) ERROR 11-26 18:55:52 [core.py:9] RuntimeError: the weights cannot be read\n"


@pytest.mark.parametrize(
    ("log", "asked", "named"),
    [
        (ARGPARSE, {"no_such_argument": 3}, ["no_such_argument"]),
        (VLLM, {"moe_backend": "flashinfer_cutlass", "enforce_eager": True}, ["moe_backend"]),
        (PYDANTIC, {"max_model_len": 10_000_000}, ["max_model_len"]),
        (RUNNER, {"VLLM_USE_V2_MODEL_RUNNER": "1"}, ["VLLM_USE_V2_MODEL_RUNNER"]),
        (LLAMA, {"no_such_argument": True}, ["no_such_argument"]),
    ],
)
def test_a_sentence_that_names_what_the_variant_asks_is_a_refusal(
    log: str, asked: dict[str, Value], named: list[str]
) -> None:
    found = find_refusal(log, "exit status 1", asked)
    assert found is not None and found.named == named
    assert found.sentence and "root cause" not in found.sentence and "pid=" not in found.sentence


@pytest.mark.parametrize(
    ("log", "ended", "asked"),
    [
        (VLLM, "exit status 1", {}),
        (VLLM, "exit status 1", {"enforce_eager": True}),
        (VLLM, "exit status 137", {"moe_backend": "flashinfer_cutlass"}),
        (VLLM, "it ran out of memory", {"moe_backend": "flashinfer_cutlass"}),
        (MEMORY, "exit status 1", {"max_model_len": 8192, "gpu_memory_utilization": 0.9}),
        (OTHER, "exit status 1", {"moe_backend": "triton"}),
        ("", "exit status 1", {"moe_backend": "triton"}),
    ],
    ids=["base", "another flag", "killed", "memory", "memory in words", "another error", "silent"],
)
def test_another_end_is_none(log: str, ended: str, asked: dict[str, Value]) -> None:
    assert find_refusal(log, ended, asked) is None


def test_a_wrapper_s_error_is_not_the_last_one() -> None:
    said = last_error(VLLM)
    assert said is not None and said.startswith(
        "ValueError: Unquantized MoE backend FlashInfer CUTLASS does not"
    )
    assert last_error("all is well\n") is None


def test_a_log_says_what_it_does_not_heed() -> None:
    line = "(Worker pid=2401) INFO 11-26 18:57:17 [cpu.py:178] Cannot use AttentionBackendEnum.FLASHINFER backend on CPU.\n"
    asked: dict[str, Value] = {"attention_backend": "FLASHINFER", "enforce_eager": True}
    assert find_ignored(line + OTHER, asked) == {
        "attention_backend": "Cannot use AttentionBackendEnum.FLASHINFER backend on CPU."
    }
    assert find_ignored("Using AttentionBackendEnum.FLASHINFER backend.\n", asked) == {}
