"""JSON over HTTP to one engine: every failure is an EngineError with the end of the engine's log."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import requests

from scripts.common.errors import EngineError, StartError
from scripts.records.base import Value
from scripts.records.machine import ContainerFacts
from scripts.records.settings import Arguments
from scripts.records.tuning import Tuning

LOG_LINES = 15
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 3600.0


@dataclass(frozen=True)
class Server:
    """A server that runs: `url` without a slash at its end, the API key it wants, and how to look after it.

    `log`: all it has written so far, empty where that cannot be read. `death`: how it ended, None while it lives.
    `given`: what Docker really gave its container, of one. `weights`: the folder it serves, where that is known.
    `ours`: whether it was started here. `tuning`: its caches and what was chosen in them; None where nothing tunes, or
    they cannot be looked into.
    """

    url: str
    key: str | None
    log: Callable[[], str]
    death: Callable[[], str | None]
    given: ContainerFacts | None = None
    weights: Path | None = None
    ours: bool = True
    tuning: Callable[[], Tuning | None] = lambda: None

    def failure(self, what: str) -> EngineError:
        """An error that says what happened, whether the engine still lives, and how its log ends."""
        ended = self.death()
        text = f"{what}; the engine has ended ({ended})" if ended else what
        return EngineError(text + log_end(self.log()), where=self.url)

    def not_started(self, ended: str) -> StartError:
        """The error of an engine that `ended` so before it was ready."""
        log = self.log()
        what = f"the engine did not start; the engine has ended ({ended}){log_end(log)}"
        return StartError(what, where=self.url, ended=ended, log=log)


class Connection:
    """Requests to one server, one connection kept open; nothing is ever sent twice.

    A second try would hide what is being measured. The key is sent, and appears in no error.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between an engine and what measures it
        if server.key is not None:
            self._session.headers["Authorization"] = f"Bearer {server.key}"

    def get(self, path: str) -> Any:
        """The JSON that GET gives."""
        return self._json("GET", path, None)

    def post(self, path: str, body: Mapping[str, Value]) -> Any:
        """The JSON that POST of the JSON `body` gives; floats are the doubles that their text reads as."""
        return self._json("POST", path, body)

    def status(self, method: str, path: str) -> int:
        """The status of an answer whose body does not matter."""
        return self.send(method, path, None).status_code

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _json(self, method: str, path: str, body: Mapping[str, Value] | None) -> Any:
        answer = self.send(method, path, body)
        if answer.status_code != 200:
            said = " ".join(answer.text.split())[:500]
            meaning = " (the key is refused)" if answer.status_code in (401, 403) else ""
            raise self.server.failure(
                f"{method} {path} was answered with {answer.status_code}{meaning}: {said}"
            )
        if not answer.content:  # some routes of some versions answer with a status alone
            return None
        try:
            return json.loads(answer.content)
        except ValueError as error:
            said = " ".join(answer.text.split())[:200]
            raise self.server.failure(
                f"{method} {path} was answered with what is no JSON ({error}): {said}"
            ) from error

    def send(self, method: str, path: str, body: Mapping[str, Value] | None = None) -> requests.Response:
        """One request; EngineError where the connection is refused or dropped, or no answer comes in time."""
        try:
            return self._session.request(
                method, self.server.url + path, json=body, timeout=(CONNECT_SECONDS, ANSWER_SECONDS)
            )
        except requests.RequestException as error:
            raise self.server.failure(f"{method} {path} failed: {reason(error)}") from error


class ServerClient:
    """What every client of a server has. `arguments`: what it was started with; `model`: the name that it serves."""

    def __init__(self, server: Server, arguments: Arguments, model: str) -> None:
        self._connection = Connection(server)
        self._server, self._arguments, self._model = server, arguments, model

    def another(self) -> closing[Self]:
        """A further client of the same server."""
        return closing(type(self)(self._server, self._arguments, self._model))

    def close(self) -> None:
        """Close the connection; the server is its runtime's to stop."""
        self._connection.close()


def reason(error: BaseException) -> str:
    """Why a request failed, in the words of its innermost cause."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"


def log_end(text: str, lines: int = LOG_LINES) -> str:
    """The last lines of a log, as an error shows them; empty for an empty log."""
    last = [line.rstrip()[:300] for line in text.splitlines() if line.strip()][-lines:]
    return "; its log ends:" + "".join(f"\n    {line}" for line in last) if last else ""
