"""What computed a cell: the kernels that its sessions' engines resolved to, in short words, and where these differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from scripts.common.files import canonical_json
from scripts.records.cell import Kernels
from scripts.records.engine import Resolved
from scripts.records.session import SessionRecord
from scripts.verdict.replays import Session

UNKNOWN = "?"
UNQUANTISED = "unquantised"
READ_INTO_KERNELS = {
    *("attention_backend", "flash_attention", "gdn_kernel", "moe_backend", "moe_kernel", "moe_method"),
    *("linear_kernel", "all_reduce", "model_runner"),
}
"""What of an engine's `resolved` the kernels say."""

# Families of kernels as engines spell them in class names, enumerations and arguments, in the order of the short words.
FAMILIES = {
    "batched": "batched",
    "flashinfer": "FlashInfer",
    "rocm|aiter": "AITER",
    "trtllm": "TRTLLM",
    "cutedsl": "CuteDSL",
    "b12x": "b12x",
    "cutlass": "CUTLASS",
    "deep_?gemm": "DeepGEMM",
    "marlin": "Marlin",
    "machete": "Machete",
    "triton": "Triton",
    "humming": "Humming",
    "allspark": "AllSpark",
    "conch": "Conch",
    "exllama": "Exllama",
    "fbgemm": "FBGEMM",
    "emulation": "emulation",
    "flash_?attn|flash_?attention": "FlashAttention",
    "flex_?attention": "FlexAttention",
    "sdpa": "SDPA",
    "flashmla": "FlashMLA",
    "(?<!flash)mla": "MLA",
    "cpu": "CPU",
}
# What vLLM calls the ways in which it sums over GPUs.
ALL_REDUCE = {
    "NCCL_SYMM_MEM": "NCCL in symmetric memory",
    "QUICK_REDUCE": "QuickReduce",
    "FLASHINFER": "FlashInfer",
    "AITER_CUSTOM": "AITER",
    "CUSTOM": "custom",
    "SYMM_MEM": "symmetric memory",
    "PYNCCL": "NCCL",
}


def short(name: str) -> str:
    """An engine's name for a kernel in a word or two: `CutlassFP8ScaledMMLinearKernel` is CUTLASS.

    A name of no known family stays as it is, without what a class of its kind ends with.
    """
    text = name.strip()
    found = [word for pattern, word in FAMILIES.items() if re.search(pattern, text, re.IGNORECASE)]
    if found:
        return " ".join(found)
    if re.fullmatch(r"fa\d", text):
        return text.upper()
    if re.match("unquantized", text, re.IGNORECASE):
        return UNQUANTISED
    return re.sub(r"(?<=.)(LinearKernel|LinearMethod|Kernel|Experts)$", "", text)


def _words(value: object) -> str | None:
    """The short words of a resolved value, which may list several; None where there is none."""
    if not isinstance(value, str) or not value.strip():
        return None
    return " + ".join(dict.fromkeys(short(each) for each in value.split(",")))


def _sums(value: object) -> str | None:
    """The ways of an all-reduce in short words."""
    if not isinstance(value, str):
        return None
    return ", ".join(ALL_REDUCE.get(each.strip(), each.strip()) for each in value.split(","))


def kernels(record: SessionRecord) -> Kernels | None:
    """What computed a session; None where it recorded nothing of what its engine resolved."""
    if record.resolved is None or record.settings is None or not record.resolved.resolved:
        return None
    said = record.resolved.resolved
    moe, dense = record.settings.architecture == "moe", record.settings.architecture == "dense"
    found = READERS.get(record.settings.kind, _unknown)(said)
    experts = found.experts if moe or (not dense and found.experts != UNKNOWN) else None
    reduces = record.settings.gpus > 1 and record.settings.kind in ("vllm", "sglang")
    return Kernels(
        experts=experts,
        dense=found.dense,
        attention=found.attention,
        linear_attention=found.linear_attention,
        all_reduce=(found.all_reduce or UNKNOWN) if reduces else None,
        runner=found.runner,
    )


