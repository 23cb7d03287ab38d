"""An engine that several machines serve: what is run on each of them, as the shell there runs it."""

from __future__ import annotations

import os
import subprocess

import msgspec
import pytest

from scripts.common.errors import EngineError
from scripts.engines.server_kinds import server_kind
from scripts.engines.slurm_nodes import check_nodes, srun_command, worker_command
from tests.engines.serving import kind_settings

SETTINGS = kind_settings("vllm", arguments={"tensor_parallel_size": 4, "note": "it's one"}, nodes=3)


def test_each_machine_runs_its_rank() -> None:
    worker = worker_command(server_kind("vllm"), SETTINGS, "/weights", "/env/bin/python")
    assert worker[:4] == ["/env/bin/python", "-m", "vllm.entrypoints.cli.main", "serve"]
    assert worker[4] == "/weights" and worker[-1] == "--headless"
    argv = srun_command(["printf", "%s|", "head"], ["printf", "%s|", *worker[5:]], 3, "node-a")
    at = argv.index("sh")
    assert argv[:at] == [
        *("srun", "--overlap", "--nodes=3", "--ntasks=3", "--ntasks-per-node=1"),
        *("--kill-on-bad-exit=1", "--wait=10"),
    ]

    def run(rank: int) -> list[str]:
        environment = {**os.environ, "SLURM_PROCID": str(rank)}
        done = subprocess.run(argv[at:], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split("|")[:-1]

    joined = ["--nnodes", "3", "--master-addr", "node-a", "--node-rank"]
    assert run(0) == ["head", *joined, "0"]
    assert run(2)[-7:] == ["--headless", *joined, "2"]
    assert "it's one" in run(1)


def test_outside_a_job_of_so_many_machines_it_is_refused_and_a_cluster_of_ray_needs_none() -> None:
    check_nodes(SETTINGS, {"SLURM_JOB_NUM_NODES": "3"})
    with pytest.raises(EngineError, match="wants 3 machines, and this is a Slurm job of 2"):
        check_nodes(SETTINGS, {"SLURM_JOB_NUM_NODES": "2"})
    with pytest.raises(EngineError, match="this is no Slurm job"):
        check_nodes(SETTINGS, {})
    ray = msgspec.structs.replace(SETTINGS, arguments={"distributed_executor_backend": "ray"})
    check_nodes(ray, {})
    assert not ray.spans_nodes and not msgspec.structs.replace(SETTINGS, nodes=1).spans_nodes
