"""Requests beside the one that is measured: the batch that it is computed in is filled, and changes, as in use.

With a `concurrency` of c the replay is played as ever, and c - 1 streams ask the same server the whole time, each over
a connection of its own; what they are answered is thrown away. A stream that fails fails the session.

Between episodes a cache that outlives a request is emptied while the streams are halted, for a server empties none that
is in use. Where the engine keeps nothing from request to request there is nothing to empty, and they go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from scripts.common.errors import EngineError, TempzeroError, UnsupportedError
from scripts.common.protocol import Engine, Shared
from scripts.records.session import InFlight, LoadRecord
from scripts.records.settings import Settings

# One stream's requests, endlessly: each step is a request and yields the tokens it generated.
Requests = Callable[[Engine, int], Generator[int, None, None]]

# By kind of engine the argument, and its value, with which nothing is kept from one request to the next.
KEEPS_NOTHING = {
    "vllm": ("enable_prefix_caching", False),
    "sglang": ("disable_radix_cache", True),
    "llamacpp": ("cache_prompt", False),
}
LEAVE_SECONDS = 5.0  # for streams to end when the session has failed; its engine is stopped next


class Load:
    """`concurrency` - 1 background streams of `requests`, from entering to leaving it; none at a concurrency of 1."""

    def __init__(self, engine: Engine, settings: Settings, requests: Requests) -> None:
        self._engine, self._requests = engine, requests
        self._streams = settings.harness.concurrency - 1
        key, value = KEEPS_NOTHING.get(settings.kind, ("", None))
        self._keeps_nothing = bool(key) and settings.arguments.get(key) == value
        self._left = settings.as_it_is
        self._gate = threading.Condition()
        self._halted = self._ended = False
        self._asking = self._made = self._tokens = 0
        self._begun: set[int] = set()
        self._failure: BaseException | None = None
        self._seen: list[int] = []
        self._threads: list[threading.Thread] = []
        self._seconds = 0.0

    def __enter__(self) -> Self:
        """Start the streams and wait until each was answered once, so that the batch is full from the first turn on."""
        self._started = time.monotonic()
        if self._streams and not isinstance(self._engine, Shared):
            raise UnsupportedError(
                "this engine takes one request at a time", remedy="measure it with a server"
            )
        for number in range(self._streams):
            name = f"background-{number}"
            self._threads.append(threading.Thread(target=self._work, args=(number,), name=name, daemon=True))
        for thread in self._threads:
            thread.start()
        with self._gate:
            self._gate.wait_for(lambda: self._failure or len(self._begun) == self._streams)
        if self._failure:
            self._end(LEAVE_SECONDS)
        self.look()
        self._seen.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds = time.monotonic() - self._started
        self._end(None if error is None else LEAVE_SECONDS)
        if error is None:
            self.look()

    def look(self) -> None:
        """Note how many streams are being answered; EngineError where one has failed."""
        with self._gate:
            self._seen.append(self._asking)
            failure = self._failure
        if isinstance(failure, TempzeroError):
            raise EngineError(
                f"a request beside the replay failed: {failure.what}",
                where=failure.where,
                remedy=failure.remedy,
            ) from failure
        if failure is not None:
            raise failure

    def reset(self) -> None:
        """Empty the engine's caches between episodes, where there is anything in them."""
        if not self._streams:
            self._engine.reset()
        elif not (self._keeps_nothing or self._left):
            with self._all_halted():
                self._engine.reset()

    def describe(self) -> LoadRecord | None:
        """What session.json says of it: None without streams."""
        if not self._streams:
            return None
        seen = self._seen
        return LoadRecord(
            streams=self._streams,
            requests=self._made,
            tokens=self._tokens,
            seconds=round(self._seconds, 3),
            in_flight=InFlight(mean=sum(seen) / len(seen), min=min(seen)) if seen else None,
            caches_between_episodes="nothing is kept from request to request"
            if self._keeps_nothing
            else "left as they are"
            if self._left
            else "emptied, the streams halted",
        )

    def _work(self, number: int) -> None:
        """One stream, in a thread of its own."""
        try:
            assert isinstance(self._engine, Shared)
            with self._engine.another() as engine:
                requests = self._requests(engine, number)
                try:
                    while self._enter():
                        tokens = None
                        try:
                            tokens = next(requests)
                        finally:
                            self._leave(number, tokens)
                finally:
                    requests.close()
        except BaseException as error:  # noqa: BLE001 (whatever it is, the session must not go on without the stream)
            with self._gate:
                if not self._ended:
                    self._failure = self._failure or error
                self._gate.notify_all()

    def _enter(self) -> bool:
        """Wait while halted; False at the end."""
        with self._gate:
            self._gate.wait_for(lambda: self._ended or not self._halted)
            if self._ended:
                return False
            self._asking += 1
            return True

    def _leave(self, number: int, tokens: int | None) -> None:
        with self._gate:
            self._asking -= 1
            if tokens is not None:
                self._made, self._tokens = self._made + 1, self._tokens + tokens
                self._begun.add(number)
            self._gate.notify_all()

    @contextmanager
    def _all_halted(self) -> Iterator[None]:
        with self._gate:
            self._halted = True
            self._gate.wait_for(lambda: not self._asking)
        try:
            yield
        finally:
            with self._gate:
                self._halted = False
                self._gate.notify_all()

    def _end(self, seconds: float | None) -> None:
        """End the streams, each after the request it is in; wait for that at most so many seconds."""
        with self._gate:
            self._ended = True
            self._gate.notify_all()
        until = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
