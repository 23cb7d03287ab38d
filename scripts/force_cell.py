"""Force a cell: feed a recorded trajectory back to a fresh engine several times and compare every position bit by bit.

Run it with the Python of the engine's environment.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scripts.common.errors import run_command
from scripts.records.base import convert
from scripts.records.engine import EngineRecord
from scripts.records.forced import MODES
from scripts.records.settings import Settings
from scripts.sessions.deployment import Deployment
from scripts.sessions.force import force_cell


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cell", type=Path, help="the cell's folder: results/cells/MODEL/PRECISION/ENGINE/VARIANT"
    )
    for mode in MODES:
        parser.add_argument(
            f"--{mode}-passes", type=int, default=5, help=f"how often it is fed back in {mode} (default: 5)"
        )
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json of the quant")
    parser.add_argument(
        "--engine-record", type=Path, help="file of results/engines/ (an image's or endpoint's)"
    )
    parser.add_argument(
        "--settings", type=json.loads, required=True, help="the cell's resolved settings, as JSON"
    )
    parser.add_argument(
        "--engine-log", type=Path, help="where the engine's log goes (default: in the cell's folder)"
    )
    parser.add_argument("--output", type=Path, help="forced.json (default: in the cell's folder)")
    arguments = parser.parse_args()
    record = arguments.engine_record
    deployment = Deployment(
        settings=convert(Settings, arguments.settings, "--settings"),
        manifest=arguments.manifest,
        record=EngineRecord.read(record) if record else None,
        log=arguments.engine_log or arguments.cell / "forced.engine.log",
    )
    force_cell(
        deployment,
        arguments.output or arguments.cell / "forced.json",
        passes={mode: getattr(arguments, f"{mode}_passes") for mode in MODES},
        transcript=arguments.cell / "session-00" / "replay-00.transcript.jsonl",
    )


if __name__ == "__main__":
    run_command(main)
