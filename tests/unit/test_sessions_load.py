"""Background streams: they run beside the replay, stand still for a reset, end with it, and fail it where they fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.common.errors import ConfigError, EngineError, UnsupportedError
from scripts.records.settings import Arguments, EngineKind, HarnessSettings, Settings
from scripts.sessions.load import Load
from scripts.sessions.play import Player
from scripts.workload.spec import load_workload
from scripts.workload.text_form import TextForm
from tests.patience import HANGS


class Counting:
    """An engine as far as a load needs it: what is in flight at once, how many clients are open."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.in_flight = self.most = self.open = self.resets = 0
        self.in_flight_at_reset: list[int] = []

    @contextmanager
    def another(self) -> Iterator[Counting]:
        with self.lock:
            self.open += 1
        try:
            yield self
        finally:
            with self.lock:
                self.open -= 1

    def reset(self) -> None:
        self.resets += 1
        self.in_flight_at_reset.append(self.in_flight)


def asking(engine: Any, number: int) -> Generator[int, None, None]:
    """Requests of two milliseconds, three tokens each."""
    while True:
        with engine.lock:
            engine.in_flight += 1
            engine.most = max(engine.most, engine.in_flight)
        time.sleep(0.002)
        with engine.lock:
            engine.in_flight -= 1
        yield 3


def settings(
    concurrency: int, *, cache: bool = False, kind: EngineKind = "vllm", arguments: Arguments | None = None
) -> Settings:
    return Settings(
        model="m",
        architecture="dense",
        precision="bf16",
        engine="e",
        variant="base",
        kind=kind,
        runtime="process",
        arguments={"enable_prefix_caching": cache} if arguments is None else arguments,
        environment={},
        harness=HarnessSettings(concurrency=concurrency),
        top_logprobs=5,
    )


def test_without_concurrency_there_is_no_stream_and_every_reset_is_the_engines() -> None:
    engine, before = Counting(), threading.active_count()
    with Load(engine, settings(1), asking) as load:  # type: ignore[arg-type]  # as much of an engine as is used
        load.reset()
        load.look()
        assert threading.active_count() == before
    assert engine.resets == 1
    assert load.describe() is None


def test_streams_run_from_the_first_turn_to_the_last_and_are_counted() -> None:
    engine = Counting()
    with Load(engine, settings(8), asking) as load:  # type: ignore[arg-type]
        assert engine.open == 7, "a client of its own for each"
        for _ in range(10):
            time.sleep(0.01)
            load.look()
    assert engine.open == engine.in_flight == 0
    assert engine.most == 7
    found = load.describe()
    assert found is not None
    assert found.streams == 7
    assert found.requests >= 7
    assert found.tokens == 3 * found.requests
    assert found.in_flight is not None and 0 < found.in_flight.mean <= 7


def test_where_nothing_is_kept_nothing_is_emptied() -> None:
    engine = Counting()
    with Load(engine, settings(4), asking) as load:  # type: ignore[arg-type]
        load.reset()
    assert engine.resets == 0
    found = load.describe()
    assert found is not None and found.caches_between_episodes == "nothing is kept from request to request"


@pytest.mark.parametrize("kind", ["vllm", "openai"])
def test_a_cache_is_emptied_while_no_stream_asks(kind: EngineKind) -> None:
    engine = Counting()
    with Load(engine, settings(6, cache=True, kind=kind), asking) as load:  # type: ignore[arg-type]
        for _ in range(20):
            load.reset()
            time.sleep(0.003)
        made = load.describe()
        time.sleep(0.05)
        later = load.describe()
        assert made is not None and later is not None
        assert later.requests > made.requests, "and the streams go on after it"
    assert engine.in_flight_at_reset == [0] * 20


@pytest.mark.parametrize(
    "error", [EngineError("the engine has ended", where="http://x"), ValueError("a bug")]
)
@pytest.mark.parametrize("requests", [0, 3])
def test_a_stream_that_fails_fails_the_session(error: Exception, requests: int) -> None:
    def failing(engine: Any, number: int) -> Generator[int, None, None]:
        if number == 2:
            for _ in range(requests):
                yield 1
            raise error
        yield from asking(engine, number)

    engine = Counting()
    with pytest.raises(type(error), match="ended|a bug"):
        with Load(engine, settings(4), failing) as load:  # type: ignore[arg-type]
            for _ in range(1000):
                time.sleep(0.002)
                load.look()
    assert engine.open == 0


def test_a_failure_after_the_last_look_is_not_lost() -> None:
    gate = threading.Event()

    def failing(engine: Any, number: int) -> Generator[int, None, None]:
        yield 1
        gate.wait(HANGS)
        raise EngineError("too late")

    with pytest.raises(EngineError, match="a request beside the replay failed: too late"):
        with Load(Counting(), settings(2), failing):  # type: ignore[arg-type]
            gate.set()
            time.sleep(0.05)


def test_a_failed_replay_does_not_wait_for_a_long_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.sessions.load.LEAVE_SECONDS", 0.1)
    gate, ended = threading.Event(), threading.Event()

    def slow(engine: Any, number: int) -> Generator[int, None, None]:
        yield 1
        gate.wait(HANGS)
        ended.set()
        yield 1

    with pytest.raises(KeyboardInterrupt):
        with Load(Counting(), settings(2), slow):  # type: ignore[arg-type]
            raise KeyboardInterrupt
    assert not ended.is_set()
    gate.set()


def test_an_engine_in_process_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="one request at a time"):
        Load(object(), settings(2), asking).__enter__()  # type: ignore[arg-type]


def test_a_turn_must_have_room_in_its_share_of_a_shared_context(root: Path) -> None:
    workload = load_workload(root / "config" / "workloads" / "chartist-mini.yaml")
    room = 2 * workload.max_tokens
    shared = settings(1, kind="llamacpp", arguments={"ctx_size": 8 * room, "parallel": 8})
    assert shared.context == room
    Player(TextForm(), workload, shared)
    for arguments in ({"ctx_size": 8 * room, "parallel": 9}, {"ctx_size": room - 1}):
        with pytest.raises(ConfigError, match="has no room for the workload's turns"):
            Player(TextForm(), workload, settings(1, kind="llamacpp", arguments=arguments))
