"""Requests of one's own by Snakemake run for real: in process with a seed, and a chat endpoint that is sent them as they are."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from checkouts import CELLS, ENGINE, GRID, Checkout

from scripts.archive.verify import verify_archive
from scripts.records.session import SessionRecord
from scripts.records.transcript import Turn

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CONVERSATION = [
    {"role": "user", "content": "How warm is it?"},
    {"role": "assistant", "content": "Where?"},
    {"role": "user", "content": "In Tartu."},
    {"role": "assistant", "content": "Seven degrees."},
]
LINES: list[Any] = [
    {"custom_id": "with-tools", "body": {"messages": CONVERSATION[:1], "tools": [TOOL], "max_tokens": 5}},
    {"messages": CONVERSATION},
    "Tere!",
]
NAMES = ["with-tools", "line-2.turn-1", "line-2.turn-2", "line-3"]


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


class Chat(ThreadingHTTPServer):
    """A plain chat endpoint that answers what it is sent and remembers it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
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

    def do_GET(self) -> None:
        known = self.path == "/v1/models"
        self.reply(200 if known else 404, {"data": [{"id": "plain"}]} if known else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.reply(404, {})
            return
        self.server.bodies.append(body)
        message = {"role": "assistant", "content": f"{len(body['messages'])} messages"}
        self.reply(200, {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]})


@pytest.fixture
def chat() -> Iterator[Chat]:
    server = Chat()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def transcripts(folder: Path) -> dict[str, list[Turn]]:
    return {path.name: list(Turn.read_lines(path)) for path in sorted(folder.glob("*.transcript.jsonl"))}


def test_a_server_is_asked_ones_own_requests_and_a_verdict_is_said(
    fresh: Checkout, chat: Chat, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    requests = write(private / "my.jsonl", LINES)
    address = f"http://127.0.0.1:{chat.server_address[1]}/v1"
    given = ("--config", "grid=ask", f"endpoint={address}", f"requests={requests}")
    done = fresh.run("--cores", "1", "verdict", *given)
    assert done.returncode == 0, done.stdout
    assert "6 replays of my;" in done.stdout.splitlines()[0]
    lines = (fresh.path / "results/logs/verdict.log").read_text().splitlines()
    assert len(lines) == 5 and lines[0] == "deployment at-a-glance: none observed (nothing differed)"
    assert lines[1].startswith("text: 6/6 replays equal, in 2 sessions")
    assert lines[2] == "bits: not known, without logprobs of the whole"
    assert lines[4].startswith("report: results/report.html")
    asked = [each for each in chat.bodies if each.get("tools")]
    assert asked and all(each["messages"] == CONVERSATION[:1] for each in asked)
    assert asked[-1]["tools"] == [TOOL] and asked[-1]["max_tokens"] == 5 and asked[-1]["temperature"] == 0
    session = fresh.path / "results/cells/deployment/at-a-glance/external/base/session-00"
    for turns in transcripts(session).values():
        assert [turn.scenario for turn in turns] == NAMES
        assert [turn.text for turn in turns] == ["1 messages", "1 messages", "3 messages", "1 messages"]
    assert str(private) not in (session / "session.json").read_text()
    assert json.loads((fresh.path / "results/grid.json").read_text())["requests"] == "my.jsonl"
    packed = fresh.run("--cores", "1", "archive", *given)  # without the file, which lies elsewhere
    assert packed.returncode == 0, packed.stdout
    verify_archive(fresh.path / "results/provenance.zip")


def test_requests_are_drawn_from_a_seed_in_process(fresh: Checkout) -> None:
    write(fresh.path / "config/workloads/own.jsonl", LINES)
    for name, sampling in (("drawn", {"temperature": 1.5, "seed": 7}), ("loose", {"temperature": 1.5})):
        fresh.write_yaml(
            f"config/workloads/{name}.yaml",
            {"name": name, "requests": "own.jsonl", "limits": {"max_tokens": 24}, "sampling": sampling},
        )
    block = {"models": ["tinychart-dense"], "precisions": ["q8_0"], "engines": [ENGINE]}
    blocks = [
        {**block, "variants": ["base"]},
        {**block, "variants": ["prompt-cache"], "workload": "loose"},
    ]
    fresh.write_yaml(
        "config/grids/tiny.yaml", {**GRID, "workload": "drawn", "sessions": 1, "forced": 1, "blocks": blocks}
    )
    done = fresh.run("--cores", "1", "archive")
    assert done.returncode == 0, done.stdout
    assert "of drawn (temperature 1.5, seed 7) and loose (temperature 1.5);" in done.stdout.splitlines()[0]
    drawn, loose = ((fresh.path / CELLS / variant / "session-00") for variant in ("base", "prompt-cache"))
    one, other = transcripts(drawn).values()
    assert [turn.scenario for turn in one] == NAMES and one == other
    assert len(set(map(str, transcripts(loose).values()))) == 2
    record = SessionRecord.read(drawn / "session.json")
    assert record.questions == 0 and record.sampling is not None and record.sampling.seed == 7
    cell = json.loads((drawn.parent / "cell.json").read_text())
    assert (cell["text_identical"], cell["score"]) == (2, None)
    verify_archive(fresh.path / "results/provenance.zip")


def test_what_cannot_be_asked_is_refused_before_anything_is_run(fresh: Checkout) -> None:
    path = write(
        fresh.path / "my.jsonl",
        [{"prompt": "a"}, {"prompt": "b", "response_format": {"type": "json_object"}}],
    )
    for extra, what in (
        (("grid=vllm-cpu", "requests=my.jsonl"), "the request line-2 asks for response_format"),
        (("requests=your.jsonl",), "the file cannot be read"),
    ):
        done = fresh.run("-n", "--config", *extra)
        assert done.returncode == 1 and what in done.stdout, done.stdout
    path.write_text('{"prompt": "a"}\n')
    done = fresh.run("-n", "--config", "grid=embedded", "requests=my.jsonl")
    assert "'leaky' changes what a tool shows" in done.stdout
    path.write_text('{"prompt": "a"}\n{"prompt"\n')
    done = fresh.run("-n", "--config", "requests=my.jsonl")
    assert "my.jsonl:2: the line is not JSON" in done.stdout
