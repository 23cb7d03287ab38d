"""A chat endpoint with habits of real ones, in this process, and a cell measured over it."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from scripts.engines.external import find_interface
from scripts.records.cell import Cell
from scripts.records.engine import EngineRecord
from scripts.records.settings import HarnessSettings, Settings
from scripts.sessions.deployment import Deployment
from scripts.sessions.session import Session, run_session
from scripts.verdict.summary import summarise
from scripts.workload.spec import load_workload

ROOT = Path(__file__).resolve().parents[2]
PIECES = ["one", " two", " three", " fünf", ".", "\n"]
Row = dict[str, Any]


@dataclass
class Reply:
    """What an endpoint does with a request.

    `body`: an object is sent as JSON. `cut`: so many bytes of the whole response are sent, then the connection is
    closed, by a reset where `reset`.
    """

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    reset: bool = False


Habit = Callable[[int, dict[str, Any]], Reply]
"""What an endpoint answers to its so-manyth chat request (from 1) with this body."""


def row(
    token: str, logprob: float = -0.1, *, raw: bytes | None = None, others: tuple[Any, ...] = ((" no", -3.0),)
) -> Row:
    """A token with its logprob and candidates as an endpoint names them."""
    raw = token.encode() if raw is None else raw
    listed = [(token, raw, logprob), *((name, name.encode(), value) for name, value in others)]
    return {
        "token": token,
        "logprob": logprob,
        "bytes": list(raw),
        "top_logprobs": [
            {"token": name, "logprob": value, "bytes": list(each)}
            for name, each, value in sorted(listed, key=lambda each: -each[2])
        ],
    }


def pieces(body: dict[str, Any], salt: str = "") -> list[str]:
    """Six tokens that follow from the conversation alone."""
    key = hashlib.sha256((json.dumps(body["messages"]) + salt).encode()).hexdigest()
    source = random.Random(key)
    return [source.choice(PIECES) for _ in range(6)]


def chat(
    body: dict[str, Any],
    rows: list[Row] | None = None,
    *,
    message: dict[str, Any] | None = None,
    usage: dict[str, Any] | None = None,
    finish_reason: Any = "stop",
    **more: Any,
) -> Reply:
    """A usual answer, but for what is given."""
    rows = [row(each) for each in pieces(body)] if rows is None else rows
    said: dict[str, Any] = {"role": "assistant", "content": "".join(each["token"] for each in rows)}
    choice = {"index": 0, "finish_reason": finish_reason, "message": {**said, **(message or {})}}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": rows}
    counted = {"prompt_tokens": len(json.dumps(body["messages"])) // 4, "completion_tokens": len(rows)}
    return Reply({"choices": [choice], "model": "m", "usage": {**counted, **(usage or {})}, **more})


class Endpoint(ThreadingHTTPServer):
    """A chat endpoint that answers by a habit. `asked`: the bodies of its chat requests, in order."""

    daemon_threads = True

    def __init__(self, habit: Habit, *, anything: Any = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.habit, self.anything = habit, anything
        self.asked: list[dict[str, Any]] = []
        self.gate = threading.Lock()

    @property
    def address(self) -> str:
        """What a person gives as endpoint=."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: Any) -> None:
        """Nothing: connections are closed on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def send(self, reply: Reply) -> None:
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        head = f"HTTP/1.1 {reply.status} X\r\n"
        headers = {"Content-Length": str(len(data)), "Content-Type": "application/json", **reply.headers}
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        whole = head.encode("latin-1") + data
        self.wfile.write(whole[: reply.cut])
        if reply.cut is not None:
            self.close_connection = True
            if reply.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
            self.connection.close()

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            return self.send(Reply({"data": [{"id": "m"}]}))
        anything = self.server.anything
        return self.send(Reply({"error": "no"}, 404) if anything is None else Reply(anything))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path != "/v1/chat/completions":
            return self.do_GET()
        with self.server.gate:
            self.server.asked.append(body)
            number = len(self.server.asked)
        return self.send(self.server.habit(number, body))


@contextmanager
def serving(habit: Habit, **more: Any) -> Iterator[Endpoint]:
    """An endpoint that runs."""
    server = Endpoint(habit, **more)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def deployment(folder: Path, address: str, record: EngineRecord, **arguments: Any) -> Deployment:
    """The deployment behind an endpoint, as the grid `external` has it."""
    manifest = folder / "manifest.json"
    manifest.write_text(
        json.dumps(
            {
                "bytes": 0,
                "files": [],
                "model": "deployment",
                "precision": "as-served",
                "quantised": "as it is served",
                "source": {"mode": "text", "served": True},
                "tensor_types": {},
                "version": 1,
            }
        ),
        encoding="utf-8",
    )
    settings = Settings(
        model="deployment",
        architecture="unknown",
        precision="as-served",
        engine="external",
        variant="base",
        kind="openai",
        runtime="external",
        arguments={"max_model_len": 98_304, **arguments},
        environment={},
        harness=HarnessSettings(),
        top_logprobs=5,
        endpoint=address,
    )
    return Deployment(settings, manifest, record, folder / "engine.log")


def measure(
    folder: Path, endpoint: Endpoint, *, sessions: int = 2, replays: int = 3, workload: str = ""
) -> Cell:
    """The verdict of so many sessions over an endpoint, each a reconnection."""
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(workload) if workload else ROOT / "tests/data/endpoint.yaml"
    asked = load_workload(path)
    record = find_interface("external", endpoint.address, None)
    there = deployment(folder, endpoint.address, record)
    cell = folder / "cell"
    for number in range(sessions):
        run_session(Session(number, replays, asked, there), cell / f"session-{number:02d}" / "session.json")
    return summarise(cell)


def reading(found: Cell, kind: str) -> str | None:
    """What a cell reads of a kind."""
    return next((each.sentence for each in found.readings if each.kind == kind), None)


def pause(seconds: float) -> None:
    """Let time go by, as a clock in a template sees it."""
    time.sleep(seconds)
