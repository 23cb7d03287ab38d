"""What every stage uses: the checked configuration, the cells of the grid, and this folder's lock. No rule.

Reads config/. Steps: find out what was asked of Snakemake, check config/ and the files asked for, say which grid is
made and why, and hold the folder where something is going to be written. Anything wrong ends it here.
"""

import gc
import inspect
import json
import math
import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.cli import get_argument_parser

if str(workflow.basedir) not in sys.path:
    sys.path.insert(0, str(workflow.basedir))

from scripts.archive.contents import code_files
from scripts.common.errors import TempzeroError
from scripts.common.sources import content_digest, source_digest
from scripts.grid.ablations import resolve_ablations
from scripts.grid.choose import list_gpus
from scripts.grid.configuration import load_configuration
from scripts.grid.describe import describe_grid, describe_rest
from scripts.grid.guard import hold_folder, unfinished
from scripts.grid.machine import check_machine
from scripts.grid.resolve import (
    built_from,
    cell_settings,
    evictable_quants,
    existing_sessions,
    gpu_memory,
    nodes_given,
    resolve_cells,
    unused_modules,
    weights_builder,
    weights_needed,
)
from scripts.grid.side_tables import LEAK, REAP, SPEED, side_tables
from scripts.grid.targets import PARTS, check_targets
from scripts.provenance.code import describe_code
from scripts.provenance.environments import build_files, env_python
from scripts.quants.evict import evicted_file, have_weights
from scripts.screen.take import take_terminal, wants_screen
from scripts.screen.work import plans_of

GRID = "results/grid.json"
TABLE = ["results/table.md", "results/table.csv"]
CONTROLS = "results/controls.json"
FAILED_CONTROLS = "results/controls.failed.json"

# What only looks, and so needs no lock.
LOOKING = (
    "dryrun lint list_rules list_target_rules print_compilation dag rulegraph filegraph d3dag summary "
    "detailed_summary list_changes list_input_changes list_params_changes list_untracked"
).split()

# What tells a job the machines that serve an engine together (scripts/engines/nodes.py).
NODES = "TEMPZERO_NODES"

# Where weights are quantised, which is nothing that they follow from.
IN_CONTAINER = ("scripts.quants.in_container",)

# What asks for more lines, or for fewer, than a screen would show.
CHATTY = "debug debug_dag print_dag_as printshellcmds quiet verbose".split()


# Jobs by the thousand stay until the end: to look through them for garbage again and again took a fifth of a dry run.
gc.freeze()
gc.set_threshold(200_000, 20, 100)


def stop(error):
    """End with a message, without a traceback."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)


def one_of(names):
    """A wildcard constraint: these names and nothing else."""
    return "|".join(re.escape(name) for name in sorted(set(names)))


def cell_of(wildcards):
    """The cell a job belongs to."""
    return CELLS[tuple(wildcards[:4])]


def workload_files(wildcards):
    """The file of the workload that a job's cell is asked, and the files that it reads."""
    return CONFIGURATION.workloads[cell_of(wildcards).workload]


def engine_of(wildcards):
    """The entry of engines.yaml of a job's engine."""
    return CONFIGURATION.engines[wildcards.engine]


@cache
def engine_python(engine):
    """The Python of an engine's locked environment; the workflow's own where the engine runs elsewhere."""
    lock = CONFIGURATION.engines[engine].get("lock")
    return str(env_python(Path(lock))) if lock else "python"


@cache
def session_digest(engine):
    """The digest of the sources that a session of an engine follows from."""
    return source_digest("run_session", unused_modules(CONFIGURATION.engines[engine]))


def engines_with(key):
    """A wildcard constraint: the engines whose entry has the key."""
    return (
        one_of(name for name, entry in CONFIGURATION.engines.items() if key in entry)
        or "(?!)"
    )


def image_sources(wildcards):
    """What an engine's image is built from."""
    plan = engine_of(wildcards)["build"]
    files = [path for path in Path(plan["folder"]).rglob("*") if path.is_file()]
    return sorted(
        str(path)
        for path in [*files, *map(Path, [plan["lock"]] if "lock" in plan else [])]
    )


