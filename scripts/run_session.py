"""Run one session of a cell: start its engine, play the workload a number of times, write down what happened.

Run it with the Python of the engine's environment. The folder of the session is written as a whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.records.engine import EngineRecord
from scripts.records.settings import Settings
from scripts.sessions.deployment import Deployment
from scripts.sessions.session import Session, run_session
from scripts.workload.spec import load_workload


def main(
    cell: Annotated[Path, "the cell's folder: results/cells/MODEL/PRECISION/ENGINE/VARIANT"],
    /,
    *,
    session: Annotated[int, "number of the session, from 0"],
    replays: Annotated[int, "how often the workload is played"],
    workload: Annotated[Path, "file of config/workloads/"],
    manifest: Annotated[Path, "manifest.json of the quant"],
    engine_record: Annotated[Path, "file of results/engines/"],
    settings: Annotated[Settings, "the cell's resolved settings, as JSON"],
    gpu_gb: Annotated[float, "memory on all its GPUs together, where cards are shared, 10^9 bytes"] = 0.0,
    engine_log: Annotated[Path | None, "where the engine's log goes (default: in the cell's folder)"] = None,
    output: Annotated[Path | None, "session.json (default: in the cell's folder)"] = None,
) -> None:
    """Run it."""
    name = f"session-{session:02d}"
    deployment = Deployment(
        settings=settings,
        manifest=manifest,
        record=EngineRecord.read(engine_record),
        log=engine_log or cell / f"{name}.engine.log",
        gpu_gb=gpu_gb,
    )
    run_session(
        Session(session, replays, load_workload(workload), deployment), output or cell / name / "session.json"
    )


if __name__ == "__main__":
    run(main)
