"""The checked entries of config/engines.yaml, as the commands take them that set an engine up."""

from __future__ import annotations

from pathlib import Path

from scripts.common.configs import check_schema, load_yaml
from scripts.common.errors import ConfigError, nearest
from scripts.records.base import convert
from scripts.records.engines import EngineEntry, Engines

ENGINES = Path("config/engines.yaml")


def read_engines() -> Engines:
    """All of config/engines.yaml; ConfigError where it is not what its schema says."""
    content = load_yaml(ENGINES)
    check_schema(content, "engines", str(ENGINES))
    return convert(Engines, content, str(ENGINES))


def engine_entry(engine: str) -> EngineEntry:
    """The entry of an engine; ConfigError for an unknown one."""
    engines = read_engines().engines
    if engine not in engines:
        raise ConfigError(
            f"there is no engine {engine!r}", where=str(ENGINES), remedy=nearest(engine, engines)
        )
    return engines[engine]