def needed_gpu_memory(wildcards):
    """GPU memory in GB that the largest quant wants on this machine, of those that an engine serves in this grid.

    A resource and no parameter, since another grid is no reason to set an engine up again.
    """
    quants = [
        CONFIGURATION.models[cell.model]["precisions"][cell.precision]
        for cell in CELLS.values()
        if cell.engine == wildcards.engine
    ]
    return math.ceil(
        max((quant.get("gpu_memory_gb", 0) for quant in quants), default=0)
        / engine_of(wildcards).get("nodes", 1)
    )


def serving_gpus(wildcards):
    """On how many GPUs at most a quant is served in this grid; 0 where none is asked, or an engine does without."""
    engines = [
        CONFIGURATION.engines[cell.engine]
        for cell in CELLS.values()
        if (cell.model, cell.precision) == (wildcards.model, wildcards.precision)
    ]
    # What several machines serve is more than this one has: its engine asks for its share.
    counts = [0 if "nodes" in each else each.get("gpus", 0) for each in engines]
    return max(counts) if counts and all(counts) else 0


def taken_gpu_memory(wildcards):
    """GPU memory in GB that a session takes, by the quant's entry: what --resources gpu_gb= shares among sessions."""
    if not engine_of(wildcards).get("gpus"):
        return 0
    return math.ceil(gpu_memory(quant_of(wildcards)))


def engine_lock(wildcards):
    """What an engine's environment is built from."""
    lock = Path(engine_of(wildcards)["lock"])
    return [str(file) for file in (lock, *build_files(lock))]


def quant_of(wildcards):
    """The entry of models.yaml of a job's precision."""
    return CONFIGURATION.models[wildcards.model]["precisions"][wildcards.precision]


def quant_entry(wildcards):
    """The entry of models.yaml of a job's precision as a command's argument; of a served one with its tokenizer."""
    entry = dict(quant_of(wildcards))
    if "served" in entry:
        entry["tokenizer_path"] = CONFIGURATION.config["tokenizer"]
    return shlex.quote(json.dumps(entry, sort_keys=True))


def quants_with(*recipes):
    """A wildcard constraint on the model: those quants, model/precision, that come by one of the recipes."""
    names = [
        rf"{re.escape(model)}(?=/(?:{one_of(chosen)})/manifest)"
        for model, entry in CONFIGURATION.models.items()
        if (
            chosen := [
                name
                for name, quant in entry["precisions"].items()
                if quant.get("recipe") in recipes
            ]
        )
    ]
    return "|".join(names) or "(?!)"


def checkpoint_files(wildcards):
    """The files of a checkpoint that a recipe reads; its chat form lies in its folder or in the one above."""
    folder = Path(quant_of(wildcards)["source"])
    chat = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    homes = [folder if (folder / name).is_file() else folder.parent for name in chat]
    return [
        *(str(folder / name) for name in ("config.json", "model.safetensors")),
        *(str(home / name) for home, name in zip(homes, chat)),
    ]


def shape_files(wildcards):
    """What a checkpoint with random weights is drawn after: the shape, and the chat form that goes with it."""
    entry = quant_of(wildcards)
    chat = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    return [
        f"{entry['source']}/config.json",
        *(f"{entry['chat']}/{name}" for name in chat),
    ]


def quant_manifest(model, precision):
    """The manifest of a quant."""
    return f"results/quants/{model}/{precision}/manifest.json"


def gone(model, precision):
    """Whether the weights of a manifest that is there are not."""
    file = Path(quant_manifest(model, precision))
    return file.is_file() and not have_weights(file)


def manifest_of(model, precision):
    """The manifest that a job needs; of weights that are gone as older than all that was made from them.

    What is done is so not done again where the weights are had anew for something else.
    """
    file = quant_manifest(model, precision)
    return ancient(file) if gone(model, precision) else file


def force_job(file):
    """Have the job of a file run though its output is there: as -R would, but only where the file is asked for."""
    workflow.dag.forcefiles.add(file)


def is_missing(file, step):
    """Whether a step's file is to be made: it is not there, or is asked for again (-R)."""
    return not Path(file).is_file() or not {file, step}.isdisjoint(ASKED.forcerun)


@cache
def wanted_quants():
    """The quants whose weights are gone and without which a session or forced replay of the grid cannot be run.

    Of a question all sessions that it may take count, since another one may be found needed at any time.
    """
    waiting = [
        cell
        for cell in CELLS.values()
        if any(is_missing(file, "run_session") for file in cell.session_files)
        or (cell.forced_file and is_missing(cell.forced_file, "force_cell"))
    ]
    return {
        quant for cell in waiting for quant in weights_needed(CONFIGURATION, cell, gone)
    }


