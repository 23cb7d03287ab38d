"""Build the locked environment of an engine, unless it is there whole, and write the engine's record."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from scripts.common.configs import check_schema, load_yaml
from scripts.common.errors import ConfigError, nearest, run_command
from scripts.common.files import write_json
from scripts.provenance.environments import create_environment, describe_environment
from scripts.provenance.gpus import check_gpu_memory

ENGINES = Path("config/engines.yaml")


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
    if "lock" not in entry:
        raise ConfigError(
            f"{given.engine} has no lock", where=str(ENGINES), remedy="its environment is an image"
        )
    check_gpu_memory(entry.get("gpus", 0), given.needs_gb, visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
    lock = Path(entry["lock"])
    create_environment(lock)
    record = {
        "engine": given.engine,
        "kind": entry["kind"],
        "runtime": entry["runtime"],
        "image": None,
        "digest": None,
    }
    write_json(given.output, {**record, **describe_environment(lock)})


def engine_entry(engine: str) -> dict[str, Any]:
    """The checked entry of an engine in config/engines.yaml; ConfigError for an unknown one."""
    tools = load_yaml(ENGINES)
    check_schema(tools, "engines", str(ENGINES))
    engines: dict[str, dict[str, Any]] = tools["engines"]
    if engine not in engines:
        raise ConfigError(
            f"there is no engine {engine!r}", where=str(ENGINES), remedy=nearest(engine, engines)
        )
    return engines[engine]


if __name__ == "__main__":
    run_command(main)
