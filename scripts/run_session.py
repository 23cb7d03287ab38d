"""Run one session of a cell: start its engine, play the workload a number of times, write down what happened.

Run it with the Python of the engine's environment. The folder of the session is written as a whole or not at all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scripts.common.errors import run_command
from scripts.records.base import convert
from scripts.records.engine import EngineRecord
from scripts.records.settings import Settings
from scripts.sessions.deployment import Deployment
from scripts.sessions.session import Session, run_session
from scripts.workload.spec import load_workload


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cell", type=Path, help="the cell's folder: results/cells/MODEL/PRECISION/ENGINE/VARIANT"
    )
    parser.add_argument("--session", type=int, required=True, help="number of the session, from 0")
    parser.add_argument("--replays", type=int, required=True, help="how often the workload is played")
    parser.add_argument("--workload", type=Path, required=True, help="file of config/workloads/")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json of the quant")
    parser.add_argument("--engine-record", type=Path, required=True, help="file of results/engines/")
    parser.add_argument(
        "--settings", type=json.loads, required=True, help="the cell's resolved settings, as JSON"
    )
    parser.add_argument(
        "--engine-log", type=Path, help="where the engine's log goes (default: in the cell's folder)"
    )
    parser.add_argument("--output", type=Path, help="session.json (default: in the cell's folder)")
    arguments = parser.parse_args()
    name = f"session-{arguments.session:02d}"
    deployment = Deployment(
        settings=convert(Settings, arguments.settings, "--settings"),
        manifest=arguments.manifest,
        record=EngineRecord.read(arguments.engine_record),
        log=arguments.engine_log or arguments.cell / f"{name}.engine.log",
    )
    session = Session(arguments.session, arguments.replays, load_workload(arguments.workload), deployment)
    run_session(session, arguments.output or arguments.cell / name / "session.json")


if __name__ == "__main__":
    run_command(main)
