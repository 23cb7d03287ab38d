"""Starting the engine of a cell: one context manager for every kind, which has stopped it when it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from scripts.common.errors import ConfigError, nearest
from scripts.common.protocol import Engine

Starter = Callable[[Mapping[str, Any], Path, Path], AbstractContextManager[Engine]]


@contextmanager
def _llama_cpp_python(settings: Mapping[str, Any], weights: Path, log: Path) -> Iterator[Engine]:
    from scripts.engines.llama_cpp_python import LlamaCppPython

    engine = LlamaCppPython(weights / "model.gguf", settings["arguments"], log)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _server(settings: Mapping[str, Any], weights: Path, log: Path) -> Iterator[Engine]:
    """A server, by its runtime; each is imported where it is used, since an environment need not hold them all."""
    runtime = settings["runtime"]
    serve: Starter
    if runtime == "process":
        from scripts.engines.server_process import serve_process

        serve = serve_process
    elif runtime == "docker":
        from scripts.engines.docker_runtime import serve_container

        serve = serve_container
    elif runtime == "external":
        from scripts.engines.external import use_external

        serve = use_external
    else:
        raise ConfigError(
            f"{settings['kind']} has no runtime {runtime!r}",
            where="config/engines.yaml",
            remedy=nearest(runtime, ("process", "docker", "external")),
        )
    with serve(settings, weights, log) as engine:
        yield engine


STARTERS: dict[str, Starter] = {
    "llama-cpp-python": _llama_cpp_python,
    "vllm": _server,
    "sglang": _server,
    "llamacpp": _server,
    "openai": _server,
}


def start_engine(settings: Mapping[str, Any], weights: Path, log: Path) -> AbstractContextManager[Engine]:
    """The running engine of a cell's `settings` over the folder `weights`; its log goes to the file `log`.

    EngineError, with the end of the log, where it does not start or dies.
    """
    kind = settings["kind"]
    if kind not in STARTERS:
        raise ConfigError(
            f"unknown kind of engine {kind!r}", where="config/engines.yaml", remedy=nearest(kind, STARTERS)
        )
    return STARTERS[kind](settings, weights, log)
