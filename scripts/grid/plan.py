"""What the rules ask: which files a job reads, with which parameters and resources it runs, which names there are.

A job's model, precision, engine and variant come in as plain names.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from scripts.archive.contents import code_files
from scripts.common.sources import content_digest, source_digest
from scripts.grid.ablations import Ablation, resolve_ablations
from scripts.grid.asked import Asked
from scripts.grid.configuration import Configuration
from scripts.grid.describe import unrehearsed
from scripts.grid.large import Names, first
from scripts.grid.needs import Needs, image_needs, playing_needs, weights_needs
from scripts.grid.resolve import (
    Cell,
    Quant,
    built_from,
    cell_settings,
    evictable_quants,
    existing_sessions,
    gpu_memory,
    unused_modules,
    weights_builder,
)
from scripts.grid.side_tables import compared_pairs, fed_cells, side_tables
from scripts.grid.sweeps import curve_file, curves
from scripts.provenance.code import describe_code
from scripts.provenance.environments import build_files, env_python
from scripts.provenance.gpus import visible_gpus
from scripts.quants.checkpoint import CHAT_FILES
from scripts.quants.evict import evicted_file, have_weights, note_eviction
from scripts.records.engines import EngineEntry
from scripts.records.forced import MODES
from scripts.records.grid import compare_page, fed_folder
from scripts.records.models import source_quant
from scripts.records.question import QuestionRound

GRID = "results/grid.json"
REQUESTS_READER = ("scripts.workload.requests",)  # what a session with scenarios never comes to use
MOMENT = 1_000_000  # nanoseconds
RANK_GB = 4  # GPU memory of an engine's process on a further card, beside its part of the weights
# Priorities: of a cell's sessions 00, 01 and all later ones; of weights that are made here, of those that are pulled.
ROUNDS = (1_000_000, 1_000, 1)
BRING = (200_000, 100_000)
NONE = "(?!)"  # a wildcard constraint that nothing meets


def one_of(names: Iterable[str]) -> str:
    """A wildcard constraint: these names and nothing else."""
    return "|".join(re.escape(name) for name in sorted(set(names))) or NONE


def engine_file(engine: str) -> str:
    """The record of an engine, from the root."""
    return f"results/engines/{engine}.json"


def manifest_file(model: str, precision: str) -> str:
    """The manifest of a quant, from the root."""
    return f"results/quants/{model}/{precision}/manifest.json"


def is_gone(model: str, precision: str) -> bool:
    """Whether the weights of a manifest that is there are not."""
    file = Path(manifest_file(model, precision))
    return file.is_file() and not have_weights(file)


def fed_file(other: Cell, one: Cell) -> str:
    """The forced passes of a cell over the trajectory of another, from the root."""
    return f"{fed_folder(other.folder, one.path)}/forced.json"


@dataclass(frozen=True)
class Plan:
    """A grid's configuration, its rows, and what was asked of it."""

    configuration: Configuration
    rows: tuple[Cell, ...]
    asked: Asked

    @property
    def partial(self) -> bool:
        """Whether the table is made of what exists, and no session is run."""
        return self.configuration.config.partial

    # Cells

    @cached_property
    def cells(self) -> dict[tuple[str, ...], Cell]:
        """The cells that are run, by model, precision, engine and variant."""
        return {row.names: row for row in self.rows if row.planned is None}

    @cached_property
    def shown(self) -> list[Cell]:
        """The cells that have sessions to be summarised from: of a partial table those of which any exists."""
        cells = self.cells.values()
        return [cell for cell in cells if not self.partial or existing_sessions(Path(), cell)]

    def summaries(self, cells: Iterable[Cell]) -> list[str]:
        """The summaries of those of these cells that have sessions, each once."""
        shown = set(self.shown)
        return list(dict.fromkeys(f"{cell.folder}/cell.json" for cell in cells if cell in shown))

    def sessions(self, *names: str, look: Callable[[int], str]) -> list[str]:
        """The session records that a cell is summarised from; of a partial table those that exist.

        Of a cell with a question they are found out round by round: `look` gives the file of the look after a session.
        """
        cell = self.cells[names]
        if self.partial:
            return existing_sessions(Path(), cell)
        for number, _ in enumerate(cell.round_files):
            if not QuestionRound.read(Path(look(number))).more:
                return cell.session_files[: number + 1]
        return cell.session_files

    def rounds(self, *names: str, look: Callable[[int], str]) -> list[str]:
        """The looks that a cell's question took, one a session; none of a partial table."""
        return [] if self.partial else self.cells[names].round_files[: len(self.sessions(*names, look=look))]

    def forced(self, *names: str) -> list[str]:
        """The forced replay that a cell is summarised with, if any; of a partial table one that exists."""
        file = self.cells[names].forced_file
        return [file] if file is not None and (not self.partial or Path(file).is_file()) else []

    def fed(self, cells: Iterable[Cell]) -> list[str]:
        """The passes of cells over the trajectories of others that the grid compares them with; of a partial table
        those that are there."""
        wanted = set(cells)
        files = [fed_file(other, one) for one, other in self._fed if other in wanted]
        return [file for file in files if not self.partial or Path(file).is_file()]

    def fed_from(self, source: str) -> Cell:
        """The cell whose trajectory has this name in the folder of the one that is fed it."""
        return next(one for one, other in self._fed if Path(fed_file(other, one)).parent.name == source)

    def fed_trajectory(self, source: str) -> str:
        """The session record beside the trajectory of this name."""
        return self.fed_from(source).session_files[0]

    @cached_property
    def fed_names(self) -> str:
        """A wildcard constraint: the trajectories that are fed to other cells."""
        return one_of(Path(fed_file(other, one)).parent.name for one, other in self._fed)

    @cached_property
    def _fed(self) -> list[tuple[Cell, Cell]]:
        return fed_cells(self.configuration, self.rows)

    def sessions_to(self, *names: str) -> list[str]:
        """A cell's session records up to the session that is named last."""
        return self.cells[names[:4]].session_files[: int(names[4]) + 1]

    def session_records(self, cells: Iterable[Cell]) -> list[str]:
        """The session records of cells whose number is known beforehand: of those without a question."""
        fixed = [cell for cell in cells if cell.question is None]
        return [file for cell in fixed for file in self.sessions(*cell.names, look=str)]

    def workload(self, *names: str) -> str:
        """The file of the workload that a cell is asked."""
        return self.configuration.workloads[self.cells[names].workload][0]

    def workspace(self, *names: str) -> tuple[str, ...]:
        """The files that a cell's workload reads."""
        return self.configuration.workloads[self.cells[names].workload][1:]

    # Arguments of a cell's commands

    @cached_property
    def _settings(self) -> dict[tuple[str, ...], str]:
        cells = self.cells.items()
        settings = {names: cell_settings(self.configuration, cell).as_json() for names, cell in cells}
        return {
            names: shlex.join(
                [
                    self.cells[names].folder,
                    f"--settings={json.dumps(each, sort_keys=True)}",
                    *([f"--gpu-gb={memory}"] if (memory := self.session_gpu_memory(*names[:3])) else []),
                ]
            )
            for names, each in settings.items()
        }

    def session_arguments(self, *names: str) -> str:
        """A cell's folder, settings and replays, as run_session takes them."""
        return f"{self._settings[names]} --replays {self.cells[names].replays}"

    def force_arguments(self, *names: str) -> str:
        """A cell's folder, settings and how often its trajectory is fed back, as force_cell takes them."""
        passes = self.cells[names].forced.by_mode.items()
        return " ".join([self._settings[names], *(f"--{mode}-passes {count}" for mode, count in passes)])

    def feed_arguments(self, *names: str) -> str:
        """A cell's folder and settings, and a pass over another's trajectory in each mode that this one is forced in,
        as force_cell takes them. The trajectory's name comes last."""
        passes = self.fed_from(names[4]).forced.by_mode.items()
        return " ".join(
            [self._settings[names[:4]], *(f"--{mode}-passes {min(count, 1)}" for mode, count in passes)]
        )

    def feed_needs(self, *names: str) -> Needs:
        """What it takes at most to feed a cell another's trajectory: a pass a mode, as long as a replay."""
        cell = self.cells[names[:4]]
        quant = self.configuration.precision(cell.model, cell.precision)
        return playing_needs(cell.estimate, len(MODES), quant, self.engine(cell.engine))

    def question(self, *names: str, sessions: int) -> str:
        """A cell's question to so many sessions, as ask_cell and summarise_cell take it; nothing without one."""
        asked = self.cells[names].question
        if asked is None:
            return ""
        return f"--question {shlex.quote(json.dumps(asked.as_json(), sort_keys=True))} --sessions {sessions}"

    def question_after(self, *names: str) -> str:
        """A cell's question to its sessions up to the one that is named last."""
        return self.question(*names[:4], sessions=int(names[4]) + 1)

    def session_code(self, *names: str) -> str:
        """The digest of the sources that a session of a cell follows from."""
        return source_digest("run_session", (*self._unused[names[2]], *self._unread(*names)))

    def sweep_arguments(self, *names: str) -> str:
        """A cell's folder, settings and sweep, as sweep_cell takes them."""
        asked = self.cells[names].sweep
        assert asked is not None
        return f"{self._settings[names]} --sweep {shlex.quote(json.dumps(asked.as_json(), sort_keys=True))}"

    def sweep_code(self, *names: str) -> str:
        """The digest of the sources that a session of a cell's sweep follows from."""
        return source_digest("sweep_cell", (*self._unused[names[2]], *self._unread(*names)))

    def _unread(self, *names: str) -> tuple[str, ...]:
        """What a cell that is asked scenarios never comes to use."""
        return () if self.configuration.asked[self.cells[names].workload].requests else REQUESTS_READER

    def force_code(self, *names: str) -> str:
        """The digest of the sources that a forced replay of a cell follows from."""
        return source_digest("force_cell", self._unused[names[2]])

    def python(self, *names: str) -> str:
        """The Python of the locked environment of a cell's engine; the workflow's own where it runs elsewhere."""
        return self._pythons[names[2]]

    # Engines

    def engine(self, name: str) -> EngineEntry:
        """The entry of an engine."""
        return self.configuration.engines[name]

    def engines_with(self, has: Callable[[EngineEntry], object]) -> str:
        """A wildcard constraint: the engines whose entry has something."""
        return one_of(name for name, entry in self.configuration.engines.items() if has(entry))

    def engine_entry(self, name: str) -> str:
        """An engine's entry as JSON: it is set up anew where that changes."""
        return json.dumps(self.engine(name).as_json(), sort_keys=True)

    def engine_sources(self, name: str) -> list[str]:
        """What an engine's environment is made from, or its image is built from."""
        entry = self.engine(name)
        if entry.build is None:
            lock = Path(entry.lock or "")
            return [str(file) for file in (lock, *build_files(lock))]
        files = {str(path) for path in Path(entry.build.folder).rglob("*") if path.is_file()}
        return sorted(files | ({str(Path(entry.build.lock))} if entry.build.lock else set()))

    @cached_property
    def _pythons(self) -> dict[str, str]:
        engines = self.configuration.engines
        return {
            name: str(env_python(Path(entry.lock))) if entry.lock else "python"
            for name, entry in engines.items()
        }

    @cached_property
    def _unused(self) -> dict[str, tuple[str, ...]]:
        return {name: unused_modules(entry) for name, entry in self.configuration.engines.items()}

    @cached_property
    def _engines_used(self) -> list[EngineEntry]:
        return [self.engine(name) for name in dict.fromkeys(cell.engine for cell in self.cells.values())]

    @property
    def cores(self) -> int:
        """Processor cores of a session: the most that an engine of the grid takes."""
        return max((entry.cores for entry in self._engines_used), default=1)

    @property
    def session_cores(self) -> int | Callable[[Names], int]:
        """Processor cores of a session; one number where all engines take as many, which Snakemake looks up faster."""
        alike = len({entry.cores for entry in self._engines_used}) < 2
        return self.cores if alike else first(3, lambda _model, _precision, engine: self.engine(engine).cores)

    @property
    def takes_gpus(self) -> bool:
        """Whether an engine of the grid takes GPUs."""
        return any(entry.gpus for entry in self._engines_used)

    @cached_property
    def local_gpus(self) -> int:
        """How many GPUs this machine's jobs share out, where nobody said; 0 where they share none."""
        said = {"gpu", "gpu_gb"}.intersection(self.asked.resources)
        return len(visible_gpus()) if self.takes_gpus and not (self.asked.executor or said) else 0

    def session_gpus(self, model: str, precision: str, engine: str) -> int:
        """How many GPUs a session takes, on all its machines."""
        return self.engine(engine).gpus

    def session_nodes(self, model: str, precision: str, engine: str) -> int:
        """On how many machines a session's engine runs."""
        return self.engine(engine).nodes

    @property
    def session_resources(self) -> dict[str, Callable[[Names], int]]:
        """The resources of a session and of a forced replay that are counted: GPUs and machines, where any is asked."""
        gpus = {"gpu": self.session_gpus, "gpu_gb": self.session_gpu_memory} if self.takes_gpus else {}
        nodes = {"nodes": self.session_nodes} if any(each.nodes > 1 for each in self._engines_used) else {}
        return {name: first(3, ask) for name, ask in (gpus | nodes).items()}

    # Order: what gives a cell its first reading before what gives it another

    def session_priority(self, *names: str) -> int:
        """The first sessions of all cells before the second of any; of these the ones that take the most GPUs, which
        would find no gap later."""
        return ROUNDS[min(int(names[4]), len(ROUNDS) - 1)] * self._width(names[2])

    def force_priority(self, *names: str) -> int:
        """A forced replay, or a session of a sweep, comes with the second sessions."""
        return ROUNDS[1] * self._width(names[2])

    def _width(self, engine: str) -> int:
        # Squared, since the scheduler adds up what it starts: one session on four GPUs outweighs four on one.
        return min(max(1, self.engine(engine).gpus), 8) ** 2

    def bring_priority(self, *, pulled: bool) -> int:
        """Weights that are here are asked before others are brought, and these before a second session of any; where
        weights are deleted in between, all sessions come first."""
        return 0 if self.evictable else BRING[pulled]

    def session_gpu_memory(self, model: str, precision: str, engine: str) -> int:
        """GPU memory in GB that a session takes on all its GPUs: what --resources gpu_gb= shares among sessions."""
        gpus = self.engine(engine).gpus
        quant = self.configuration.precision(model, precision)
        return math.ceil(gpu_memory(quant) + RANK_GB * (gpus - 1)) if gpus else 0

    def engine_gpu_memory(self, engine: str) -> int:
        """GPU memory in GB that the largest quant wants on this machine, of those that an engine serves in this grid.

        0 where sessions run on others. A resource and no parameter, since another grid is no reason to set an engine up
        again.
        """
        served = [each for each in self.cells.values() if each.engine == engine]
        quants = [self.configuration.precision(each.model, each.precision) for each in served]
        most = max((quant.gpu_memory_gb or 0 for quant in quants), default=0)
        return math.ceil(most / self.engine(engine).nodes) if not self.asked.executor else 0

    # What a cluster is told of a job; on one machine it is no matter

    def session_needs(self, *names: str) -> Needs:
        """What a session takes at most, by its cell's estimate."""
        cell = self.cells[names[:4]]
        quant = self.configuration.precision(cell.model, cell.precision)
        return playing_needs(cell.estimate, cell.replays, quant, self.engine(cell.engine))

    def forced_needs(self, *names: str) -> Needs:
        """What the forced replay of a cell takes at most; a pass as long as a replay."""
        cell = self.cells[names]
        quant = self.configuration.precision(cell.model, cell.precision)
        passes = sum(cell.forced.by_mode.values())
        return playing_needs(cell.estimate, passes, quant, self.engine(cell.engine))

    def sweep_needs(self, *names: str) -> Needs:
        """What a session of a cell's sweep takes at most, by the sweep's own estimate."""
        cell = self.cells[names]
        assert cell.sweep is not None
        quant = self.configuration.precision(cell.model, cell.precision)
        estimate = msgspec.structs.replace(cell.estimate, start_seconds=cell.sweep.session_seconds)
        return playing_needs(estimate, 0, quant, self.engine(cell.engine))

    def weights_needs(self, model: str, precision: str) -> Needs:
        """What it takes at most to make the weights of a quant."""
        quant = self.configuration.precision(model, precision)
        source = self.source_quant(model, precision)
        return weights_needs(quant, self.configuration.precision(*source) if source else quant)

    def image_needs(self, engine: str) -> Needs:
        """What it takes at most to pull or build the image of an engine."""
        return image_needs(self.engine(engine))

    # Weights

    def quant_entry(self, model: str, precision: str) -> str:
        """A precision's entry as its commands take it; of a served one with its tokenizer."""
        entry = self.configuration.precision(model, precision).as_json()
        entry.pop("stand_in", None)  # which nothing of the weights follows from
        if "served" in entry and self.configuration.config.tokenizer:
            entry["tokenizer_path"] = self.configuration.config.tokenizer
        return shlex.quote(json.dumps(entry, sort_keys=True))

    def quants_with(self, *recipes: str | None) -> str:
        """A wildcard constraint on the model: those quants, model/precision, that come by these recipes, or by none."""
        found = []
        for name, model in self.configuration.models.items():
            chosen = [each for each, entry in model.precisions.items() if entry.recipe in recipes]
            if chosen:
                found.append(rf"{re.escape(name)}(?=/(?:{one_of(chosen)})/manifest)")
        return "|".join(found) or NONE

    def quant_files(self, model: str, precision: str) -> list[str]:
        """The files that a precision is made from, where no other precision is: of a checkpoint, or of a shape.

        The chat form of a checkpoint lies in its folder or in the one above.
        """
        entry = self.configuration.precision(model, precision)
        if entry.source is None:
            return []
        if entry.chat is not None:
            return [f"{entry.source}/config.json", *(f"{entry.chat}/{name}" for name in CHAT_FILES)]
        folder = Path(entry.source)
        homes = {name: folder if (folder / name).is_file() else folder.parent for name in CHAT_FILES}
        own = (folder / name for name in ("config.json", "model.safetensors"))
        return [str(path) for path in (*own, *(home / name for name, home in homes.items()))]

    def quant_content(self, model: str, precision: str) -> str:
        """The digest of a checkpoint's content, since a checkout that only touches large files must rebuild nothing."""
        files = tuple(self.quant_files(model, precision))
        if files not in self._digests:
            self._digests[files] = content_digest(files)
        return self._digests[files]

    @cached_property
    def _digests(self) -> dict[tuple[str, ...], str]:
        return {}

    def builder(self, quantise_in: str) -> str | None:
        """The engine whose environment builds GGUF weights, where they are built in one."""
        return weights_builder(self.configuration) if quantise_in == "process" else None

    def builder_python(self, quantise_in: str) -> str:
        """The Python that builds GGUF weights."""
        builder = self.builder(quantise_in)
        return self._pythons[builder] if builder else "python"

    def serving_gpus(self, model: str, precision: str) -> str:
        """On how many GPUs of this machine the engines of this grid serve a quant: counts such as 1,4.

        0 where none is asked, an engine does without, or sessions run on other machines.
        """
        served = [each for each in self.cells.values() if (each.model, each.precision) == (model, precision)]
        engines = [self.engine(each.engine) for each in served]
        # What several machines serve is more than this one has: its engine asks for its share.
        counts = [0 if each.nodes > 1 else each.gpus for each in engines]
        if not counts or not all(counts) or self.asked.executor:
            return "0"
        return ",".join(str(count) for count in sorted(set(counts)))

    # Eviction: weights that are gone are made again only for what is to be run with them

    @cached_property
    def evictable(self) -> list[Quant]:
        """The quants whose weights are deleted once no cell needs them."""
        wanted = self.configuration.config.evict_weights and not self.partial
        return evictable_quants(self.configuration, self.cells.values()) if wanted else []

    def stays_gone(self, model: str, precision: str, file: str, rule: str) -> bool:
        """Whether a rule's file needs no weights, which are gone, since it is there and is not to be made again."""
        return is_gone(model, precision) and Path(file).is_file() and not self.asked.makes_again(file, rule)

    def note_deletions(self) -> None:
        """Have an evicted.json that is newer than its manifest for all weights that are gone: it has them made again.

        Where making them again failed, Snakemake restored the manifest; and somebody may have deleted them by hand. It
        is older than the sessions that were made from them, so that an eviction that was killed is finished.
        """
        for quant in dict.fromkeys(
            each for cell in self.rows for each in built_from(self.configuration, cell)
        ):
            manifest, said = Path(manifest_file(*quant)), Path(evicted_file(*quant))
            if is_gone(*quant):
                made = manifest.stat().st_mtime_ns
                if not said.is_file() or said.stat().st_mtime_ns <= made:
                    note_eviction(manifest, said)
                    os.utime(said, ns=(made + MOMENT, made + MOMENT))

    def source_stays_gone(self, model: str, precision: str, rule: str) -> bool:
        """Whether the weights that a precision is built from, which are gone, are not needed: its own are there."""
        source, manifest = self.source_quant(model, precision), manifest_file(model, precision)
        return (
            source is not None and not is_gone(model, precision) and self.stays_gone(*source, manifest, rule)
        )

    def source_quant(self, model: str, precision: str) -> Quant | None:
        """The quant that a precision is built from, if any."""
        source = self.configuration.precision(model, precision).from_
        return source_quant(model, source) if source else None

    def users(self, model: str, precision: str) -> list[tuple[str, ...]]:
        """The cells whose sessions use a quant, or one that is built from it, by their names."""
        quant = (model, precision)
        return [key for key, cell in self.cells.items() if quant in built_from(self.configuration, cell)]

    def evicted(self, model: str, precision: str) -> list[str]:
        """What says that the weights of a quant were deleted, where they were: they are made again after that."""
        file = evicted_file(model, precision)
        return [file] if Path(file).is_file() else []

    # Pages

    @cached_property
    def ablations(self) -> list[Ablation]:
        """The grid's ablations."""
        return resolve_ablations(self.configuration, self.rows)

    def ablated(self, model: str, precision: str, engine: str) -> list[str]:
        """The summaries that a page of ablations is made from: of its cells those that are run."""
        pages = [
            each
            for each in self.ablations
            if (each.model, each.precision, each.engine) == (model, precision, engine)
        ]
        keys = [key for page in pages for key in page.cells if key in self.cells]
        return self.summaries(self.cells[key] for key in keys)

    @cached_property
    def compared(self) -> dict[str, list[Cell]]:
        """The pages that set a cell beside others, and the cells of each."""
        pages: dict[str, list[Cell]] = {}
        for one, other in compared_pairs(self.configuration, self.rows):
            pages.setdefault(compare_page(one.path), [one]).append(other)
        return pages

    @cached_property
    def side(self) -> dict[str, list[Cell]]:
        """The side tables that the grid can make, and the cells that each is made from."""
        return side_tables(self.configuration, self.rows)

    @cached_property
    def curves(self) -> dict[str, list[Cell]]:
        """The grid's sweeps by name, and the cells of each."""
        return curves(self.configuration, self.rows)

    @property
    def curve_files(self) -> list[str]:
        """The pages of the grid's sweeps; of a partial table those that something is there for."""
        return [curve_file(name) for name in self.curves if self.swept(name)]

    def swept(self, name: str) -> list[str]:
        """The records that the page of a sweep is made from; of a partial table those that are there."""
        files = [file for cell in self.curves[name] for file in cell.sweep_files]
        return [file for file in files if not self.partial or Path(file).is_file()]

    def manifests(self) -> list[Quant]:
        """The quants that the shown cells run on; of a partial table those that have a manifest."""
        quants = sorted({(cell.model, cell.precision) for cell in self.shown})
        return [each for each in quants if not self.partial or Path(manifest_file(*each)).is_file()]

    @property
    def baseline(self) -> list[str]:
        """What the grid's cells are checked against, where anything is named."""
        named = self.configuration.baseline
        return [named] if named is not None else []

    @property
    def grid_settings(self) -> list[str]:
        """The values of --config, as write_grid takes them; what is checked against is no part of the grid."""
        given = self.configuration.overrides.items()
        return [f"--set={key}={value}" for key, value in given if key not in ("grid", "baseline")]

    @cached_property
    def never_rehearsed(self) -> int:
        """How many of the cells whose weights are pulled were never rehearsed, as the heading says."""
        return unrehearsed(self.configuration, self.rows)[0]

    def archived_code(self) -> str:
        """The digest of the code that goes into the archive, and its commit."""
        return f"{content_digest(code_files(Path()))} {describe_code(Path()).commit}"
