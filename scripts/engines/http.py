"""JSON over HTTP to one engine: every failure is an EngineError with the end of the engine's log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Self

import requests
import urllib3
from msgspec.structs import replace

from scripts.common.errors import EngineError, StartError
from scripts.engines.chat_answer import server_said
from scripts.engines.counters import read_metrics, read_slots
from scripts.records.base import Value
from scripts.records.engine import Ability
from scripts.records.machine import ContainerFacts
from scripts.records.settings import Arguments
from scripts.records.transcript import ServerSaid
from scripts.records.tuning import Tuning

LOG_LINES = 15
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 3600.0
BUSY = (429, 503, 529)  # the server says that it has not begun
BUSY_SECONDS = 300.0  # how long one answer of a busy server is waited for, in all
SHORTEST_PAUSE, LONGEST_PAUSE = (
    0.5,
    30.0,
)  # between two tries; the longest, where the server does not say when


@dataclass(frozen=True)
class Server:
    """A server that runs: `url` without a slash at its end, the API key it wants, and how to look after it.

    `log`: all it has written so far, empty where that cannot be read. `death`: how it ended, None while it lives.
    `given`: what Docker really gave its container, of one. `weights`: the folder it serves, where that is known.
    `ours`: whether it was started here. `abilities`: what was found that can be asked of one that was not. `tuning`:
    its caches and what was chosen in them; None where nothing tunes, or they cannot be looked into.
    """

    url: str
    key: str | None
    log: Callable[[], str]
    death: Callable[[], str | None]
    given: ContainerFacts | None = None
    weights: Path | None = None
    ours: bool = True
    abilities: Mapping[str, Ability] = field(default_factory=dict)
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
    """Requests to one server, one connection kept open. The key is sent, and appears in no error.

    To a server of ours nothing is ever sent twice, for a second try would hide what is being measured. One that was
    not started here may be busy: it is waited for and asked again until it begins to answer, and counted. An answer of
    which a byte has come is never asked for a second time.

    `headers`: those of the last answer, names in lower case. `waits`, `wait_seconds`, `reconnections`: what became of
    the last request before it was answered.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.headers: dict[str, str] = {}
        self.waits = self.reconnections = 0
        self.wait_seconds = 0.0
        self._connect()

    def _connect(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between an engine and what measures it
        self._kept = False  # whether an answer came over this connection, which may be closed since
        if self.server.key is not None:
            self._session.headers["Authorization"] = f"Bearer {self.server.key}"

    def get(self, path: str) -> Any:
        """The JSON that GET gives."""
        return self._json("GET", path, None)

    def post(self, path: str, body: Mapping[str, Value]) -> Any:
        """The JSON that POST of the JSON `body` gives; floats are the doubles that their text reads as."""
        return self._json("POST", path, body)

    def found(self, path: str) -> Any:
        """The JSON that GET gives; None where it is answered with anything but 200 and JSON."""
        answer = self.send("GET", path, None)
        try:
            return json.loads(answer.content) if answer.status_code == 200 else None
        except (ValueError, RecursionError):
            return None

    def status(self, method: str, path: str) -> int:
        """The status of an answer whose body does not matter."""
        return self.send(method, path, None).status_code

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _json(self, method: str, path: str, body: Mapping[str, Value] | None) -> Any:
        answer = self.send(method, path, body)
        if answer.status_code != 200:
            raise self.refusal(answer, f"{method} {path}")
        if not answer.content:  # some routes of some versions answer with a status alone
            return None
        return self.read(answer, f"{method} {path}")

    def refusal(self, answer: requests.Response, what: str) -> EngineError:
        """An error that says with which status a request was answered, and how it went on."""
        meaning = " (the key is refused)" if answer.status_code in (401, 403) else ""
        return self.server.failure(
            f"{what} was answered with {answer.status_code}{meaning}: {beginning(answer, 500)}"
        )

    def read(self, answer: requests.Response, what: str) -> Any:
        """The JSON of an answer; EngineError where it is none."""
        try:
            return json.loads(answer.content)
        except (ValueError, RecursionError) as error:
            raise self.server.failure(
                f"{what} was answered with what is no JSON ({error}): {beginning(answer, 200)}"
            ) from error

    def send(self, method: str, path: str, body: Mapping[str, Value] | None = None) -> requests.Response:
        """One request; EngineError where the connection is refused or dropped, or no answer comes in time.

        A server that was not started here is waited for where it is busy, for at most BUSY_SECONDS.
        """
        self.waits = self.reconnections = 0
        self.wait_seconds = 0.0
        while True:
            answer = self._send(method, path, body)
            if self.server.ours or answer.status_code not in BUSY:
                return answer
            pause = pause_seconds(answer.headers.get("Retry-After"), self.waits)
            if self.wait_seconds + pause > BUSY_SECONDS:
                raise self.server.failure(
                    f"{method} {path} was answered with {answer.status_code} {self.waits + 1} times: the server is"
                    f" busy, and was waited for {self.wait_seconds:.0f} of at most {BUSY_SECONDS:.0f} s"
                    + (f"; it wants {pause:.0f} s more" if pause > LONGEST_PAUSE else "")
                )
            time.sleep(pause)
            self.waits, self.wait_seconds = self.waits + 1, self.wait_seconds + pause

    def _send(self, method: str, path: str, body: Mapping[str, Value] | None) -> requests.Response:
        while True:
            try:
                answer = self._session.request(
                    method,
                    self.server.url + path,
                    json=body,
                    timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                    allow_redirects=False,
                )
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                if not self.server.ours and self._kept and dropped(error):
                    self._session.close()
                    self._connect()
                    self.reconnections += 1
                    continue
                raise self.server.failure(f"{method} {path} failed: {reason(error)}") from error
            self._kept = True
            self.headers = {name.lower(): value for name, value in answer.headers.items()}
            return answer


class ServerClient:
    """What every client of a server has. `arguments`: what it was started with; `model`: the name that it serves."""

    def __init__(self, server: Server, arguments: Arguments, model: str) -> None:
        self._connection = Connection(server)
        self._server, self._arguments, self._model = server, arguments, model

    def another(self) -> closing[Self]:
        """A further client of the same server."""
        return closing(type(self)(self._server, self._arguments, self._model))

    def said(self, answer: Any) -> ServerSaid | None:
        """What the server said of itself beside its last answer; None of one that was started here."""
        if self._server.ours:
            return None
        connection = self._connection
        said = replace(
            server_said(answer, connection.headers),
            waits=connection.waits,
            wait_seconds=round(connection.wait_seconds, 3),
            reconnections=connection.reconnections,
        )
        return replace(said, counters=self._counters())

    def names_experts(self) -> bool:
        """Whether the answers of a server that was not started here name the experts of each token."""
        return False

    def _counters(self) -> dict[str, int]:
        """What the server counts, where it was found to count."""
        ability = self._server.abilities.get("counters")
        if ability is None or not ability.can or ability.path is None:
            return {}
        if ability.path == "/slots":
            return read_slots(self._connection.found(ability.path))
        return read_metrics(self._connection.send("GET", ability.path).text)

    def close(self) -> None:
        """Close the connection; the server is its runtime's to stop."""
        self._connection.close()


def pause_seconds(retry_after: str | None, tries: int) -> float:
    """How long a busy server is left alone: as it says, in seconds or as a date, else longer with every try."""
    try:
        asked = float(retry_after or "")
    except ValueError:
        try:
            asked = (parsedate_to_datetime(retry_after or "") - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # a date without its zone is none
            asked = math.nan
    return max(SHORTEST_PAUSE, asked if math.isfinite(asked) else min(LONGEST_PAUSE, 2.0 ** min(tries, 10)))


def dropped(error: BaseException) -> bool:
    """Whether the connection was closed before a byte of the answer came."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
            return not isinstance(error, requests.exceptions.ChunkedEncodingError)
        seen = seen.__cause__ or seen.__context__
    return False


def beginning(answer: requests.Response, characters: int) -> str:
    """How the body of an answer begins, on one line."""
    return " ".join(answer.content[: 4 * characters].decode("utf-8", "replace").split())[:characters]


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
