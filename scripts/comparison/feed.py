"""Feeding one cell's trajectory to the engine of another, so that both can be held against each other along it.

The engine is started as the workflow does: from the cell's own settings, over the weights and by the engine's record
that lie in the results of the cell, or in this checkout's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scripts.common.errors import DataError, EngineError
from scripts.common.files import sha256_file
from scripts.comparison.cells import Side, forced_files
from scripts.provenance.environments import env_python, is_complete
from scripts.quants.evict import have_weights
from scripts.records.engine import EngineRecord
from scripts.records.forced import MODES, Forced, ModeNotRun
from scripts.records.grid import fed_folder
from scripts.records.session import SessionRecord

ROOT = Path(__file__).resolve().parents[2]


def feed(one: Side, other: Side) -> None:
    """Feed the first trajectory of `one` to the engine of `other`, once a mode, and to its own where it was not yet.

    DataError where weights or engine are not here or not those of the sessions; EngineError where it does not start, or
    can be forced in no mode.
    """
    session = one.folder / "session-00" / "session.json"
    trajectory = sha256_file(session.with_name("replay-00.transcript.jsonl"))
    for side in (one, other):
        if trajectory not in forced_files(side.folder):
            _force(side, session, Path(f"{fed_folder(str(side.folder), one.name)}--{trajectory[:12]}"))


def _force(side: Side, trajectory: Path, folder: Path) -> None:
    """Have the engine of a cell score what the session of `trajectory` first said; the passes go to `folder`."""
    record = side.sessions[0].record
    if record.settings is None:
        raise DataError(
            "its sessions do not say with which settings they ran",
            where=side.name,
            remedy="run the cell again: snakemake --cores 1 -R run_session -- CELL/cell.json",
        )
    manifest = _weights(side, record)
    engine = _engine(side, record)
    known = EngineRecord.read(engine)
    lock = ROOT / known.lock if known.lock and known.runtime == "process" else None
    if lock is not None and not is_complete(lock):
        raise DataError(
            f"the environment of {known.lock} is not here",
            where=side.name,
            remedy=_make(f"engines/{record.engine}.json"),
        )
    output = folder / "forced.json"
    python = sys.executable if lock is None else str(env_python(lock))
    line = [
        python,
        "-m",
        "scripts.force_cell",
        str(side.folder.resolve()),
        "--manifest",
        str(manifest.resolve()),
    ]
    line += ["--settings", json.dumps(record.settings.as_json()), "--engine-record", str(engine.resolve())]
    line += ["--engine-log", str(folder.resolve() / "engine.log"), "--trajectory", str(trajectory.resolve())]
    line += [each for mode in MODES for each in (f"--{mode}-passes", "1")]
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{side.name}: its engine is started and fed the trajectory", file=sys.stderr, flush=True)
    done = subprocess.run([*line, "--output", str(output.resolve())], cwd=ROOT, stdout=sys.stderr)
    if done.returncode:
        raise EngineError("it could not be fed (above is why)", where=side.name)
    modes = Forced.read(output).modes
    why = {mode: getattr(modes, mode) for mode in MODES}
    if not any(folder.glob("forced/pass-*.jsonl")):
        said = "; ".join(
            f"{mode}: {each.not_run}" for mode, each in why.items() if isinstance(each, ModeNotRun)
        )
        raise EngineError(f"its engine can be fed in no mode ({said})", where=side.name)


def _weights(side: Side, record: SessionRecord) -> Path:
    """The manifest of the weights that a cell's sessions ran on."""
    name = Path("quants") / record.model / record.precision / "manifest.json"
    manifest = _here(side, name)
    if not have_weights(manifest):
        raise DataError(
            f"the weights of {record.model} {record.precision} are not here",
            where=side.name,
            remedy=_make(name.as_posix()),
        )
    if record.weights is not None and record.weights.manifest_sha256 != sha256_file(manifest):
        raise DataError(
            f"the weights here are others than its sessions ran on ({record.weights.manifest_sha256[:12]})",
            where=str(manifest),
            remedy="compare where they were run, or run the cell again",
        )
    return manifest


def _engine(side: Side, record: SessionRecord) -> Path:
    """The record of the engine that a cell's sessions ran on."""
    file = _here(side, Path("engines") / f"{record.engine}.json")
    if not file.is_file():
        raise DataError(
            f"the engine {record.engine} is not here",
            where=side.name,
            remedy=_make(f"engines/{record.engine}.json"),
        )
    here, then = EngineRecord.read(file), record.engine_record
    for key in ("digest", "image_id", "lock_sha256"):
        if then is not None and getattr(then, key) != getattr(here, key):
            raise DataError(
                f"the engine here is another one than its sessions ran on ({key} {getattr(here, key)},"
                f" was {getattr(then, key)})",
                where=str(file),
                remedy="compare where they were run, or run the cell again",
            )
    return file


def _here(side: Side, name: Path) -> Path:
    """A file of the results that a cell belongs to; where they have none (an archive, say), of this checkout's."""
    own = side.folder.resolve().parents[4] / name
    return (
        own
        if own.is_file() and (name.parts[0] == "engines" or have_weights(own))
        else ROOT / "results" / name
    )


def _make(name: str) -> str:
    """The command that makes a file of results/."""
    return f"with a grid that has the cell: snakemake --cores 1 results/{name} --config grid=GRID"
