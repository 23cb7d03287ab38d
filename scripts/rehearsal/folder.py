"""The folder that a grid is rehearsed in: an ordinary workflow of its own, whose results/ is results/rehearsal/.

It is a checkout of links with a config/ of its own: stand-ins in place of weights, one short replay of one session a
cell. Nothing of it is where the results of the grid are, and nothing of these is read.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.common.configs import load_yaml
from scripts.common.errors import ConfigError
from scripts.common.files import write_whole
from scripts.grid.asked import Asked
from scripts.grid.configuration import CONFIG, ENGINES, MODELS, Configuration
from scripts.grid.resolve import Cell, Quant, cell_settings
from scripts.grid.targets import REHEARSAL
from scripts.records.base import JsonObject
from scripts.records.engines import EngineEntry
from scripts.records.models import source_quant
from scripts.records.rehearsal import Outcome
from scripts.rehearsal.stand_ins import StandIns, as_processes
from scripts.rehearsal.tried import RESULTS

FOLDER = Path(".snakemake/rehearsal")
PAGE = REHEARSAL
OWN = (".git", ".snakemake", ".tuning", "config", "results")
WORKLOADS = {False: "rehearsal", True: "ask"}  # by whether a cell is asked requests
ESTIMATE = {"tokens_per_replay": 100, "tokens_per_second": 20, "start_seconds": 90}


@dataclass(frozen=True)
class Rehearsed:
    """A cell of the grid. `as_cell`: the cell that is started for it; `reason`: why none is, with its outcome first."""

    cell: Cell
    as_cell: Cell | None
    reason: tuple[Outcome, str] | None = None


@dataclass(frozen=True)
class Plan:
    """What a rehearsal of a grid starts. `hosts`: engine in a container → the process that it is started as."""

    configuration: Configuration
    cells: tuple[Rehearsed, ...]
    stand_ins: StandIns
    engines: Mapping[str, JsonObject]
    hosts: Mapping[str, str]

    @property
    def started(self) -> list[Cell]:
        """The cells that are started, each once."""
        return list(dict.fromkeys(each.as_cell for each in self.cells if each.as_cell is not None))

    def source(self, quant: Quant) -> Quant | None:
        """The quant that a quant of the rehearsal is built from, if any."""
        source = self.stand_ins.models[quant[0]]["precisions"][quant[1]].get("from")
        return source_quant(quant[0], source) if source else None


def plan_rehearsal(configuration: Configuration, cells: Sequence[Cell], gpus: int | None) -> Plan:
    """What is started of a grid's cells; `gpus`: how many this machine has, None where the jobs run on others.

    ConfigError for a stand-in that is no model.
    """
    models, engines = (
        load_yaml(configuration.root / MODELS),
        load_yaml(configuration.root / ENGINES)["engines"],
    )
    hosts: dict[str, str] = {}
    if configuration.config.rehearse_in == "process":
        engines, hosts = as_processes(engines)
    run = [cell for cell in cells if cell.planned is None]
    drafting = {cell.model for cell in run if _drafts(configuration, cell)}
    stand_ins = StandIns(configuration.root, models, drafting).add(
        (cell.model, cell.precision) for cell in run
    )
    return Plan(
        configuration=configuration,
        cells=tuple(_rehearsed(configuration, cell, stand_ins, gpus) for cell in cells),
        stand_ins=stand_ins,
        engines=engines,
        hosts=hosts,
    )


def _rehearsed(configuration: Configuration, cell: Cell, stand_ins: StandIns, gpus: int | None) -> Rehearsed:
    if cell.planned is not None:
        return Rehearsed(cell, None, ("not run", f"planned: {cell.planned}"))
    if missing := stand_ins.missing.get((cell.model, cell.precision)):
        return Rehearsed(cell, None, ("no stand-in", missing))
    entry = configuration.engines[cell.engine]
    if gpus is not None and (short := _too_few(entry, gpus)):
        return Rehearsed(cell, None, ("not run", short))
    variant = configuration.variants[cell.variant]
    keeps = variant.harness is not None and variant.harness.prefix_cache == "kept"
    started = replace(
        cell,
        variant="base" if variant.changes == ["warm_tuning"] else cell.variant,
        workload=WORKLOADS[bool(configuration.asked[cell.workload].requests)],
        sessions=1,
        replays=2 if keeps else 1,
        note=None,
        expect=(),
        question=None,
        sweep=None,
    )
    return Rehearsed(cell, started)


def _drafts(configuration: Configuration, cell: Cell) -> bool:
    """Whether a cell decodes speculatively, for all that is known with the model's own MTP layer."""
    arguments = cell_settings(configuration, cell).arguments.items()
    return any(name.startswith("speculative") and value for name, value in arguments)


