"""Run one session of a sweep over a cell: start its engine, look along the axis, find thresholds, write down what was.

Run it with the Python of the engine's environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.records.engine import EngineRecord
from scripts.records.settings import Settings
from scripts.records.sweep import SweepAsked
from scripts.sessions.deployment import Deployment
from scripts.sessions.sweep import SweepSession, run_sweep
from scripts.workload.spec import load_workload


def main(
    cell: Annotated[Path, "the cell's folder: results/cells/MODEL/PRECISION/ENGINE/VARIANT"],
    /,
    *,
    sweep: Annotated[SweepAsked, "what is asked, as JSON: the key `sweep` of a grid's block"],
    session: Annotated[int, "number of the session, from 0"],
    workload: Annotated[Path, "file of config/workloads/ that prompts are made of"],
    manifest: Annotated[Path, "manifest.json of the quant"],
    settings: Annotated[Settings, "the cell's resolved settings, as JSON"],
    engine_record: Annotated[Path | None, "file of results/engines/"] = None,
    gpu_gb: Annotated[float, "memory on all its GPUs together, where cards are shared, 10^9 bytes"] = 0.0,
    engine_log: Annotated[Path | None, "where the engine's log goes (default: in the cell's folder)"] = None,
    output: Annotated[Path | None, "sweep.json (default: in the cell's folder)"] = None,
) -> None:
    """Run it."""
    folder = cell / "sweeps" / sweep.name
    name = f"session-{session:02d}"
    deployment = Deployment(
        settings=settings,
        manifest=manifest,
        record=EngineRecord.read(engine_record) if engine_record else None,
        log=engine_log or folder / f"{name}.engine.log",
        gpu_gb=gpu_gb,
    )
    run_sweep(
        SweepSession(session, sweep, load_workload(workload), deployment),
        output or folder / name / "sweep.json",
    )


if __name__ == "__main__":
    run(main)