def weights_for(output, step):
    """The manifest of a session or forced replay; where that is to be run, weights that are gone are had first."""

    def manifest(wildcards):
        if not is_missing(output.format(**wildcards), step):
            return manifest_of(wildcards.model, wildcards.precision)
        for quant in weights_needed(CONFIGURATION, cell_of(wildcards), gone):
            force_job(quant_manifest(*quant))
        return quant_manifest(wildcards.model, wildcards.precision)

    return manifest


def cells_that_need(wildcards):
    """The records of all sessions and forced replays that use a quant, or one that is built from it."""
    quant = (wildcards.model, wildcards.precision)
    if Path(evicted_file(*quant)).is_file() and have_weights(
        Path(quant_manifest(*quant))
    ):
        force_job(evicted_file(*quant))  # they were had again since
    users = [
        cell for cell in CELLS.values() if quant in built_from(CONFIGURATION, cell)
    ]
    sessions = [file for cell in users for file in session_files(cell)]
    return sessions + [forced_file(cell) for cell in users if forced_file(cell)]


def quant_source(wildcards):
    """What a precision is built from: the manifest of another precision, or a checkpoint."""
    entry = quant_of(wildcards)
    if "from" in entry:
        source = (wildcards.model, entry["from"])
        wanted = (wildcards.model, wildcards.precision) in wanted_quants()
        return quant_manifest(*source) if wanted else manifest_of(*source)
    return [ancient(file) for file in checkpoint_files(wildcards)]


def source_content(wildcards):
    """The digest of a checkpoint's content, since a checkout that only touches large files must rebuild nothing."""
    if "source" not in quant_of(wildcards):
        return ""
    return files_digest(tuple(checkpoint_files(wildcards)))


@cache
def files_digest(files):
    """The digest of files' content, which many models may have in common."""
    return content_digest(files)


def has_sessions(cell):
    """Whether a cell has sessions to be summarised from: of a partial table, whether any exists."""
    return not PARTIAL or bool(existing_sessions(Path(), cell))


def session_files(cell):
    """The session records a cell is summarised from; of a partial table those that exist.

    Of a cell with a question they are found out round by round: each look says whether another session is needed.
    """
    if PARTIAL:
        return existing_sessions(Path(), cell)
    for number, _ in enumerate(cell.round_files):
        names = dict(zip(PARTS, cell.path.split("/")))
        look = checkpoints.ask_cell.get(**names, session=f"{number:02d}").output[0]
        if not json.loads(Path(look).read_text())["more"]:
            return cell.session_files[: number + 1]
    return cell.session_files


def look_files(cell):
    """The looks that a cell's question took, one a session; none of a partial table."""
    return [] if PARTIAL else cell.round_files[: len(session_files(cell))]


def asked(cell):
    """A cell's question as a command's argument; nothing where there is none."""
    return (
        f"--question {shlex.quote(json.dumps(cell.question, sort_keys=True))}"
        if cell.question
        else ""
    )


def forced_file(cell):
    """The forced replay a cell is summarised with, if any; of a partial table one that exists."""
    if PARTIAL and not Path(f"{cell.folder}/forced.json").is_file():
        return []
    return cell.forced_file or []


@cache
def force_digest(engine):
    """The digest of the sources that a forced replay of an engine follows from."""
    return source_digest("force_cell", unused_modules(CONFIGURATION.engines[engine]))


def ablated_cells(wildcards):
    """The summaries that a page of ablations is made from: of its cells those that are run."""
    pages = [each for each in ABLATIONS if tuple(wildcards[:3]) == each.cells[0][:3]]
    cells = [CELLS[key] for each in pages for key in each.cells if key in CELLS]
    return list(
        dict.fromkeys(
            f"{cell.folder}/cell.json" for cell in cells if has_sessions(cell)
        )
    )


def reported_manifests(cells):
    """The manifests of the weights that cells run on; of a partial table those that exist."""
    files = sorted({quant_manifest(each.model, each.precision) for each in cells})
    return [file for file in files if Path(file).is_file()] if PARTIAL else files


def side_cells(file):
    """The summaries that a side table is made from: of its cells those that are run; none in a grid without it."""
    return [
        f"{cell.folder}/cell.json" for cell in SIDE.get(file, []) if has_sessions(cell)
    ]


