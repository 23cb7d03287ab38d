"""Before a rule is looked at: config/ and what was asked are checked, the grid is told, the folder is held."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.common.errors import ConfigError, TempzeroError
from scripts.grid.asked import Asked
from scripts.grid.choose import list_gpus
from scripts.grid.configuration import load_configuration
from scripts.grid.describe import describe_downloads, describe_grid, describe_rest, describe_unproven
from scripts.grid.guard import hold_folder, lead_jobs, unfinished
from scripts.grid.lock import FolderHeldError
from scripts.grid.machine import check_chat_forms, check_machine
from scripts.grid.plan import GRID, Plan
from scripts.grid.resolve import resolve_cells
from scripts.grid.so_far import make_so_far
from scripts.grid.targets import check_targets
from scripts.provenance.devices import SHARED
from scripts.records.base import Value
from scripts.screen.take import take_terminal, wants_screen
from scripts.screen.work import plans_of

BROUGHT = ("results/engines/", "results/quants/", GRID)


def begin(asked: Asked, overrides: Mapping[str, Value], home: Path, *, is_main: bool) -> Plan:
    """The plan of the grid; anything wrong ends this process with a message.

    `overrides`: the values of --config. `home`: the folder of the Snakefile. `is_main`: whether this is the workflow
    and no job of it. Where something is going to be written the folder is held until this process ends.
    """
    try:
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        if Path.cwd() != home:
            raise TempzeroError(
                "the workflow runs in its own folder", where=str(Path.cwd()), remedy=f"cd {home}"
            )
        configuration = load_configuration(Path(), overrides)
        if asked.executor and configuration.why.startswith("auto"):
            raise ConfigError(
                "`auto` chooses by this machine, and the jobs run on others",
                where="grid",
                remedy="name one: --config grid=NAME",
            )
        cells = tuple(resolve_cells(configuration))
        if configuration.config.rehearse:
            from scripts.rehearsal.rehearse import rehearse  # slow to import

            sys.exit(rehearse(configuration, cells, asked, sys.argv[1:]))
        plan = Plan(configuration, cells, asked)
        check_targets(asked.names, configuration, plan.rows)
        if asked.is_remote_job:
            lead_jobs()
            return plan
        heading = describe_grid(configuration, plan.rows)
        print(heading, file=sys.stderr)
        print(describe_rest(Path(), plan.rows, configuration.engines, plan.local_gpus), file=sys.stderr)
        if downloads := describe_downloads(configuration, plan.rows):
            print(downloads, file=sys.stderr)
        if unproven := describe_unproven(configuration, plan.rows):
            print(unproven, file=sys.stderr)
        _refuse_half_done(asked)
        if is_main and not asked.looks:
            if wants_sessions(plan):
                if not asked.executor:
                    check_machine(Path(), plan.rows, configuration.engines, list_gpus)
                check_chat_forms(configuration, plan.rows)
            _hold(plan)
            plan.note_deletions()
            _share_gpus(0 if asked.executor else asked.gpu_gb)
            if wants_screen() and not asked.chatty:
                take_terminal(heading.partition(";")[0], plans_of(plan.rows))
    except TempzeroError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    return plan


def _hold(plan: Plan) -> None:
    """Hold the folder; where another workflow does, the table of what exists is made beside it, and that is all."""
    try:
        hold_folder(Path(), executor=plan.asked.executor)
    except FolderHeldError:
        if plan.partial:
            sys.exit(make_so_far(Path(), sys.argv[1:]))
        raise


def _share_gpus(memory_gb: int) -> None:
    """Tell the jobs how much memory of all GPUs they share, so that one card may have several of them; 0 is none."""
    os.environ.pop(SHARED, None)
    if memory_gb:
        os.environ[SHARED] = str(memory_gb)


def wants_sessions(plan: Plan) -> bool:
    """Whether more is asked for than engines, weights, and what is made of what exists."""
    targets = plan.asked.targets
    only_brought = bool(targets) and all(target.startswith(BROUGHT) for target in targets)
    return not (plan.partial or plan.asked.until or only_brought)


def _refuse_half_done(asked: Asked) -> None:
    """A dry run cannot say what it would make again of what was begun and not finished."""
    found = [file for file in unfinished(Path()) if Path(file).exists()]
    if asked.dry_run and not asked.rerun_incomplete and found:
        raise TempzeroError(
            f"begun and not finished: {', '.join(found)}",
            remedy="the command without -n makes them again where they are needed; to look first, add "
            "--rerun-incomplete",
        )
