"""Until a server is ready: a port for it, and its health and its death watched together."""

from __future__ import annotations

import socket
import time

import requests

from scripts.common.errors import EngineError
from scripts.engines.http import Server
from scripts.engines.server_kinds import ServerKind

HOST = "127.0.0.1"
POLL_SECONDS = 0.2
START_SECONDS = 1800.0


def take_port(wanted: int | None) -> int:
    """A free port of 127.0.0.1; with `wanted` that one, EngineError where something listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            raise EngineError(
                f"port {wanted} is taken ({error.strerror})",
                where=HOST,
                remedy="end what listens there, or leave the engine's `port` out: a free one is then taken",
            ) from error
        return int(probe.getsockname()[1])


def wait_until_ready(server: Server, kind: ServerKind, limit: float) -> None:
    """Poll health and death together until the server answers.

    StartError when it died, EngineError when `limit` seconds passed.
    """
    until = time.monotonic() + limit
    headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
    with requests.Session() as session:
        session.trust_env = False
        while True:
            if ended := server.death():
                raise server.not_started(ended)
            try:
                answer = session.get(server.url + kind.health, headers=headers, timeout=10)
                if answer.status_code == 200:
                    return
                if answer.status_code in (401, 403):
                    raise server.failure("something else answers on the engine's port: it refuses the key")
            except requests.RequestException:
                pass
            if time.monotonic() > until:
                raise server.failure(f"the engine was not ready within {limit:.0f} s")
            time.sleep(POLL_SECONDS)
