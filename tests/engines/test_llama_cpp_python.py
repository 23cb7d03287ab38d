"""The in-process engine, for real, on the small models: ids, logprobs, caches, forcing, jitter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.common.errors import ConfigError, EngineError
from scripts.engines.start import start_engine
from scripts.records.forced import Mode, ModeSummary
from scripts.records.manifest import Manifest
from scripts.records.models import Precision
from scripts.workload.chat import ChatForm
from scripts.workload.episode import TOOL_SCHEMAS, first_messages
from scripts.workload.spec import load_workload
from tests.engines.serving import kind_settings

ROOT = Path(__file__).parents[2]
MODELS = ("dense", "moe")


@pytest.fixture(scope="module")
def quants(llamacpp_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from scripts.quants.build import build_quant

    root = tmp_path_factory.mktemp("quants")
    for model in MODELS:
        entry = Precision(recipe="gguf-bf16", source=f"resources/tinychart/{model}")
        build_quant(model, "bf16", entry, root / model / "bf16" / "manifest.json", root=ROOT)
    entry = Precision(recipe="llama-quantize", from_="bf16", type="Q4_K_M")
    build_quant("moe", "q4_k_m", entry, root / "moe" / "q4_k_m" / "manifest.json", root=ROOT)
    return root


@pytest.fixture(params=MODELS)
def weights(request: pytest.FixtureRequest, quants: Path) -> Path:
    return quants / str(request.param) / "bf16"


@pytest.fixture(scope="module")
def prompt() -> list[int]:
    chat = ChatForm(ROOT / "resources" / "tinychart")
    workload = load_workload(ROOT / "config" / "workloads" / "chartist-mini.yaml")
    return chat.first_prompt(first_messages(workload, workload.scenarios[0]), TOOL_SCHEMAS)


def opened(weights: Path, tmp_path: Path, **arguments: Any) -> Any:
    settings = kind_settings("llama-cpp-python", arguments=arguments)
    return start_engine(settings, weights, tmp_path / "engine.log")


@pytest.fixture
def engine(weights: Path, tmp_path: Path) -> Iterator[Any]:
    with opened(weights, tmp_path) as started:
        yield started


GENERATE: dict[str, Any] = {"max_tokens": 60, "stop_ids": [2], "top_logprobs": 5}


def test_ids_in_and_out_with_their_logprobs(engine: Any, prompt: list[int]) -> None:
    made = engine.generate(prompt, **GENERATE)
    assert made.finish_reason == "stop" and made.output_ids[-1] == 2
    assert len(made.chosen) == len(made.top) == len(made.output_ids)
    for token, chosen, top in zip(made.output_ids, made.chosen, made.top, strict=True):
        assert len(top) == 5 and top[0] == (token, chosen)
        assert all(a[1] > b[1] or (a[1] == b[1] and a[0] < b[0]) for a, b in pairwise(top))
        assert sum(math.exp(value) for _, value in top) <= 1 + 1e-9


def test_the_same_bits_again_and_in_a_fresh_engine(
    engine: Any, weights: Path, tmp_path: Path, prompt: list[int]
) -> None:
    first = engine.generate(prompt, **GENERATE)
    engine.reset()
    assert engine.generate(prompt, **GENERATE) == first
    with opened(weights, tmp_path / "other") as other:
        assert other.generate(prompt, **GENERATE) == first


def test_quantised_weights_give_the_same_bits_on_any_processor_s_tiles(
    quants: Path, tmp_path: Path, prompt: list[int]
) -> None:
    with opened(quants / "moe" / "q4_k_m", tmp_path / "one") as one:
        first = one.generate(prompt, **GENERATE)
    with opened(quants / "moe" / "q4_k_m", tmp_path / "other") as other:
        assert other.generate(prompt, **GENERATE) == first
    assert "AMX model buffer" not in (tmp_path / "other" / "engine.log").read_text("utf-8", "replace")


def test_a_prompt_that_grows_is_read_on(engine: Any, prompt: list[int]) -> None:
    made = engine.generate(prompt, **GENERATE)
    longer = [*prompt, *made.output_ids, *prompt[-20:]]
    grown = engine.generate(longer, **GENERATE)
    engine.reset()
    engine.generate(prompt, **GENERATE)
    assert engine.generate(longer, **GENERATE) == grown


def test_length_ends_a_generation(engine: Any, prompt: list[int]) -> None:
    made = engine.generate(prompt, max_tokens=3, stop_ids=[2], top_logprobs=1)
    assert made.finish_reason == "length" and len(made.output_ids) == 3


def test_forced_decode_returns_the_bits_of_free_decode(engine: Any, prompt: list[int]) -> None:
    made = engine.generate(prompt, **GENERATE)
    engine.reset()
    forced = engine.force(prompt, made.output_ids, top_logprobs=5)
    assert (forced.first, forced.chosen, forced.top) == (len(prompt), made.chosen, made.top)
    engine.reset()
    assert engine.force(prompt, made.output_ids, top_logprobs=5).digests == forced.digests


def test_prefill_scores_every_position(engine: Any, prompt: list[int]) -> None:
    ids = [*prompt, *prompt, *prompt]
    scores = engine.score(ids, top_logprobs=5)
    assert scores.first == 1
    assert len(scores.digests) == len(scores.chosen) == len(scores.top) == len(ids) - 1
    assert engine.score(ids, top_logprobs=5) == scores
    made = engine.generate(prompt, **GENERATE)
    close = engine.score([*prompt, *made.output_ids], top_logprobs=5).chosen[len(prompt) - 1 :]
    assert close == pytest.approx(made.chosen, abs=0.2)


def test_jitter_is_bounded_and_from_entropy(weights: Path, tmp_path: Path, prompt: list[int]) -> None:
    with opened(weights, tmp_path / "clean") as clean:
        base = clean.force(prompt, prompt[-30:], top_logprobs=5)
        plain = clean.generate(prompt, max_tokens=1, stop_ids=[], top_logprobs=5)
    with opened(weights, tmp_path, jitter=0.05) as engine:
        seen = []
        for _ in range(4):
            engine.reset()
            seen.append(engine.generate(prompt, max_tokens=1, stop_ids=[], top_logprobs=5))
        assert len({made.chosen[0] for made in seen}) == 4
        values = dict(plain.top[0])
        for made in seen:
            for token, value in made.top[0]:
                assert token not in values or abs(value - values[token]) <= 0.1 + 1e-6
    assert base.digests


def test_prompt_cache_keeps_the_episode_before(weights: Path, tmp_path: Path, prompt: list[int]) -> None:
    with opened(weights, tmp_path, keep_cache=True) as engine:
        engine.generate(prompt, **GENERATE)
        engine.reset()
        assert engine._held[: len(prompt)] == prompt
        other = [*prompt[: len(prompt) // 2], *prompt[3:40]]
        engine.generate(other, **GENERATE)
        assert engine._held[: len(other)] == other


def test_what_is_described_was_read(engine: Any) -> None:
    described = engine.describe()
    resolved = described.resolved
    assert resolved["n_threads"] == 1 and resolved["n_batch"] == 512 and resolved["n_ctx"] == 4096
    assert resolved["kv_cache_dtype"] == "f16"
    assert resolved["quantisation"] == "BF16"
    assert resolved["flash_attention"] in ("disabled", "0")
    assert described.version == "0.3.36" and described.build


def test_a_context_that_is_full_says_so(weights: Path, tmp_path: Path, prompt: list[int]) -> None:
    with opened(weights, tmp_path, n_ctx=256) as engine, pytest.raises(EngineError, match="no room left"):
        engine.generate(prompt * 3, **GENERATE)


def test_weights_that_cannot_be_read_say_so(tmp_path: Path, llamacpp_environment: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(EngineError, match="cannot load the weights"), opened(tmp_path, tmp_path):
        pass


def test_a_mistyped_argument_is_named(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="n_threads"), opened(weights, tmp_path, n_thread=2):
        pass


def test_a_quant_says_what_is_quantised(quants: Path) -> None:
    manifest = Manifest.read(quants / "moe" / "q4_k_m" / "manifest.json")
    assert manifest.tensor_types["router"] == {"F32": 6}
    assert sum(manifest.tensor_types["experts"].values()) == 18
    assert "BF16" not in str(manifest.tensor_types)
    assert "experts" in manifest.quantised and "router" in manifest.quantised
    bf16 = Manifest.read(quants / "moe" / "bf16" / "manifest.json")
    assert bf16.quantised == "nothing (bf16)"


def test_gguf_holds_the_bits_of_the_checkpoint(quants: Path) -> None:
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(quants / "moe" / "bf16" / "model.gguf")
    held = {tensor.name: tensor for tensor in reader.tensors}
    from scripts.quants.gguf_files import read_bf16

    bits = read_bf16(ROOT / "resources" / "tinychart" / "moe" / "model.safetensors")
    for layer in range(6):
        stacked = np.asarray(held[f"blk.{layer}.ffn_down_exps.weight"].data).view(np.uint16)
        for expert in range(8):
            name = f"model.layers.{layer}.mlp.experts.{expert}.down_proj.weight"
            assert np.array_equal(stacked[expert], bits[name])
    assert held["blk.0.ffn_gate_inp.weight"].tensor_type.name == "F32"


def test_experts_alone_are_quantised_where_that_is_asked(quants: Path) -> None:
    from scripts.quants.build import build_quant
    from scripts.quants.manifest import verify_manifest

    entry = Precision(recipe="llama-quantize", from_="bf16", type="Q8_0", experts_only=True)
    build_quant("moe", "q8-experts", entry, quants / "moe" / "q8-experts" / "manifest.json", root=ROOT)
    manifest = verify_manifest(quants / "moe" / "q8-experts" / "manifest.json")
    assert manifest.quantised == "experts: Q8_0 (not: attention, embedding, norms, router)"
    assert manifest.tensor_types["experts"] == {"Q8_0": 18}


def test_the_forward_pass_of_pruning_is_the_engine_s(quants: Path, tmp_path: Path, prompt: list[int]) -> None:
    from scripts.quants.reap import logits, read_checkpoint

    mine = logits(read_checkpoint(quants / "moe" / "bf16"), prompt)
    with opened(quants / "moe" / "bf16", tmp_path) as engine:
        theirs = engine.score(prompt, top_logprobs=1)
    rows = (
        mine
        - np.log(np.exp(mine - mine.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - mine.max(-1, keepdims=True)
    )
    apart = [
        abs(row[token] - known) for row, token, known in zip(rows, prompt[1:], theirs.chosen, strict=False)
    ]
    # bf16 products in the engine, float32 here.
    assert max(apart) < 0.25 and sorted(apart)[len(apart) // 2] < 0.005


def test_the_experts_are_read_off_and_no_bit_changes(
    quants: Path, tmp_path: Path, prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts.engines import llama_cpp_python
    from scripts.quants.reap import read_checkpoint, saliencies

    weights = quants / "moe" / "bf16"
    with opened(weights, tmp_path) as plain:
        made = plain.generate(prompt, **GENERATE)
        whole = [*prompt, *made.output_ids]
        scored = plain.score(whole, top_logprobs=2)
        plain.reset()
        forced = plain.force(prompt, made.output_ids, top_logprobs=2)
    seen: list[Any] = []
    digests = llama_cpp_python.routing_digests
    monkeypatch.setattr(
        llama_cpp_python,
        "routing_digests",
        lambda layers, count: (seen.append(layers), digests(layers, count))[1],
    )
    with opened(weights, tmp_path, routed_experts=True) as tapped:
        assert tapped.generate(prompt, **GENERATE) == made
        again = tapped.score(whole, top_logprobs=2)
        tapped.reset()
        decoded = tapped.force(prompt, made.output_ids, top_logprobs=2)
    assert (again.digests, decoded.digests) == (scored.digests, forced.digests)
    assert (scored.routing, scored.before) == (None, None)
    assert again.routing is not None and len(again.routing) == len(whole) - 1
    assert decoded.routing is not None and decoded.before is not None
    # Prompt by prompt and id by id llama.cpp computes with other shapes: a near-tie of two experts may turn.
    pairs = list(zip(again.routing[len(prompt) - 1 :], decoded.routing, strict=True))
    assert sum(one == other for one, other in pairs) > 0.9 * len(pairs)
    assert len(set(again.routing)) > 0.5 * len(again.routing)
    counted = saliencies(read_checkpoint(weights), [whole[:-1]])
    for layer, expected in zip(seen[0], counted, strict=True):
        found = np.bincount(layer.ravel(), minlength=len(expected.tokens))
        assert found.sum() == expected.tokens.sum()
        # bf16 products in the engine, float32 in the forward pass of pruning.
        assert np.abs(found - expected.tokens).sum() <= 0.02 * found.sum()


def test_experts_of_a_dense_model_are_refused(quants: Path, tmp_path: Path) -> None:
    weights = quants / "dense" / "bf16"
    with pytest.raises(ConfigError, match="no experts"), opened(weights, tmp_path, routed_experts=True):
        pass


def test_forced_passes_with_jitter_say_that_routing_is_not_the_cause(
    quants: Path, tmp_path: Path, prompt: list[int]
) -> None:
    from scripts.sessions.force import RecordedTurn, force_decode, force_prefill
    from scripts.verdict.forced import mode_summary, read_passes

    (tmp_path / "forced").mkdir()
    with opened(quants / "moe" / "bf16", tmp_path, routed_experts=True, jitter=0.05) as engine:
        made = engine.generate(prompt, **GENERATE)
        turn = RecordedTurn(0, prompt, made.output_ids, 2)
        for number in range(3):
            for mode, force in (("prefill", force_prefill), ("decode", force_decode)):
                engine.reset()
                with open(tmp_path / "forced" / f"pass-{number:02d}.{mode}.jsonl", "w") as stream:
                    stream.writelines(line.line() for line in force(engine, "a", [turn]))
    modes: tuple[Mode, ...] = ("prefill", "decode")
    for mode in modes:
        passes = read_passes(tmp_path, mode)
        assert passes is not None
        summary = mode_summary(passes)
        assert isinstance(summary, ModeSummary) and summary.routing is not None
        found = summary.routing
        assert found.other_experts.positions == 0
        assert found.unequal_bits_same_experts.positions == len(made.output_ids)
        assert (found.first.comparisons, found.first.logits) == (2, 2)
