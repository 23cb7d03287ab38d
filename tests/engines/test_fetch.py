"""Pulling from a hub: a small server that speaks the hub's HTTP interface, and the real client of it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts.quants.hashes import CACHE, cached_sha256
from scripts.quants.manifest import verify_manifest
from scripts.records.manifest import WeightsSource
from tests.engines.serving import ROOT, checkpoint
from tests.patience import HANGS

pytestmark = pytest.mark.engines
REPOSITORY = "somebody/tinychart"
HEAD = "1" * 40


class Hub(ThreadingHTTPServer):
    """Serves the files of one repository; keeps the requests it saw; can break off, lie, or refuse."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.requests: list[tuple[str, str, str | None]] = []
        self.break_off_at: int | None = None
        self.refuse: tuple[int, str] | None = None
        self.lie = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.requests.append((self.command, path, self.headers.get("Range")))
        if hub.refuse is not None:
            status, code = hub.refuse
            return self.send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})
        if "/tree/" in path:
            return self.send(200, json.dumps(self.tree()).encode(), {"Content-Type": "application/json"})
        if path.startswith("/api/models/"):
            return self.send(200, json.dumps(self.info()).encode(), {"Content-Type": "application/json"})
        name = path.partition(f"/resolve/{HEAD}/")[2]
        file = hub.folder / name
        if not name or not file.is_file():
            return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        data = file.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": HEAD, "Accept-Ranges": "bytes"}
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        return self.send(206 if first else 200, data[first:], headers, body=body)

    def tree(self) -> list[dict[str, Any]]:
        found = []
        for each in self.info()["siblings"]:
            entry = {"type": "file", "path": each["rfilename"], "size": each["size"], "oid": each["blobId"]}
            if "lfs" in each:
                entry["lfs"] = {"oid": each["lfs"]["sha256"], "size": each["size"], "pointerSize": 130}
            found.append(entry)
        return found

    def info(self) -> dict[str, Any]:
        siblings = []
        for file in sorted(self.server.folder.iterdir()):
            data = file.read_bytes()
            entry: dict[str, Any] = {"rfilename": file.name, "size": len(data), "blobId": "0" * 40}
            if file.suffix == ".safetensors":
                digest = "0" * 64 if self.server.lie else hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        fixed = {"private": False, "tags": [], "downloads": 0, "likes": 0}
        return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": HEAD, "siblings": siblings, **fixed}

    def send(self, status: int, data: bytes, headers: dict[str, str], *, body: bool = True) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if body and self.command != "HEAD":
            limit = self.server.break_off_at
            if limit is not None and len(data) > limit:
                self.wfile.write(data[:limit])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            self.wfile.write(data)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = checkpoint("dense", tmp_path / "hub")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    server = Hub(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(hub: Hub, output: Path, revision: str | None = HEAD) -> subprocess.CompletedProcess[str]:
    entry = json.dumps({"repository": REPOSITORY, "revision": revision})
    return subprocess.run(
        [sys.executable, "-m", "scripts.fetch_weights", "m", "p", "--entry", entry, "--output", str(output)],
        cwd=ROOT,
        env={
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(output.parents[1] / "home"),
        },
        capture_output=True,
        text=True,
        timeout=HANGS,
    )


def test_what_is_pulled_is_verified_and_written_down(hub: Hub, tmp_path: Path) -> None:
    output = tmp_path / "quant" / "manifest.json"
    done = fetch(hub, output)
    assert done.returncode == 0, done.stderr[-2000:]
    manifest = verify_manifest(output)
    names = {file.path for file in manifest.files}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not any(name.endswith((".py", ".bin")) for name in names), "no code, no pickles"
    assert not list(output.parent.glob("*.py"))
    assert manifest.source == WeightsSource(repository=REPOSITORY, revision=HEAD)
    assert manifest.quantised == "nothing (bf16)"


def test_a_revision_that_is_not_known_is_resolved_and_recorded(hub: Hub, tmp_path: Path) -> None:
    output = tmp_path / "quant" / "manifest.json"
    assert fetch(hub, output, None).returncode == 0
    source = json.loads(output.read_text())["source"]
    assert source == {"repository": REPOSITORY, "revision": HEAD, "revision_resolved_at_pull": True}


def test_a_dropped_connection_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    output = tmp_path / "quant" / "manifest.json"
    hub.break_off_at = 12_000_000
    assert fetch(hub, output).returncode == 0
    ranges = [seen for _, path, seen in hub.requests if "safetensors" in path and seen]
    assert ranges and not any(seen.startswith("bytes=0-") for seen in ranges)
    verify_manifest(output)


def test_a_pull_that_was_given_up_keeps_the_whole_files(hub: Hub, tmp_path: Path) -> None:
    output = tmp_path / "quant" / "manifest.json"
    hub.break_off_at = 4_000_000
    broken = fetch(hub, output)
    assert broken.returncode == 1
    assert "broke off" in broken.stderr and "same command again" in broken.stderr
    assert not output.exists()
    hub.break_off_at = None
    hub.requests.clear()
    assert fetch(hub, output).returncode == 0
    pulled = {
        path.rpartition("/")[2]
        for command, path, _ in hub.requests
        if command == "GET" and "/resolve/" in path
    }
    assert pulled == {"model.safetensors"}
    verify_manifest(output)


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "GatedRepo", "is gated"),
        (404, "RepoNotFound", "no such repository"),
        (404, "RevisionNotFound", "no such revision"),
        (500, "", "broke off"),
    ],
)
def test_what_the_hub_refuses_is_said(hub: Hub, tmp_path: Path, status: int, code: str, says: str) -> None:
    hub.refuse = (status, code)
    output = tmp_path / "quant" / "manifest.json"
    done = fetch(hub, output)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 0
    assert says in done.stderr
    assert not output.exists()


