"""A vLLM that several machines serve together, by its own multi-node mode: under Slurm one rank a machine, by `srun`.

Ranks, the first one's address and `--headless` are as vLLM's documentation has them
(docs/serving/parallelism_scaling.md). Rank 0 answers requests, on the job's first machine, where its session runs. With
`distributed_executor_backend: ray` none of it is needed: vLLM joins the cluster that its owner started.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence

from scripts.common.errors import EngineError
from scripts.engines.server_kinds import MODEL, ServerKind, flags, forcing
from scripts.records.settings import Settings

WORKER = (
    "-m",
    "vllm.entrypoints.cli.main",
    "serve",
)  # the module that rank 0 is started by knows no --headless


def check_nodes(settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """EngineError where the engine's ranks are started here and this is no Slurm job of as many machines."""
    given = environment.get("SLURM_JOB_NUM_NODES", "")
    if settings.spans_nodes and given != str(settings.nodes):
        there = f"a Slurm job of {given}" if given else "no Slurm job"
        raise EngineError(
            f"{settings.engine} wants {settings.nodes} machines, and this is {there}",
            remedy="run the workflow through Slurm, or join a Ray cluster: config/README.md, Several machines",
        )


def worker_command(kind: ServerKind, settings: Settings, weights: str, python: str) -> list[str]:
    """The command of every rank but the first."""
    arguments = settings.arguments
    named = [weights, "--served-model-name", MODEL]
    return [python, *WORKER, *named, *forcing(kind, arguments), *flags(kind, arguments), "--headless"]


def srun_command(head: Sequence[str], worker: Sequence[str], nodes: int, address: str) -> list[str]:
    """One command that runs `head` as rank 0 and `worker` as each other one, a rank a machine; it ends with the first
    that ends. `address`: the first machine's, as the others reach it."""
    rank = ["--nnodes", str(nodes), "--master-addr", address, "--node-rank"]
    first, other = shlex.join([*head, *rank, "0"]), shlex.join([*worker, *rank])
    return [
        *("srun", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"),
        *("--kill-on-bad-exit=1", "--wait=10"),
        *("sh", "-c", f'if [ "$SLURM_PROCID" = 0 ]; then exec {first}; fi; exec {other} "$SLURM_PROCID"'),
    ]
