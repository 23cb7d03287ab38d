"""What is started on each of several machines that serve together, by the engine and the profile as they are."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from scripts.common.errors import ConfigError
from scripts.engines.container_plan import ContainerPlan
from scripts.engines.nodes import VARIABLE, node_flags, nodes_of, worker_command
from scripts.engines.server_kinds import command, server_kind
from scripts.grid.configuration import load_configuration
from scripts.grid.resolve import cell_settings, resolve_cells
from scripts.records.engine import EngineRecord
from scripts.records.settings import Settings

ROOT = Path(__file__).parents[2]
NODES = "10.0.0.1,me@10.0.0.2,10.0.0.3"
SHARED = [
    *("--tensor-parallel-size", "4", "--pipeline-parallel-size", "3", "--max-model-len", "65536"),
    *("--max-num-seqs", "1", "--no-enable-prefix-caching", "--language-model-only"),
    *("--generation-config", "vllm", "--gpu-memory-utilization", "0.9", "--kv-cache-dtype", "bfloat16"),
    *("--max-logprobs", "20"),
]

RECORD = EngineRecord(engine="x", kind="vllm", runtime="docker", image=None, digest=None, image_id="sha256:0")


@pytest.fixture
def settings() -> Settings:
    configuration = load_configuration(ROOT, {"grid": "blackwell", "nodes": NODES})
    cells = resolve_cells(configuration)
    path = "qwen3.5-397b-a17b/bf16/vllm-0.24.0-multinode/base"
    return cell_settings(configuration, next(cell for cell in cells if cell.path == path))


def test_the_others_are_told_their_rank_and_serve_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, NODES)
    plan = ContainerPlan(settings, RECORD, tmp_path, nodes_of(settings))
    for rank in (1, 2):
        assert worker_command(plan, rank) == [
            *("/weights", "--served-model-name", "tempzero"),
            *("--logits-processors", "scripts.engines.vllm_force:Force"),
            *SHARED,
            *("--nnodes", "3", "--node-rank", str(rank), "--master-addr", "10.0.0.1", "--headless"),
        ]


def test_the_head_serves_here_with_the_same_arguments(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, NODES)
    argv = command(
        server_kind("vllm"),
        settings.arguments,
        "/weights",
        host="127.0.0.1",
        port=8000,
        python="python3",
        key="",
    )
    assert argv[-len(SHARED) :] == SHARED
    ours = ["--nnodes", "3", "--node-rank", "0", "--master-addr", "10.0.0.1"]
    assert node_flags(nodes_of(settings), 0) == ours


def test_each_machine_gives_its_own_gpus_and_its_network(settings: Settings, tmp_path: Path) -> None:
    plan = ContainerPlan(settings, RECORD, tmp_path, NODES.split(","), ["0", "1", "2", "3"])
    assert plan.network == "host" and plan.box.ipc == "host"
    assert plan.gpus is not None and plan.gpus[0]["DeviceIDs"] == ["0", "1", "2", "3"]
    assert plan.environment["PYTHONPATH"] == "/tempzero"
    alone = ContainerPlan(settings, RECORD, tmp_path)
    assert alone.network is None and alone.gpus is None


def test_machines_that_are_not_named_are_missed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "10.0.0.1")
    with pytest.raises(ConfigError, match="wants 3 machines, and 1 are named"):
        nodes_of(settings)
    assert nodes_of(msgspec.structs.replace(settings, nodes=1)) == [] and node_flags([], 0) == []