def _too_few(engine: EngineEntry, gpus: int) -> str | None:
    """Why an engine is not started on a machine with so many GPUs."""
    if engine.nodes > 1:
        return f"it wants {engine.nodes} machines"
    if engine.gpus > gpus:
        return f"it wants {engine.gpus} GPU{'s'[: engine.gpus > 1]}, and here is {gpus or 'none'}"
    return None


def write_folder(plan: Plan) -> None:
    """Make the folder: links, the results' own place, and the configuration of what is started."""
    root = plan.configuration.root
    folder = root / FOLDER
    for made in (folder / "config/grids", root / RESULTS):
        made.mkdir(parents=True, exist_ok=True)
    for link in (*folder.iterdir(), *(folder / "config").iterdir()):
        if link.is_symlink():
            link.unlink()
    for entry in root.iterdir():
        if entry.name not in OWN:
            (folder / entry.name).symlink_to(entry.resolve())
    for entry in (root / "config").iterdir():
        if entry.is_dir() and entry.name != "grids":
            (folder / "config" / entry.name).symlink_to(entry.resolve())
    (folder / "results").symlink_to((root / RESULTS).resolve())
    for name, content in _files(plan):
        # JSON, which is YAML without its doubts about what is a number.
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        if not (folder / name).is_file() or (folder / name).read_text("utf-8") != text:
            write_whole(folder / name, text)


def grid_name(plan: Plan) -> str:
    """What the grid is called in the folder."""
    return f"rehearsal-of-{plan.configuration.grid_name}"


def _files(plan: Plan) -> Iterator[tuple[str, JsonObject]]:
    """The files of config/ that the rehearsal has of its own, and its shapes."""
    configuration = plan.configuration
    yield (
        CONFIG,
        {
            **configuration.config.as_json(),
            "grid": grid_name(plan),
            "partial": False,
            "rehearse": False,
            "evict_weights": False,
            "requests": None,
            "tokenizer": None,
            "endpoint": None,
            "endpoint_model": None,
        },
    )
    yield MODELS, plan.stand_ins.models
    written = load_yaml(configuration.root / ENGINES)
    variants = {name: _without_tuning(each) for name, each in written["variants"].items()}
    kept = {name: each for name, each in variants.items() if name == "base" or len(each) > 1}
    yield ENGINES, {**written, "engines": plan.engines, "variants": kept}
    yield (
        f"config/grids/{grid_name(plan)}.yaml",
        {
            "description": f"every cell of {configuration.grid_name} started once, with stand-ins for its weights",
            "workload": "rehearsal",
            "sessions": 1,
            "replays": 1,
            "forced": 0,
            "estimate": ESTIMATE,
            "blocks": [_block(cell) for cell in plan.started],
        },
    )
    yield from plan.stand_ins.shapes.items()


def _without_tuning(variant: JsonObject) -> JsonObject:
    """What a variant changes in a rehearsal, which must not tune for the sessions to come."""
    return {key: value for key, value in variant.items() if key != "warm_tuning"}


def _block(cell: Cell) -> JsonObject:
    return {
        "models": [cell.model],
        "precisions": [cell.precision],
        "engines": [cell.engine],
        "variants": [cell.variant],
        "workload": cell.workload,
        "replays": cell.replays,
    }


def run_folder(plan: Plan, asked: Asked, arguments: Sequence[str]) -> int:
    """Run Snakemake in the folder with a command's `arguments`, going on past what fails; its exit code.

    Ctrl-C and SIGTERM are its to heed: this process waits until it has stopped its engines.
    """
    targets = [cell.session_files[0] for cell in plan.started]
    options = rest(arguments, asked.targets)
    command = [sys.executable, "-m", "snakemake", *targets, "--keep-going", *options]
    with subprocess.Popen(command, cwd=plan.configuration.root / FOLDER) as snakemake:

        def hand_on(number: int, _frame: object) -> None:
            if number == signal.SIGTERM:
                snakemake.terminate()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, hand_on)
        return snakemake.wait()


def rest(arguments: Sequence[str], targets: Sequence[str]) -> list[str]:
    """A command's arguments without its targets and its values of --config, which the folder has in its config.yaml."""
    found: list[str] = []
    skipping = False
    for each in arguments:
        if each in ("--config", "-C") or each.startswith("--config="):
            skipping = True
        elif skipping and "=" in each and not each.startswith("-"):
            continue
        else:
            skipping = False
            if each not in targets:
                found.append(each)
    return found


def check_targets(asked: Asked) -> None:
    """ConfigError where a rehearsal is to make anything but its page."""
    for each in asked.names:
        if each.removeprefix("./") != PAGE:
            raise ConfigError(
                "a rehearsal makes its page and nothing else",
                where=each,
                remedy="leave the target out, or leave rehearse=true out",
            )
