"""The runtime `external`: a server that already runs. A session is a reconnection, nothing is started or stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from scripts.common.errors import ConfigError, EngineError
from scripts.common.protocol import Engine
from scripts.engines.abilities import find_abilities, find_kind
from scripts.engines.http import Connection, Server
from scripts.engines.openai_server import OpenAIServer
from scripts.engines.server_kinds import SERVER_KINDS
from scripts.records.engine import EngineRecord
from scripts.records.settings import Settings

KEY_VARIABLE = "TEMPZERO_API_KEY"


@contextmanager
def use_external(settings: Settings, weights: Path, log: Path, record: EngineRecord) -> Iterator[Engine]:
    """The client of the endpoint of `settings`, by the interface in its record where there is a tokenizer.

    EngineError where it is down, refuses the key, or drops the connection.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("the server was not started here: its log is elsewhere\n", encoding="utf-8")
    server = replace(reach(settings.endpoint or ""), abilities=record.abilities or {})
    kind = record.interface if (weights / "tokenizer.json").is_file() else "openai"
    engine = SERVER_KINDS[kind].client if kind in SERVER_KINDS else OpenAIServer
    with closing(engine(server, settings.arguments, record.model or "")) as client:
        yield client


def reach(endpoint: str) -> Server:
    """The server at an endpoint `http://HOST:PORT/v1`, with the environment's key; ConfigError for no address."""
    if not endpoint.startswith(("http://", "https://")):
        raise ConfigError(
            "the endpoint is no address",
            where=f"endpoint={endpoint}",
            remedy="give it as endpoint=http://127.0.0.1:8000/v1",
        )
    root = endpoint.rstrip("/").removesuffix("/v1")
    return Server(root, os.environ.get(KEY_VARIABLE) or None, lambda: "", lambda: None, ours=False)


def find_interface(engine: str, endpoint: str, model: str | None) -> EngineRecord:
    """The record of the `engine` at an endpoint: which interface it has, which model it serves, in which version.

    EngineError where it is down, refuses the key (the variable that holds it is named), or serves no such model.
    """
    server = reach(endpoint)
    connection = Connection(server)
    try:
        answer = connection.send("GET", "/v1/models")
        if answer.status_code in (401, 403):
            raise EngineError(
                f"the endpoint refuses the key ({answer.status_code})"
                if server.key
                else "the endpoint wants a key",
                where=endpoint,
                remedy=f"set {KEY_VARIABLE} to its key; it is sent and never written anywhere",
            )
        interface = find_kind(connection)
        known = _models(connection)
        version = connection.get("/version").get("version") if interface == "vllm" else None
    finally:
        connection.close()
    chosen = model or (known[0] if known else None)
    if chosen is None or (known and chosen not in known):
        raise EngineError(
            f"the endpoint serves no model {model!r}" if model else "the endpoint names no model",
            where=endpoint,
            remedy=f"set endpoint_model to one of: {', '.join(known)}" if known else "set endpoint_model",
        )
    abilities = find_abilities(server, interface, chosen)
    if not abilities["token ids"].can:
        interface = "openai"
    return EngineRecord(
        engine=engine,
        kind="openai",
        runtime="external",
        image=None,
        digest=None,
        interface=interface,
        model=chosen,
        server_version=version,
        abilities=abilities,
    )


def _models(connection: Connection) -> list[str]:
    try:
        return [str(each["id"]) for each in connection.found("/v1/models")["data"]]
    except (KeyError, TypeError):
        return []
