"""Build the locked environment of an engine, unless it is there whole, and write the engine's record."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from scripts.common.errors import ConfigError, run_command
from scripts.provenance.entries import ENGINES, engine_entry
from scripts.provenance.environments import create_environment, describe_environment
from scripts.provenance.gpus import check_gpu_memory
from scripts.records.engine import EngineRecord


def main() -> None:
    """Parse arguments, build, write the record."""
    parser = argparse.ArgumentParser(prog="python -m scripts.create_env", description=__doc__)
    parser.add_argument("engine", metavar="ENGINE", help="an engine of config/engines.yaml")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the record to write")
    parser.add_argument(
        "--needs-gb", type=float, default=0.0, help="GPU memory of the largest quant, 10^9 bytes"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that pip and the compiler end too
    entry = engine_entry(given.engine)
    if entry.lock is None:
        raise ConfigError(
            f"{given.engine} has no lock", where=str(ENGINES), remedy="its environment is an image"
        )
    check_gpu_memory(entry.gpus, given.needs_gb, visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
    lock = Path(entry.lock)
    create_environment(lock)
    found = describe_environment(lock)
    EngineRecord(
        engine=given.engine,
        kind=entry.kind,
        runtime=entry.runtime,
        image=None,
        digest=None,
        lock=lock.as_posix(),
        lock_sha256=found.lock_sha256,
        packages=found.packages,
        adopted=found.adopted,
    ).write(given.output)


if __name__ == "__main__":
    run_command(main)
