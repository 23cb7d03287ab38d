"""The runtime `process`: a server started from a locked environment on this machine, and gone when it is left."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from scripts.common.errors import EngineError
from scripts.engines.http import Server, log_end
from scripts.engines.ready import HOST, START_SECONDS, take_port, wait_until_ready
from scripts.engines.server_kinds import MODEL, Client, command, server_kind, weights_argument
from scripts.engines.slurm_nodes import check_nodes, srun_command, worker_command
from scripts.engines.tuning import process_caches
from scripts.provenance.devices import NO_DEVICES, Devices
from scripts.provenance.gpus import VISIBLE
from scripts.records.settings import Settings

STOP_SECONDS = 90.0
ROOT = Path(__file__).absolute().parents[2]  # of a rehearsal its own folder, where `scripts` is a link


@contextmanager
def serve_process(
    settings: Settings,
    weights: Path,
    log: Path,
    *,
    python: str = sys.executable,
    devices: Devices = NO_DEVICES,
) -> Iterator[Client]:
    """The client of a server of `settings` over the folder `weights`; all the server writes goes to the file `log`.

    `python`: that of the environment that has the server, where it is not this one's. `devices`: the GPUs that it gets.
    The server runs under a guard (guard_process.py) in a session of its own; it is gone, with every process that it
    started, when this returns: after an exception or Ctrl-C too. Should this process be killed, the guard ends it.
    EngineError with the log's end where it does not start, is not ready in time, or dies.
    """
    kind = server_kind(settings.kind)
    port = take_port(settings.port)
    key = secrets.token_hex(16)
    served = (weights / weights_argument(kind, weights)).as_posix()
    argv = command(kind, settings.arguments, served, host=HOST, port=port, python=python, key=key)
    check_nodes(settings)
    if settings.spans_nodes:
        worker = worker_command(kind, settings, served, python)
        argv = srun_command(argv, worker, settings.nodes, socket.gethostname())
    check_program(argv[0])
    own = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    if devices.gpus:
        own[VISIBLE] = devices.visible
    if kind.key_variable:
        own[kind.key_variable] = key
    log.parent.mkdir(parents=True, exist_ok=True)
    with process_caches(settings, {**os.environ, **kind.environment}) as caches:
        with open(log, "wb") as stream:
            guard = subprocess.Popen(
                [sys.executable, "-m", "scripts.engines.guard_process", *argv],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**caches.environment, **own},
                cwd=ROOT,
                start_new_session=True,
                pass_fds=devices.locks,  # the GPUs are not free before the guard has ended the server
            )

        def death() -> str | None:
            code = guard.poll()
            return None if code is None else f"exit status {code}"

        def said() -> str:
            return log.read_text("utf-8", "replace")

        server = Server(
            f"http://{HOST}:{port}", key, said, death, weights=weights, tuning=lambda: caches.look(said())
        )
        try:
            wait_until_ready(server, kind, settings.start_seconds or START_SECONDS)
            with closing(kind.client(server, settings.arguments, MODEL)) as client:
                yield client
        finally:
            stop(guard, log)


def stop(guard: subprocess.Popen[bytes], log: Path) -> None:
    """Order the guard to end its server and wait until both are gone."""
    assert guard.stdin is not None
    guard.stdin.close()
    try:
        guard.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired as error:
        guard.kill()
        guard.wait()
        text = log_end(log.read_text("utf-8", "replace"))
        raise EngineError(
            f"the engine did not end within {STOP_SECONDS:.0f} s{text}", where=str(log)
        ) from error
    except BaseException:
        # A second Ctrl-C: the guard has its order and goes on; wait for it nevertheless.
        guard.wait(STOP_SECONDS)
        raise


def check_program(program: str) -> None:
    """EngineError where the server's program is not there."""
    if shutil.which(program) is None:
        raise EngineError(
            "the program that serves is not there", where=program, remedy="install it, or use the container"
        )
