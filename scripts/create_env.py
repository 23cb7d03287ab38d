"""Build the locked environment of an engine, unless it is there whole, and write the engine's record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import ConfigError
from scripts.provenance.entries import ENGINES, engine_entry
from scripts.provenance.environments import create_environment, describe_environment
from scripts.provenance.gpus import check_gpu_memory
from scripts.records.engine import EngineRecord


def main(
    engine: Annotated[str, "an engine of config/engines.yaml"],
    /,
    *,
    output: Annotated[Path, "the record to write"],
    needs_gb: Annotated[float, "GPU memory of the largest quant, 10^9 bytes"] = 0.0,
) -> None:
    """Build, write the record."""
    entry = engine_entry(engine)
    if entry.lock is None:
        raise ConfigError(f"{engine} has no lock", where=str(ENGINES), remedy="its environment is an image")
    if needs_gb:
        check_gpu_memory(entry.gpus // entry.nodes, needs_gb)
    lock = Path(entry.lock)
    create_environment(lock)
    found = describe_environment(lock)
    EngineRecord(
        engine=engine,
        kind=entry.kind,
        runtime=entry.runtime,
        image=None,
        digest=None,
        lock=lock.as_posix(),
        lock_sha256=found.lock_sha256,
        packages=found.packages,
        adopted=found.adopted,
    ).write(output)


if __name__ == "__main__":
    run(main)
