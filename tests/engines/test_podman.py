"""Real containers under a real Podman, through Docker's interface: llama.cpp's server, serving a small model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from scripts.common.errors import EngineError
from scripts.engines.start import start_engine
from scripts.provenance.containers import SESSION
from scripts.provenance.docker_engine import check_gpus, connect, image_record, is_podman
from scripts.provenance.images import build_image
from scripts.records.engine import EngineRecord
from scripts.records.settings import Settings
from tests.engines.serving import ROOT, engine_entry, engine_settings, first_prompt, gguf_quant
from tests.patience import ENDS, wait_until

pytestmark = [pytest.mark.engines, pytest.mark.needs_podman]
ENGINE = "llamacpp-docker"
HOLD = """
import sys, time
from pathlib import Path
from msgspec import json
from scripts.common.command import run
from scripts.engines.start import start_engine
from scripts.records.engine import EngineRecord
from scripts.records.settings import Settings

def main() -> None:
    settings, record = json.decode(SETTINGS, type=Settings), json.decode(RECORD, type=EngineRecord)
    with start_engine(settings, Path(WEIGHTS), Path(LOG), record):
        time.sleep(3600)

SETTINGS, RECORD, WEIGHTS, LOG = sys.argv[1:]
del sys.argv[1:]
run(main)
"""


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a Podman listens, with the images that Docker has."""
    socket = tmp_path_factory.mktemp("podman") / "podman.sock"
    for image in ("tempzero-base:bookworm", f"tempzero-{ENGINE}:built"):
        if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0:
            subprocess.run(f"docker save {image} | podman load --quiet", shell=True, check=True)
    service = subprocess.Popen(["podman", "system", "service", "--time=0", f"unix://{socket}"])
    wait_until(socket.exists)
    yield f"unix://{socket}"
    service.terminate()
    service.wait()


@pytest.fixture(autouse=True)
def host(podman: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Podman, for what the tests start too; no container is left in it."""
    monkeypatch.setenv("DOCKER_HOST", podman)
    yield
    left = containers(podman)
    for each in left:
        each.remove(force=True)
    assert not left


@pytest.fixture
def record() -> EngineRecord:
    """The engine's image, built where Docker had none."""
    with connect() as client:
        try:
            found = image_record(client, f"tempzero-{ENGINE}:built")
        except docker.errors.ImageNotFound:
            return build_image(ENGINE, engine_entry(ENGINE))
    return EngineRecord(
        engine=ENGINE,
        kind="llamacpp",
        runtime="docker",
        image=found.image,
        image_id=found.image_id,
        digest=found.digest,
    )


@pytest.fixture
def settings() -> Settings:
    return engine_settings(ENGINE, environment={}, container=None, start_seconds=120)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_quant("dense", tmp_path_factory.mktemp("quants") / "tinychart-dense")


def containers(address: str | None = None) -> list[Any]:
    """Those of sessions, of the engine at an address, else of the one that DOCKER_HOST names."""
    client = docker.DockerClient(address) if address else docker.from_env()
    return list(client.containers.list(all=True, filters={"label": SESSION}, ignore_removed=True))


def test_a_server_in_podman_answers_and_its_record_says_what_it_was_given(
    settings: Settings, record: EngineRecord, weights: Path, tmp_path: Path
) -> None:
    prompt, stop = first_prompt(weights)
    with start_engine(settings, weights, tmp_path / "engine.log", record) as engine:
        (running,) = containers()
        assert running.attrs["Image"] == record.image_id
        made = engine.generate(prompt, max_tokens=30, stop_ids=[stop], top_logprobs=5)
        engine.reset()
        assert engine.generate(prompt, max_tokens=30, stop_ids=[stop], top_logprobs=5) == made
        facts = engine.describe().container
    assert not containers()
    assert "llama" in (tmp_path / "engine.log").read_text()
    assert facts is not None and facts.image_id == record.image_id
    assert facts.user == "engine" and facts.published == ["127.0.0.1 → 8000/tcp"]
    assert "/weights" in [each.at for each in facts.mounts] and all(each.read_only for each in facts.mounts)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_container_of_podmans_outlives_its_session(
    settings: Settings, record: EngineRecord, weights: Path, tmp_path: Path, number: signal.Signals
) -> None:
    given = (json.dumps(settings.as_json()), json.dumps(record.as_json()), weights, tmp_path / "engine.log")
    session = subprocess.Popen([sys.executable, "-c", HOLD, *map(str, given)], cwd=ROOT)
    wait_until(containers)
    session.send_signal(number)
    session.wait(ENDS)
    wait_until(lambda: not containers(), seconds=ENDS)


def test_podman_is_found_where_docker_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a socket of its own anywhere: a service is started, and is gone with the client."""
    monkeypatch.delenv("DOCKER_HOST")
    nowhere = {"base_url": f"unix://{tmp_path}/none.sock"}
    monkeypatch.setattr("docker.client.ContextAPI.kwargs_from_context", lambda environment: nowhere)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with connect() as client:
        assert is_podman(client)
        with pytest.raises(EngineError, match="Podman gives no GPU to a container"):
            check_gpus(client, 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="Docker cannot be reached"), connect():
        pass
