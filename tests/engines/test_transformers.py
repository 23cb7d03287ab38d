"""Transformers in process, for real, on the small models in bf16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scripts.common.errors import ConfigError, EngineError
from scripts.common.protocol import Engine
from scripts.engines.start import start_engine
from scripts.records.settings import LlamaCppArguments
from scripts.tinychart.score import score_held_out
from scripts.workload.chat import ChatForm
from tests.engines.serving import checkpoint, engine_settings, first_prompt, gguf_quant, kind_settings

pytestmark = pytest.mark.engines
ENGINE = "transformers-5.19.0"
GENERATE: dict[str, Any] = {"max_tokens": 60, "stop_ids": [2], "top_logprobs": 5}


@pytest.fixture(scope="module", params=["dense", "moe"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def prompt(weights: Path) -> list[int]:
    return first_prompt(weights)[0]


@pytest.fixture(scope="module")
def engine(
    weights: Path, transformers_environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    log = tmp_path_factory.mktemp("log") / "engine.log"
    with start_engine(engine_settings(ENGINE), weights, log) as started:
        yield started


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> None:
    engine.reset()


def test_the_same_bits_again(engine: Engine, prompt: list[int]) -> None:
    first = engine.generate(prompt, **GENERATE)
    assert first.finish_reason == "stop" and first.chosen is not None and first.top is not None
    assert [top[0] for top in first.top] == list(zip(first.output_ids, first.chosen, strict=True))
    engine.reset()
    assert engine.generate(prompt, **GENERATE) == first


def test_a_prompt_that_grows_is_read_on(engine: Engine, prompt: list[int]) -> None:
    made = engine.generate(prompt, **GENERATE)
    longer = [*prompt, *made.output_ids, *prompt[-20:]]
    grown = engine.generate(longer, **GENERATE)
    engine.reset()
    engine.generate(prompt, **GENERATE)
    assert engine.generate(longer, **GENERATE) == grown


def test_a_prompt_that_does_not_grow_keeps_what_it_shares(engine: Engine, prompt: list[int]) -> None:
    """The logits after a cut are those of a context that never held more, but for the shapes of what was read."""
    engine.generate(prompt, **GENERATE)
    again = engine.generate(prompt[:-30], max_tokens=1, stop_ids=[], top_logprobs=5)
    engine.reset()
    fresh = engine.generate(prompt[:-30], max_tokens=1, stop_ids=[], top_logprobs=5)
    assert again.chosen == pytest.approx(fresh.chosen, abs=0.2) and again.output_ids == fresh.output_ids


def test_forced_decode_returns_the_bits_of_free_decode(engine: Engine, prompt: list[int]) -> None:
    made = engine.generate(prompt, **GENERATE)
    engine.reset()
    forced = engine.force(prompt, made.output_ids, top_logprobs=5)
    assert (forced.first, forced.chosen, forced.top) == (len(prompt), made.chosen, made.top)
    engine.reset()
    assert engine.force(prompt, made.output_ids, top_logprobs=5) == forced


def test_prefill_scores_every_position(engine: Engine, prompt: list[int]) -> None:
    """Of more ids than are read in one pass; and its most likely ids are those of free decode but for near-ties."""
    made = engine.generate(prompt, **GENERATE)
    assert made.chosen is not None
    ids = [*prompt, *made.output_ids, *(prompt * 6)]
    scores = engine.score(ids, top_logprobs=5)
    assert len(ids) > 512 and scores.first == 1
    assert len(scores.digests) == len(scores.chosen) == len(scores.top) == len(ids) - 1
    assert engine.score(ids, top_logprobs=5) == scores
    of_output = slice(len(prompt) - 1, len(prompt) - 1 + len(made.output_ids))
    likely = [top[0][0] for top in scores.top[of_output]]
    same = sum(a == b for a, b in zip(likely, made.output_ids, strict=True))
    assert same >= 0.95 * len(likely)
    assert scores.chosen[of_output] == pytest.approx(made.chosen, abs=0.2)


def test_it_computes_what_llama_cpp_computes(
    engine: Engine, weights: Path, prompt: list[int], llamacpp_environment: Path, tmp_path: Path
) -> None:
    from scripts.engines.llama_cpp_python import LlamaCppPython

    made = engine.generate(prompt, **GENERATE)
    ids = [*prompt, *made.output_ids]
    ours = engine.score(ids, top_logprobs=1)
    architecture = "moe" if "moe" in (weights / "config.json").read_text() else "dense"
    model = gguf_quant(architecture, tmp_path, "bf16") / "model.gguf"
    with closing(LlamaCppPython(model, LlamaCppArguments(), tmp_path / "log")) as other:
        theirs = other.score(ids, top_logprobs=1)
    same = sum(a[0][0] == b[0][0] for a, b in zip(ours.top, theirs.top, strict=True))
    assert same > 0.97 * len(ours.top)
    apart = sorted(abs(a - b) for a, b in zip(ours.chosen, theirs.chosen, strict=True))
    assert apart[len(apart) // 2] < 0.02


def test_the_trained_model_answers(engine: Engine, weights: Path) -> None:
    score = score_held_out(engine, ChatForm(weights), 1, context=4096)
    assert score.asked.total() == 10 and score.accuracy > 0.7


def test_attention_by_the_models_own_products_is_another_kernel(
    engine: Engine, weights: Path, prompt: list[int], tmp_path: Path
) -> None:
    arguments = {**engine_settings(ENGINE).arguments, "attn_implementation": "eager"}
    base = engine.score(prompt, top_logprobs=5)
    with start_engine(engine_settings(ENGINE, arguments=arguments), weights, tmp_path / "log") as eager:
        changed = eager.score(prompt, top_logprobs=5)
        assert eager.describe().resolved["attention_backend"] == "eager"
    assert changed.digests != base.digests
    assert changed.chosen == pytest.approx(base.chosen, abs=0.3)


def test_what_is_described_was_read(engine: Engine, weights: Path) -> None:
    described = engine.describe()
    moe = "moe" in (weights / "config.json").read_text()
    assert described.version == "5.19.0" and described.resolved["torch"] == "2.13.0+cpu"
    assert described.resolved["dtype"] == "bfloat16" and described.resolved["device"] == "cpu"
    assert described.resolved["attention_backend"] == "sdpa" and described.resolved["threads"] == 1
    assert described.resolved["moe_backend"] == ("grouped_mm" if moe else None)


def test_a_context_that_is_full_says_so(engine: Engine, prompt: list[int]) -> None:
    with pytest.raises(EngineError, match=r"(?s)no room left.*context_length"):
        engine.generate(prompt * 60, **GENERATE)


def test_weights_that_cannot_be_read_say_so(engine: Engine, tmp_path: Path) -> None:
    weights = checkpoint("dense", tmp_path / "weights")
    (weights / "model.safetensors").write_bytes(b"not really")
    settings = kind_settings("transformers")
    with pytest.raises(EngineError, match="cannot load the weights"):
        with start_engine(settings, weights, tmp_path / "log"):
            pass
    with pytest.raises(EngineError, match="cannot load the weights"):
        with start_engine(settings, tmp_path / "nowhere", tmp_path / "log"):
            pass


def test_a_mistyped_argument_is_named(weights: Path, tmp_path: Path) -> None:
    settings = kind_settings("transformers", arguments={"thread": 2})
    with pytest.raises(ConfigError, match="did you mean 'threads'"):
        with start_engine(settings, weights, tmp_path / "log"):
            pass
