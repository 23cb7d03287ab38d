"""Force a cell: feed a recorded trajectory back to a fresh engine several times and compare every position bit by bit.

Run it with the Python of the engine's environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.records.engine import EngineRecord
from scripts.records.settings import Settings
from scripts.sessions.deployment import Deployment
from scripts.sessions.force import force_cell


def main(
    cell: Annotated[Path, "the cell's folder: results/cells/MODEL/PRECISION/ENGINE/VARIANT"],
    /,
    *,
    manifest: Annotated[Path, "manifest.json of the quant"],
    settings: Annotated[Settings, "the cell's resolved settings, as JSON"],
    prefill_passes: Annotated[int, "how often it is fed back in prefill (default: 5)"] = 5,
    decode_passes: Annotated[int, "how often it is fed back in decode (default: 5)"] = 5,
    engine_record: Annotated[Path | None, "file of results/engines/ (an image's or endpoint's)"] = None,
    gpu_gb: Annotated[float, "memory on all its GPUs together, where cards are shared, 10^9 bytes"] = 0.0,
    engine_log: Annotated[Path | None, "where the engine's log goes (default: in the cell's folder)"] = None,
    output: Annotated[Path | None, "forced.json (default: in the cell's folder)"] = None,
    trajectory: Annotated[
        Path | None,
        "session.json of the session whose first replay is fed back (default: the cell's session 00)",
    ] = None,
) -> None:
    """Force it."""
    deployment = Deployment(
        settings=settings,
        manifest=manifest,
        record=EngineRecord.read(engine_record) if engine_record else None,
        log=engine_log or cell / "forced.engine.log",
        gpu_gb=gpu_gb,
    )
    force_cell(
        deployment,
        output or cell / "forced.json",
        passes={"prefill": prefill_passes, "decode": decode_passes},
        transcript=(trajectory.parent if trajectory else cell / "session-00") / "replay-00.transcript.jsonl",
    )


if __name__ == "__main__":
    run(main)
