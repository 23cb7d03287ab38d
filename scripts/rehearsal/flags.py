"""What can be said here of cells that cannot be started: their arguments by a parser of their engine, their images."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from docker.errors import DockerException, ImageNotFound

from scripts.common.errors import EngineError
from scripts.engines.parse_flags import PARSERS
from scripts.engines.server_kinds import flags, server_kind
from scripts.grid.resolve import Cell, cell_settings
from scripts.provenance.docker_engine import connect
from scripts.provenance.environments import env_python, is_complete
from scripts.records.engines import EngineEntry
from scripts.rehearsal.folder import Plan

SECONDS = 300.0
TAKEN = "taken"


def parse_flags(plan: Plan, cells: Sequence[Cell]) -> tuple[dict[str, str], dict[str, str]]:
    """What parsers that are here make of the cells' arguments, by their paths; and which parser of a kind it was.

    The parser is that of the engine's own environment, where that is here, else of another of its kind.
    """
    engines = plan.configuration.engines
    asked: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(dict)
    for cell in cells:
        engine = engines[cell.engine]
        lock = _lock(plan.configuration.root, engines, engine)
        if lock is not None:
            settings = cell_settings(plan.configuration, cell)
            kind = server_kind(engine.kind)
            asked[engine.kind, lock][cell.path] = [
                kind.weights_flag,
                "weights",
                *flags(kind, settings.arguments),
            ]
    said: dict[str, str] = {}
    parsers: dict[str, str] = {}
    for (kind_name, lock), arguments in asked.items():
        found = _ask(plan.configuration.root, kind_name, lock, arguments)
        if found is None:
            continue
        name, answers = found
        parsers[kind_name] = name
        said |= {path: TAKEN if answer is None else answer for path, answer in answers.items()}
    return said, parsers


def _lock(root: Path, engines: Mapping[str, EngineEntry], engine: EngineEntry) -> str | None:
    """The lock of an environment that is here and has a parser of an engine's arguments."""
    if engine.kind not in PARSERS:
        return None
    locks = [engine.lock, *(each.lock for each in engines.values() if each.kind == engine.kind)]
    return next((lock for lock in locks if lock and is_complete(root / lock)), None)


def _ask(
    root: Path, kind: str, lock: str, arguments: Mapping[str, Sequence[str]]
) -> tuple[str, dict[str, str | None]] | None:
    """The version of a parser and what it says by cell; None where it cannot be asked."""
    try:
        done = subprocess.run(
            [str(env_python(Path(lock))), "-m", "scripts.engines.parse_flags", kind],
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            cwd=root,
            timeout=SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = json.loads(done.stdout)
    return found["version"], found["said"]


def find_images(plan: Plan, cells: Sequence[Cell]) -> dict[str, str]:
    """Engine in a container → whether its image is here, in words."""
    wanted = {cell.engine: plan.configuration.engines[cell.engine] for cell in cells}
    images = {name: entry for name, entry in wanted.items() if entry.runtime == "docker"}
    if not images:
        return {}
    try:
        with connect() as client:
            found = {}
            for name, entry in images.items():
                reference = entry.image or f"tempzero-{name}:built"
                try:
                    client.images.get(reference)
                    found[name] = f"the image {reference} is here"
                except ImageNotFound:
                    found[name] = f"the image {reference} is not here"
            return found
    except (EngineError, DockerException):
        return dict.fromkeys(images, "Docker does not answer here")
