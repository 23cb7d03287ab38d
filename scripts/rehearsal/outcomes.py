"""What a rehearsal came to, cell by cell: from the sessions' records, and from the logs of what failed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from msgspec.structs import replace

from scripts.engines.refusal import last_error, of_resources
from scripts.grid.plan import engine_file, manifest_file
from scripts.grid.resolve import Cell, Quant
from scripts.provenance.code import describe_code
from scripts.provenance.gpus import visible_gpus
from scripts.records.rehearsal import Outcome, Rehearsal, RehearsedCell
from scripts.records.session import SessionRecord
from scripts.rehearsal.flags import find_images, parse_flags
from scripts.rehearsal.folder import Plan, Rehearsed
from scripts.rehearsal.tried import RESULTS
from scripts.verdict.kernels import kernels

LONGEST = 400
"""Characters of an error that are kept."""
AS_BASE = "started as base: a rehearsal keeps no tuning results"
ENDED = "the engine did not start; the engine has ended (exit status "
"""What a session says of an engine that ended by itself."""
# What engines log of the memory that weights take, one line a rank: vLLM, SGLang.
_MEMORY = (
    re.compile(r"Model loading took ([\d.]+) GiB"),
    re.compile(r"Load weight end\..*?mem usage=([\d.]+) GB"),
)


def read_rehearsal(plan: Plan) -> Rehearsal:
    """What is there of a grid's rehearsal: every cell has an outcome."""
    root = plan.configuration.root
    waiting = [each for each in plan.cells if each.reason is not None and each.reason[0] == "not run"]
    parsed, parsers = parse_flags(plan, [each.cell for each in waiting])
    images = find_images(plan, [each.cell for each in waiting])
    return Rehearsal(
        grid=plan.configuration.grid_name,
        gpus=[gpu.name for gpu in visible_gpus()],
        cells=[_outcome(root, plan, each, parsed, images) for each in plan.cells],
        stand_ins=[
            plan.stand_ins.used[quant]
            for quant in dict.fromkeys(
                (each.cell.model, each.cell.precision) for each in plan.cells if each.as_cell is not None
            )
        ],
        commit=describe_code(root).commit,
        parser=parsers,
    )


def _outcome(
    root: Path, plan: Plan, each: Rehearsed, parsed: dict[str, str], images: dict[str, str]
) -> RehearsedCell:
    cell = each.cell

    def row(outcome: Outcome, said: str | None = None) -> RehearsedCell:
        return RehearsedCell(
            model=cell.model,
            precision=cell.precision,
            engine=cell.engine,
            variant=cell.variant,
            architecture=cell.architecture,
            outcome=outcome,
            said=said,
            started_as=plan.hosts.get(cell.engine) if each.as_cell else None,
            flags=parsed.get(cell.path),
            image=images.get(cell.engine) if outcome == "not run" else None,
        )

    if each.reason is not None:
        return row(*each.reason)
    assert each.as_cell is not None
    record = root / RESULTS / each.as_cell.session_files[0].removeprefix("results/")
    if not record.is_file():
        return row(*_failure(root, plan, each.as_cell))
    session = SessionRecord.read(record)
    if session.refused is not None:
        return row("refused", session.refused.sentence)
    found = row("starts", None if each.as_cell.variant == cell.variant else AS_BASE)
    return _with_readings(found, session, _engine_log(root, each.as_cell))


def _with_readings(found: RehearsedCell, session: SessionRecord, log: str) -> RehearsedCell:
    said = session.resolved
    memory = [float(each) for pattern in _MEMORY for each in pattern.findall(log)]
    return replace(
        found,
        version=said and said.version,
        start_seconds=session.start_seconds,
        gpu_memory_gib=max(memory, default=None) if session.settings and session.settings.gpus else None,
        tokens=session.tokens,
        kernels=kernels(session),
        ignored=session.ignored or {},
    )


def _failure(root: Path, plan: Plan, cell: Cell) -> tuple[Outcome, str | None]:
    """Why a cell that was to be started has no session: what its engine, its weights or itself ended with."""
    engine, quant = cell.engine, (cell.model, cell.precision)
    if not _there(root, engine_file(engine)):
        return _ended("no engine", _log(root, f"engines/{engine}.log"))
    chain: list[Quant] = []
    current: Quant | None = quant
    while current is not None:
        chain.append(current)
        current = plan.source(current)
    for each in reversed(chain):
        if not _there(root, manifest_file(*each)):
            return _ended("no weights", _log(root, f"quants/{'-'.join(each)}.log"))
    log = _log(root, f"sessions/{cell.path}/session-00.log")
    outcome, said = _ended("fails", log)
    sentence = last_error(_engine_log(root, cell)) if outcome == "fails" and ENDED in log else None
    if sentence is None:
        return outcome, said
    return "fails" if of_resources(sentence) else "refused", sentence


def _ended(outcome: Outcome, log: str) -> tuple[Outcome, str | None]:
    """An outcome with the error that a command's log ends with; not reached, where there is none."""
    found = error_of(log)
    return ("not reached", None) if found is None else (outcome, found)


def error_of(log: str) -> str | None:
    """What a command of ours ended with, without its remedy and the end of an engine's log.

    None where it did not fail: it is still at it, or was stopped.
    """
    errors = re.findall(r"^error: (.*)$", log, re.MULTILINE)
    if errors:
        return cut(errors[-1].partition("; its log ends:")[0])
    lines = [line.strip() for line in log.partition("Traceback (most")[2].splitlines() if line.strip()]
    return cut(lines[-1]) if lines and lines[-1] != "interrupted" else None


def cut(text: str) -> str:
    """A sentence without the folder that the project lies in, and not too long."""
    plain = text.replace(f"{Path.cwd()}{os.sep}", "")
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"


def _there(root: Path, file: str) -> bool:
    return (root / RESULTS / file.removeprefix("results/")).is_file()


def _log(root: Path, name: str) -> str:
    path = root / RESULTS / "logs" / name
    return path.read_text("utf-8", "replace") if path.is_file() else ""


def _engine_log(root: Path, cell: Cell) -> str:
    return _log(root, f"sessions/{cell.path}/session-00.engine.log")
