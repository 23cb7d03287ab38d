"""The kernels of a cell in short words, from what engines say; sessions that resolved otherwise are named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from scripts.engines import llamacpp_server
from scripts.records.cell import Kernels
from scripts.records.session import SessionRecord
from scripts.verdict.kernels import flags, kernels, resolved_differently, short
from scripts.verdict.replays import Session

SETTINGS: dict[str, Any] = {
    "model": "m",
    "architecture": "moe",
    "precision": "int4",
    "engine": "vllm-0.25.1",
    "variant": "base",
    "kind": "vllm",
    "runtime": "process",
    "arguments": {"moe_backend": "marlin", "max_num_seqs": 1},
    "environment": {"NCCL_ALGO": "Ring"},
    "harness": {},
    "top_logprobs": 5,
    "gpus": 1,
}
HOPPER = {
    "attention_backend": "FLASH_ATTN",
    "dtype": "bfloat16",
    "linear_kernel": "MacheteLinearKernel",
    "moe_backend": "MARLIN",
    "quantisation": "compressed-tensors",
}


def record(resolved: dict[str, Any] | None, session: int = 0, **settings: Any) -> SessionRecord:
    described = {"version": "1", "arguments": {}, "resolved": resolved, "context_between_turns": "kept"}
    names = {key: SETTINGS[key] for key in ("model", "precision", "engine", "variant")}
    content = {**names, "session": session, "tokens": 1, "seconds": 1.0, "settings": SETTINGS | settings}
    return SessionRecord.parse(content | {"resolved": described if resolved is not None else None}, "here")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TRITON Unquantized", "Triton"),
        ("FlashInfer CUTLASS Unquantized", "FlashInfer CUTLASS"),
        ("VLLM_CUTLASS Fp8", "CUTLASS"),
        ("CPU Unquantized", "CPU"),
        ("BATCHED_DEEPGEMM Fp8", "batched DeepGEMM"),
        ("MarlinNvFp4LinearKernel", "Marlin"),
        ("CutlassFP8ScaledMMLinearKernel", "CUTLASS"),
        ("FlashInferCutlassNvFp4LinearKernel", "FlashInfer CUTLASS"),
        ("UnquantizedLinearMethod", "unquantised"),
        ("FLASHINFER_MLA", "FlashInfer MLA"),
        ("FLASHMLA", "FlashMLA"),
        ("fa3", "FA3"),
        ("SomethingNewLinearKernel", "SomethingNew"),
    ],
)
def test_an_engine_s_name_in_a_word_or_two(name: str, words: str) -> None:
    assert short(name) == words


def test_what_an_older_session_did_not_record_is_a_question_mark_and_what_does_not_apply_null() -> None:
    assert kernels(record(HOPPER)) == Kernels(
        experts="Marlin",
        dense="Machete",
        attention="FlashAttention",
        linear_attention=None,
        all_reduce=None,
        runner="?",
    )
    assert kernels(record(None)) is None


def test_all_that_vllm_says() -> None:
    said = HOPPER | {
        "attention_backend": "FLASH_ATTN, GDN_ATTN",
        "flash_attention": "3",
        "model_runner": "V2",
        "all_reduce": "CUSTOM, SYMM_MEM, PYNCCL",
        "gdn_kernel": "Triton/FLA",
        "linear_kernel": "CutlassFP8ScaledMMLinearKernel, MacheteLinearKernel",
    }
    assert kernels(record(said, gpus=4)) == Kernels(
        experts="Marlin",
        dense="CUTLASS + Machete",
        attention="FA3",
        linear_attention="Triton",
        all_reduce="custom, symmetric memory, NCCL",
        runner="V2",
    )


def test_weights_of_no_quantisation_are_multiplied_by_torch_where_that_is_known() -> None:
    bf16 = {"dtype": "bfloat16", "quantisation": None, "attention_backend": "FLASH_ATTN"}
    dense = kernels(record(bf16, architecture="dense"))
    assert dense is not None and (dense.experts, dense.dense) == (None, "unquantised")
    unread = kernels(record({"dtype": None, "quantisation": None}, architecture="dense"))
    assert unread is not None and (unread.dense, unread.attention) == ("?", "?")
    quantised = kernels(record({"dtype": "bfloat16", "quantisation": "fp8"}, architecture="dense"))
    assert quantised is not None and quantised.dense == "?"


def test_what_sglang_was_asked_for_is_not_what_it_chose() -> None:
    said = {"attention_backend": "triton", "moe_backend": "auto", "quantisation": None}
    found = kernels(record(said, kind="sglang"))
    assert found is not None
    assert (found.experts, found.dense, found.attention, found.runner) == ("?", "?", "Triton", None)


@pytest.mark.parametrize(("flash", "attention"), [("enabled", "flash"), ("disabled", "plain"), (None, "?")])
def test_llama_cpp_names_no_kernel(flash: str | None, attention: str) -> None:
    found = kernels(record({"flash_attention": flash}, kind="llamacpp"))
    assert found is not None and (found.dense, found.attention) == ("ggml", attention)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("llama_context: flash_attn            = disabled\n", "disabled"),
        (
            "llama_context: flash_attn            = auto\nresolve_fused_ops: Flash Attention enabled\n",
            "enabled",
        ),
        ("llama_context: flash_attn = auto\nf: Flash Attention not supported, set to disabled\n", "disabled"),
    ],
)
def test_llama_cpp_s_own_choice_of_flash_attention(log: str, said: str) -> None:
    found = re.search(llamacpp_server.RESOLVED["flash_attention"], log)
    assert found is not None and found[1] == said


def test_sessions_that_resolved_otherwise_are_named() -> None:
    def sessions(*backends: str) -> list[Session]:
        records = [record(HOPPER | {"moe_backend": each}, number) for number, each in enumerate(backends)]
        return [Session(number, Path(), each) for number, each in enumerate(records)]

    assert resolved_differently(sessions("MARLIN", "MARLIN")) == []
    assert resolved_differently(sessions("MARLIN", "TRITON", "MARLIN")) == [
        "moe_backend: MARLIN in sessions 0, 2; TRITON in session 1"
    ]
    assert resolved_differently([Session(0, Path(), record(None))]) is None


def test_flags_are_arguments_and_variables() -> None:
    assert flags(record(HOPPER)) == {"max_num_seqs": "1", "moe_backend": '"marlin"', "NCCL_ALGO": '"Ring"'}
