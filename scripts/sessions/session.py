"""A session from start to end: start the engine, play, stop it, write the record, and only then name the folder."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from scripts.common.errors import StartError
from scripts.common.files import sha256_file
from scripts.engines.refusal import find_ignored, find_refusal
from scripts.provenance.code import describe_code
from scripts.provenance.machine import describe_machine
from scripts.quants.manifest import verify_manifest
from scripts.records.engine import Described
from scripts.records.machine import Machine
from scripts.records.session import SessionRecord, WeightsSum, WorkloadSum
from scripts.sessions.aside import session_folder
from scripts.sessions.deployment import Deployment
from scripts.sessions.play import Played, Player
from scripts.sessions.progress import Progress
from scripts.workload.chat import ChatForm
from scripts.workload.workloads import Workload

# Variables that an engine may heed, and words in the names of those that nobody may see.
HEEDED = (
    "OMP_", "GGML_", "LLAMA_", "CUDA_", "NCCL_", "VLLM_", "SGLANG_", "OPENBLAS_", "MKL_", "NVIDIA_",
)  # fmt: skip
SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")


@dataclass(frozen=True)
class Session:
    """What is run: session `number` of a cell, from 0, which plays `workload` `replays` times on `deployment`."""

    number: int
    replays: int
    workload: Workload
    deployment: Deployment


def run_session(session: Session, output: Path) -> None:
    """Run a session and write its folder, `output` (session.json) last; on any failure nothing of it is left.

    An engine that refuses to start because of what the cell's variant asks is no failure: the record says so.
    """
    deployment = session.deployment
    verify_manifest(deployment.manifest)
    with session_folder(output.parent) as folder:
        started = now()
        player = Player(deployment.chat_form(), session.workload, deployment.settings)
        progress = Progress(deployment.title(f"session {session.number}"), session.replays)
        played, described, refused, start_seconds = Played([], None, 0.0), None, None, None
        with deployment.gpus() as devices:
            machine = describe_machine()  # while the GPUs are this session's
            begun = time.monotonic()
            try:
                with deployment.start_on(devices) as engine:
                    start_seconds = round(time.monotonic() - begun, 3)
                    with devices.playing():
                        played = player.play(engine, folder, session.replays, progress)
                        described = engine.describe()
            except StartError as error:
                refused = find_refusal(error.log, error.ended, deployment.settings.asked)
                if refused is None:
                    raise
                print(f"the engine refused to start: {refused.sentence}", file=sys.stderr)
        clock = player.chat.clock if isinstance(player.chat, ChatForm) else None
        found = _record(session, played, described, machine, started, clock)
        ignored = None if refused else find_ignored(_log(deployment.log), deployment.settings.asked)
        found = replace(found, refused=refused, ignored=ignored, start_seconds=start_seconds)
        found.write(folder / output.name)


def _record(
    session: Session,
    played: Played,
    described: Described | None,
    machine: Machine,
    started: str,
    clock: str | None,
) -> SessionRecord:
    settings, workload = session.deployment.settings, session.workload
    tuning = None if described is None else described.tuning
    return SessionRecord(
        model=settings.model,
        architecture=settings.architecture,
        precision=settings.precision,
        engine=settings.engine,
        variant=settings.variant,
        session=session.number,
        replays=len(played.replays),
        files=[each.files for each in played.replays],
        tokens=sum(each.tokens for each in played.replays),
        seconds=sum(each.seconds for each in played.replays),
        replay_tokens=[each.tokens for each in played.replays],
        replay_seconds=[each.seconds for each in played.replays],
        wall_seconds=played.wall_seconds,
        load=played.load,
        waits=played.waits,
        questions=workload.questions,
        sampling=None if workload.sampling.greedy else workload.sampling,
        template_time=clock,
        workload=WorkloadSum(name=workload.name, sha256=workload.sha256),
        weights=WeightsSum(manifest_sha256=sha256_file(session.deployment.manifest)),
        engine_record=session.deployment.record,
        resolved=None if described is None else replace(described, tuning=None),
        caches=None if tuning is None else tuning.caches,
        tuned=None if tuning is None else tuning.tuned,
        settings=settings,
        argv=[relative(part) for part in sys.orig_argv],
        environment=heeded_environment(settings.environment),
        machine=machine,
        code=describe_code(Path()),
        started=started,
        ended=now(),
    )


def _log(path: Path) -> str:
    """What the engine wrote; nothing where its log is somebody else's."""
    return path.read_text("utf-8", "replace") if path.is_file() else ""


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def relative(argument: str) -> str:
    """An argument without the folder that the project, or a file of somebody's, happens to lie in."""
    own = argument.replace(f"{Path.cwd()}{os.sep}", "")
    return Path(own).name if Path(own).is_absolute() else own


def heeded_environment(own: dict[str, str]) -> dict[str, str]:
    """The variables that an engine may heed: the cell's `own`, and what was there of threads, GPUs and libraries."""
    found = {key: value for key, value in os.environ.items() if key.startswith(HEEDED)} | own
    return {
        key: value for key, value in sorted(found.items()) if not any(word in key.upper() for word in SECRET)
    }
