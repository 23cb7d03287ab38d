"""A rehearsal from start to end: plan it, run its folder, write its record and its page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.common.errors import TempzeroError
from scripts.common.files import write_whole
from scripts.grid.asked import Asked
from scripts.grid.configuration import Configuration
from scripts.grid.lock import FolderHeldError, FolderLock
from scripts.grid.resolve import Cell
from scripts.provenance.gpus import visible_gpus
from scripts.rehearsal.folder import (
    PAGE,
    Plan,
    check_targets,
    plan_rehearsal,
    run_folder,
    write_folder,
)
from scripts.rehearsal.outcomes import read_rehearsal
from scripts.rehearsal.page import render
from scripts.rehearsal.tried import RESULTS

LOCK = ".snakemake/rehearsal.lock"


def rehearse(
    configuration: Configuration, cells: Sequence[Cell], asked: Asked, arguments: Sequence[str]
) -> int:
    """Rehearse a grid by a command's `arguments`, write its page; the exit code.

    A cell that does not start is a row of the page and no failure: 0 where every cell has an outcome. Stopped by Ctrl-C
    it still writes the page of what there is. Where nothing is to be written (-n) nothing is, but the folder.
    """
    check_targets(asked)
    _hold(configuration.root)
    plan = plan_rehearsal(configuration, cells, None if asked.executor else len(visible_gpus()))
    write_folder(plan)
    print(_heading(plan), file=sys.stderr, flush=True)
    code = run_folder(plan, asked, arguments) if plan.started else 0
    code = code if code >= 0 else 128 - code
    if asked.looks:
        return code
    found = read_rehearsal(plan)
    record = configuration.root / RESULTS / f"{found.grid}.json"
    found.write(record)
    write_whole(configuration.root / PAGE, render(found))
    print(f"the rehearsal is in {PAGE}, its record in {record}", file=sys.stderr)
    return code if any(each.outcome == "not reached" for each in found.cells) else 0


def _hold(root: Path) -> None:
    """Hold the rehearsal's folder until this process ends: another grid's rehearsal would change its config/."""
    lock = FolderLock(root / LOCK)
    try:
        lock.take()
    except FolderHeldError as error:
        raise TempzeroError(
            "another rehearsal runs in this folder", where=LOCK, remedy="wait until it ends"
        ) from error
    lock.hold()


def _heading(plan: Plan) -> str:
    name, left = plan.configuration.grid_name, [each for each in plan.cells if each.as_cell is None]
    lines = [
        f"rehearsal of the grid {name}: {len(plan.started)} of {len(plan.cells)} cells are started once with stand-ins "
        f"for their weights. Below, results/ is {RESULTS}/, in a folder of its own"
    ]
    reasons: dict[tuple[str, str], list[str]] = {}
    for each in left:
        assert each.reason is not None
        reasons.setdefault(each.reason, []).append(each.cell.path)
    lines += [
        f"{outcome} ({reason}): {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
        for (outcome, reason), paths in reasons.items()
    ]
    return "\n".join(lines)
