"""Starting the engine of a cell: one context manager for every kind, which has stopped it when it returns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TypeVar

from scripts.common.errors import ConfigError, nearest
from scripts.common.protocol import Engine
from scripts.provenance.devices import NO_DEVICES, Devices
from scripts.quants.checkpoint import one_expert
from scripts.records.base import Record, convert
from scripts.records.engine import EngineRecord
from scripts.records.settings import EngineKind, LlamaCppArguments, Settings, TransformersArguments

Starter = Callable[[Settings, Path, Path, EngineRecord | None, Devices], AbstractContextManager[Engine]]
R = TypeVar("R", bound=Record)


def typed_arguments(kind: type[R], settings: Settings) -> R:
    """The arguments of an engine in process as its `kind`; ConfigError names the nearest known one of an unknown."""
    for key in settings.arguments:
        if key not in kind.__struct_fields__:
            raise ConfigError(
                f"{settings.kind} takes no argument {key!r}",
                where="config/engines.yaml",
                remedy=nearest(key, kind.__struct_fields__),
            )
    return convert(kind, settings.arguments, "config/engines.yaml")


# Each engine is imported where it is started, since an environment need not hold them all.


def _llama_cpp_python(
    settings: Settings, weights: Path, log: Path, record: EngineRecord | None, devices: Devices
) -> AbstractContextManager[Engine]:
    from scripts.engines.llama_cpp_python import LlamaCppPython

    arguments = typed_arguments(LlamaCppArguments, settings)
    return closing(LlamaCppPython(weights / "model.gguf", arguments, log))


def _transformers(
    settings: Settings, weights: Path, log: Path, record: EngineRecord | None, devices: Devices
) -> AbstractContextManager[Engine]:
    from scripts.engines.transformers_engine import TransformersEngine

    return closing(TransformersEngine(weights, typed_arguments(TransformersArguments, settings), log))


def _server(
    settings: Settings, weights: Path, log: Path, record: EngineRecord | None, devices: Devices
) -> AbstractContextManager[Engine]:
    """A server, by its runtime."""
    if settings.runtime == "process":
        from scripts.engines.server_process import serve_process

        return serve_process(settings, weights, log, devices=devices)
    if record is None:
        raise ConfigError(f"a server of the runtime {settings.runtime} is started by its engine record alone")
    if settings.runtime == "docker":
        from scripts.engines.docker_runtime import serve_container

        return serve_container(settings, weights, log, record, devices)
    from scripts.engines.external import use_external

    return use_external(settings, weights, log, record)


STARTERS: dict[EngineKind, Starter] = {
    "llama-cpp-python": _llama_cpp_python,
    "transformers": _transformers,
    "vllm": _server,
    "sglang": _server,
    "llamacpp": _server,
    "openai": _server,
}

# Of the modules that start an engine, which is whose: of a kind in process its own, of a server that of its runtime.
DRIVERS = {
    "llama-cpp-python": "scripts.engines.llama_cpp_python",
    "transformers": "scripts.engines.transformers_engine",
    "process": "scripts.engines.server_process",
    "docker": "scripts.engines.docker_runtime",
    "external": "scripts.engines.external",
}


def start_engine(
    settings: Settings,
    weights: Path,
    log: Path,
    record: EngineRecord | None = None,
    devices: Devices = NO_DEVICES,
) -> AbstractContextManager[Engine]:
    """The running engine of a cell's `settings` over the folder `weights`; its log goes to the file `log`.

    `record`: the engine's record, which a container or a server that runs cannot do without. `devices`: the GPUs that
    it gets. EngineError, with the end of the log, where it does not start or dies; ConfigError for weights that it
    cannot read.
    """
    if settings.kind != "vllm" and one_expert(weights):
        raise ConfigError(
            f"{settings.kind} is not told to take the one expert in the file for all",
            where=str(weights),
            remedy="serve it with vLLM, or reshape it without one_expert",
        )
    return STARTERS[settings.kind](settings, weights, log, record, devices)
