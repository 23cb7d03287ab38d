"""What was asked of Snakemake, by its own parser.

While a Snakefile is read Snakemake itself does not say: `workflow.dag_settings` is None until then.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# What only looks, and so needs no lock.
LOOKING = (
    "d3dag",
    "dag",
    "detailed_summary",
    "dryrun",
    "filegraph",
    "lint",
    "list_changes",
    "list_input_changes",
    "list_params_changes",
    "list_rules",
    "list_target_rules",
    "list_untracked",
    "print_compilation",
    "rulegraph",
    "summary",
)

# Executors whose jobs run beside Snakemake, on its machine; any other hands them to a cluster.
HERE = ("local", "dryrun", "touch")

# What asks for more lines, or for fewer, than a screen would show.
CHATTY = ("debug", "debug_dag", "printshellcmds", "quiet", "verbose")


@dataclass(frozen=True)
class Asked:
    """The arguments of a command that matter here.

    `targets`, `forcerun` (-R), `until`: files and rules. `force` (-f) makes the targets again, `force_all` (-F) all
    that they are made from too. `looks`: nothing is going to be written; `dry_run`: since it is a dry run.
    `executor`: what jobs are handed to, None on this machine. `is_remote_job`: this Snakemake was started by a cluster,
    to run one job. `resources`: the names of those that have a limit; `gpu_gb`: that of the GPU memory that is shared.
    """

    targets: tuple[str, ...] = ()
    forcerun: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    force: bool = False
    force_all: bool = False
    looks: bool = False
    dry_run: bool = False
    rerun_incomplete: bool = False
    chatty: bool = False
    executor: str | None = None
    is_remote_job: bool = False
    resources: tuple[str, ...] = ()
    gpu_gb: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Every file and rule that is named."""
        return (*self.targets, *self.forcerun, *self.until)

    def makes_again(self, file: str, rule: str) -> bool:
        """Whether a rule's file is to be made though it may be there."""
        named = file in self.forcerun or rule in self.forcerun
        return self.force_all or named or (self.force and file in self.targets)


def read_asked(
    parse: Callable[[list[str]], tuple[object, argparse.Namespace]], arguments: Sequence[str]
) -> Asked:
    """What the arguments of a command ask, by Snakemake's own reading of them (`parse_args`), profiles included."""
    with contextlib.redirect_stderr(io.StringIO()):  # it says a second time which profile it reads
        _, given = parse(list(arguments))
    limits = dict(each.split("=", 1) for each in given.resources.args) if given.resources else {}
    return Asked(
        targets=tuple(sorted(given.targets)),
        forcerun=tuple(sorted(given.forcerun)),
        until=tuple(sorted(given.until)),
        force=given.force,
        force_all=given.forceall,
        looks=any(getattr(given, name, None) for name in LOOKING),
        dry_run=given.dryrun,
        rerun_incomplete=given.rerun_incomplete,
        chatty=any(getattr(given, name, None) for name in CHATTY),
        executor=None if given.executor in (None, *HERE) else given.executor,
        is_remote_job=given.mode.name == "REMOTE",
        resources=tuple(sorted(limits)),
        gpu_gb=int(limits.get("gpu_gb", 0)),
    )