def test_a_file_that_is_not_what_the_hub_names_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.lie = True
    output = tmp_path / "quant" / "manifest.json"
    done = fetch(hub, output)
    assert done.returncode == 1
    assert "not the one that the hub names" in done.stderr
    assert not output.exists()


def test_a_folder_of_the_owner_is_linked_not_copied(tmp_path: Path) -> None:
    mine = checkpoint("moe", tmp_path / "mine")
    output = tmp_path / "quant" / "manifest.json"
    entry = json.dumps({"local_path": str(mine)})
    command = [
        sys.executable,
        "-m",
        "scripts.fetch_weights",
        "m",
        "p",
        "--entry",
        entry,
        "--output",
        str(output),
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    assert (output.parent / "model.safetensors").is_symlink()
    assert str(tmp_path) not in output.read_text()
    verify_manifest(output)


def test_a_large_file_is_hashed_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "big.safetensors"
    file.write_bytes(b"one")
    first = cached_sha256(tmp_path, file.name, large=1)
    known = json.loads((tmp_path / CACHE).read_text())
    known[file.name]["sha256"] = "kept"
    (tmp_path / CACHE).write_text(json.dumps(known))
    assert cached_sha256(tmp_path, file.name, large=1) == "kept", "it is not read again"
    monkeypatch.setenv("TEMPZERO_REHASH", "1")
    assert cached_sha256(tmp_path, file.name, large=1) == first
    monkeypatch.delenv("TEMPZERO_REHASH")
    file.write_bytes(b"two")
    assert cached_sha256(tmp_path, file.name, large=1) != first


def test_a_template_that_cannot_be_rendered_is_refused_before_the_weights_are_pulled(
    hub: Hub, tmp_path: Path
) -> None:
    (hub.folder / "chat_template.jinja").write_text("{% nothing %}")
    done = fetch(hub, tmp_path / "quant" / "manifest.json")
    assert done.returncode == 1 and "the chat template cannot be read" in done.stderr
    assert not any(path.endswith(".safetensors") and "/resolve/" in path for _, path, _ in hub.requests)
