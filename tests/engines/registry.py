"""A registry of two small images on this machine, as far as pulling by digest goes, which can be made to lie."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CONFIG = "application/vnd.docker.container.image.v1+json"


@dataclass
class Registry:
    """Where it listens, what it has by digest, and the digests of its images."""

    address: str
    content: dict[str, bytes]
    digests: tuple[str, str]

    def swap(self) -> None:
        """Give each image under the other's digest."""
        first, second = self.digests
        self.content[first], self.content[second] = self.content[second], self.content[first]


@contextmanager
def serve_registry() -> Iterator[Registry]:
    """The registry on a free port of 127.0.0.1, from which Docker pulls without TLS."""
    content: dict[str, bytes] = {}
    digests = _image(content, "first"), _image(content, "second")

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            name = self.path.rsplit("/", 1)[1]
            known = content.get(name, b"{}" if self.path == "/v2/" else None)
            self.send_response(404 if known is None else 200)
            if known is None:
                known = json.dumps(
                    {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                ).encode()
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.send_header("Content-Length", str(len(known)))
            self.send_header(
                "Content-Type", MANIFEST if "/manifests/" in self.path else "application/octet-stream"
            )
            if "/manifests/" in self.path:
                of_tag = f"sha256:{hashlib.sha256(known).hexdigest()}"
                self.send_header("Docker-Content-Digest", name if name.startswith("sha256:") else of_tag)
            self.end_headers()
            if body:
                self.wfile.write(known)

        def log_message(self, *_: Any) -> None:
            """Nothing is said of requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Registry(f"127.0.0.1:{server.server_port}", content, digests)
    finally:
        server.shutdown()
        server.server_close()


def _image(content: dict[str, bytes], said: str) -> str:
    """An image of one file, put into `content`; the digest of its manifest."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("said.txt")
        entry.size = len(said)
        archive.addfile(entry, io.BytesIO(said.encode()))
    layer = stream.getvalue()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [_put({}, layer)]},
    }
    packed, described = gzip.compress(layer, mtime=0), json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": len(described), "digest": _put(content, described)},
        "layers": [{"mediaType": LAYER, "size": len(packed), "digest": _put(content, packed)}],
    }
    return _put(content, json.dumps(manifest).encode())


def _put(content: dict[str, bytes], data: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    content[digest] = data
    return digest