def _vllm(said: Resolved) -> Kernels:
    dense = _words(said.get("linear_kernel"))
    if dense is None and said.get("dtype") and said.get("quantisation") is None:
        dense = UNQUANTISED
    backends = [each.strip() for each in str(said.get("attention_backend") or "").split(",") if each.strip()]
    linear = [each for each in backends if re.search("gdn|mamba|linear", each, re.IGNORECASE)]
    attention = _words(", ".join(each for each in backends if each not in linear))
    version = said.get("flash_attention")
    if attention == "FlashAttention" and version:
        attention = f"FA{version}"
    gdn = _words(said.get("gdn_kernel"))
    return Kernels(
        experts=_words(said.get("moe_backend")) or _words(said.get("moe_kernel")) or UNKNOWN,
        dense=dense or UNKNOWN,
        attention=attention or UNKNOWN,
        linear_attention=gdn or (UNKNOWN if linear else None),
        all_reduce=_sums(said.get("all_reduce")),
        runner=str(said.get("model_runner") or UNKNOWN),
    )


def _sglang(said: Resolved) -> Kernels:
    # Its server information has what was asked of experts, `auto` mostly, and not what a scheme takes in spite of it.
    return Kernels(
        experts=_words(said.get("moe_kernel")) or UNKNOWN,
        dense=_words(said.get("linear_kernel")) or UNKNOWN,
        attention=_words(said.get("attention_backend")) or UNKNOWN,
        linear_attention=None,
        all_reduce=None,
        runner=None,
    )


def _llama_cpp(said: Resolved) -> Kernels:
    attention = {"enabled": "flash", "disabled": "plain"}.get(str(said.get("flash_attention")), UNKNOWN)
    return Kernels(
        experts="ggml",
        dense="ggml",
        attention=attention,
        linear_attention=None,
        all_reduce=None,
        runner=None,
    )


def _transformers(said: Resolved) -> Kernels:
    return Kernels(
        experts=_words(said.get("moe_backend")) or UNKNOWN,
        dense="torch",
        attention=_words(said.get("attention_backend")) or UNKNOWN,
        linear_attention=None,
        all_reduce=None,
        runner=None,
    )


def _unknown(said: Resolved) -> Kernels:
    return Kernels(
        experts=UNKNOWN,
        dense=UNKNOWN,
        attention=UNKNOWN,
        linear_attention=None,
        all_reduce=None,
        runner=None,
    )


READERS: dict[str, Callable[[Resolved], Kernels]] = {
    "vllm": _vllm,
    "sglang": _sglang,
    "llamacpp": _llama_cpp,
    "llama-cpp-python": _llama_cpp,
    "transformers": _transformers,
}


def resolved_differently(sessions: Sequence[Session]) -> list[str] | None:
    """In what the sessions' engines resolved otherwise, a line each: which sessions came to what.

    None where no session recorded what its engine resolved.
    """
    known = {each.number: each.record.resolved.resolved for each in sessions if each.record.resolved}
    if not known:
        return None
    lines = []
    for name in sorted({key for said in known.values() for key in said}):
        came_to: dict[str, list[int]] = {}
        for number, said in known.items():
            value = said.get(name)
            came_to.setdefault(UNKNOWN if value is None else str(value), []).append(number)
        if len(came_to) > 1:
            parts = (f"{value} in {_numbers(numbers)}" for value, numbers in came_to.items())
            lines.append(f"{name}: {'; '.join(parts)}")
    return lines


def _numbers(numbers: Sequence[int]) -> str:
    return f"session{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def flags(record: SessionRecord) -> dict[str, str] | None:
    """The engine's arguments and variables → their JSON values; None where the session did not record them."""
    settings = record.settings
    if settings is None:
        return None
    return {
        key: canonical_json(value)
        for asked in (settings.arguments, settings.environment)
        for key, value in sorted(asked.items())
    }