@cache
def archived_code():
    """The digest of the code that goes into the archive, and its commit."""
    commit = describe_code(Path())["commit"]
    return f"{content_digest(code_files(Path()))} {commit}"


def remember_signatures(known):
    """Have Python remember what the functions of all rules take: Snakemake asks it several times for every job."""
    for one in known:
        for each in (*one.input, *one.params, *one.resources.values()):
            if inspect.isfunction(each):
                each.__signature__ = inspect.signature(each)


def after_an_error():
    """What a person can do after a job failed."""
    return (
        "\nWhat is done is kept; the same command goes on from there. To run all that does not depend on the "
        "failed job, add --keep-going; for the table of what exists, add --config partial=true after the target."
    )


def needs_sessions():
    """Whether more is asked for than engines, weights, and what is made of what exists."""
    brought = ("results/engines/", "results/quants/", GRID)
    only_brought = ASKED.targets and all(
        target.startswith(brought) for target in ASKED.targets
    )
    return not (CONFIGURATION.config["partial"] or ASKED.until or only_brought)


ASKED, _ = get_argument_parser().parse_known_args(sys.argv[1:])

try:
    os.environ.update(
        PATH=os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        )
    )
    if Path.cwd() != Path(workflow.basedir):
        raise TempzeroError(
            "the workflow runs in its own folder",
            where=str(Path.cwd()),
            remedy=f"cd {workflow.basedir}",
        )
    CONFIGURATION = load_configuration(Path(), config)
    ROWS = resolve_cells(CONFIGURATION)
    # To the jobs by the environment: other addresses are no reason to run a session again.
    os.environ[NODES] = ",".join(nodes_given(CONFIGURATION.config))
    ABLATIONS = resolve_ablations(CONFIGURATION, ROWS)
    SIDE = side_tables(CONFIGURATION, ROWS)
    check_targets([*ASKED.targets, *ASKED.forcerun, *ASKED.until], CONFIGURATION, ROWS)
    print(describe_grid(CONFIGURATION, ROWS), file=sys.stderr)
    print(describe_rest(Path(), ROWS), file=sys.stderr)
    half_done = [file for file in unfinished(Path()) if Path(file).exists()]
    if ASKED.dryrun and not ASKED.rerun_incomplete and half_done:
        raise TempzeroError(
            f"begun and not finished: {', '.join(half_done)}",
            remedy="the command without -n makes them again where they are needed; to look first, add --rerun-incomplete",
        )
    if ASKED.mode.name == "DEFAULT" and not any(
        getattr(ASKED, name, None) for name in LOOKING
    ):
        if needs_sessions():
            check_machine(Path(), ROWS, CONFIGURATION.engines, list_gpus)
        hold_folder(Path())
        if wants_screen() and not any(getattr(ASKED, name, None) for name in CHATTY):
            take_terminal(
                describe_grid(CONFIGURATION, ROWS).partition(";")[0], plans_of(ROWS)
            )
except TempzeroError as error:
    stop(error)

PARTIAL = CONFIGURATION.config["partial"]
CELLS = {tuple(cell.path.split("/")): cell for cell in ROWS if cell.planned is None}
ENGINES_USED = [CONFIGURATION.engines[cell.engine] for cell in CELLS.values()]
CORES = max((engine.get("cores", 1) for engine in ENGINES_USED), default=1)
GPU = max((min(engine.get("gpus", 0), 1) for engine in ENGINES_USED), default=0)
BUILDER = weights_builder(CONFIGURATION)
QUANTISE_IN = CONFIGURATION.config["quantise_in"]
EVICT = CONFIGURATION.config["evict_weights"] and not PARTIAL
EVICTABLE = evictable_quants(CONFIGURATION, CELLS.values()) if EVICT else []
EVICTED = [evicted_file(*quant) for quant in EVICTABLE]
SETTINGS = {
    key: shlex.join(
        [
            cell.folder,
            f"--settings={json.dumps(cell_settings(CONFIGURATION, cell), sort_keys=True)}",
        ]
    )
    for key, cell in CELLS.items()
}


wildcard_constraints:
    model=one_of(key[0] for key in CELLS),
    precision=one_of(key[1] for key in CELLS),
    engine=one_of(key[2] for key in CELLS),
    variant=one_of(key[3] for key in CELLS),
    session=r"\d\d+",
