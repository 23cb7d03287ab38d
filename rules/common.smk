"""What every stage uses: the plan of the grid, and the two things that only Snakemake can say. No rule.

The plan (scripts/grid/plan.py) knows which files, parameters and resources a job has; to make it reads and checks
config/ and what was asked, says which grid is made and why, and holds the folder where something is going to be
written. Anything wrong ends it here.
"""

import sys
from pathlib import Path

from snakemake.cli import parse_args

if str(workflow.basedir) not in sys.path:
    sys.path.insert(0, str(workflow.basedir))

from scripts.common.sources import content_digest, source_digest
from scripts.engines.start import DRIVERS
from scripts.grid.asked import read_asked
from scripts.grid.begin import begin
from scripts.grid.large import expect_many_jobs, first
from scripts.grid.needs import needs
from scripts.grid.plan import GRID, ROUNDS, engine_file, is_gone, manifest_file, one_of
from scripts.grid.side_tables import LEAK, NEAR_TIES, REAP, SPEED, WARM
from scripts.grid.targets import PARTS
from scripts.quants.evict import evicted_file

TABLE = ["results/table.md", "results/table.csv"]
CONTROLS = "results/controls.json"
JOB = (*PARTS, "session")
FAILED_CONTROLS = "results/controls.failed.json"

AFTER_AN_ERROR = (
    "\nWhat is done is kept; the same command goes on from there. To run all that does not depend on the "
    "failed job, add --keep-going; for the table of what exists, add --config partial=true after the target."
)

expect_many_jobs()
PLAN = begin(
    read_asked(parse_args, sys.argv[1:]),
    config,
    Path(workflow.basedir),
    is_main=workflow.is_main_process,
)
CONFIG = PLAN.configuration.config
if PLAN.local_gpus:
    workflow.register_resource("gpu", PLAN.local_gpus)


def look_of(names):
    """The file of the look after one of a cell's sessions: Snakemake makes it before it asks again."""
    return lambda number: checkpoints.ask_cell.get(
        **dict(zip(PARTS, names)), session=f"{number:02d}"
    ).output[0]


def session_files(*names):
    """The session records that a cell is summarised from; of a question they are found out round by round."""
    return PLAN.sessions(*names, look=look_of(names))


def look_files(*names):
    """The looks that a cell's question took, one a session."""
    return PLAN.rounds(*names, look=look_of(names))


def manifest(quant, stays):
    """The manifest of a quant, as it is now where its weights stay gone: what makes them is then no matter."""
    file = manifest_file(*quant)
    return before_update(file) if stays else file


def weights(file, rule, names=JOB):
    """The manifest of the weights that a rule's file is made with."""

    def source(model, precision, *rest):
        made = file.format(**dict(zip(names, (model, precision, *rest))))
        return manifest(
            (model, precision), PLAN.stays_gone(model, precision, made, rule)
        )

    return first(len(names), source)


def quant_source(rule):
    """What a precision is built from: the manifest of another precision, or a checkpoint."""

    def source(*quant):
        other = PLAN.source_quant(*quant)
        if other is None:
            return [ancient(file) for file in PLAN.quant_files(*quant)]
        return manifest(other, PLAN.source_stays_gone(*quant, rule))

    return first(2, source)


def evicted(*quant):
    """What says that weights were deleted, as it is now: those that are made again are newer."""
    return [before_update(file) for file in PLAN.evicted(*quant)]


wildcard_constraints:
    model=one_of(cell.model for cell in PLAN.cells.values()),
    precision=one_of(cell.precision for cell in PLAN.cells.values()),
    engine=one_of(cell.engine for cell in PLAN.cells.values()),
    variant=one_of(cell.variant for cell in PLAN.cells.values()),
    session=r"\d\d+",
