"""A grid's blocks expanded into cells, and everything that makes one cell what it is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import asdict, replace

from scripts.common.configs import place
from scripts.common.errors import ConfigError, nearest
from scripts.engines.start import DRIVERS
from scripts.engines.tuning import ENGINE_CACHE
from scripts.grid.configuration import ENGINES, MODELS, Configuration
from scripts.records.engines import EngineEntry, Variant
from scripts.records.grid import Block, Config, Estimate, Passes
from scripts.records.models import Precision, source_quant
from scripts.records.question import QuestionAsked, QuestionRound
from scripts.records.settings import Architecture, Arguments, HarnessSettings, Settings
from scripts.records.sweep import SweepAsked
from scripts.verdict.question import check_budget
from scripts.workload.chat import check_options

CHARACTERS_A_TOKEN = 3
GGUF_RECIPES = ("llama-quantize",)  # what the environment of the in-process engine builds


# By kind of engine the argument that says how many requests it computes at once.
SEATS = {"vllm": "max_num_seqs", "sglang": "max_running_requests", "llamacpp": "parallel"}
RECORDED = ("routed_experts", "enable_return_routed_experts")  # arguments by which experts are recorded
# A server with a model too small to be worth an entry: its context, its workspace, and the cache of vllm-0.25.1.
SMALL_GPU_GB = 3

Quant = tuple[str, str]  # model, precision


@dataclass(frozen=True)
class Cell:
    """One row of the table.

    `workload`: what it is asked. `forced`: passes of the recorded trajectory by mode. `planned`: why it
    is not run, or None. `expect`: a control's allowed classes. `question`: what is to be answered, if anything;
    `sessions` are then the most that may be run, and each round is a session. `sweep`: along what it is looked at for a
    page of curves, if at all.
    """

    model: str
    architecture: Architecture
    precision: str
    engine: str
    variant: str
    workload: str
    sessions: int
    replays: int
    forced: Passes
    planned: str | None
    note: str | None
    expect: tuple[str, ...]
    estimate: Estimate
    question: QuestionAsked | None = None
    sweep: SweepAsked | None = None

    @property
    def names(self) -> tuple[str, str, str, str]:
        """Model, precision, engine and variant."""
        return self.model, self.precision, self.engine, self.variant

    @property
    def path(self) -> str:
        """model/precision/engine/variant."""
        return "/".join(self.names)

    @property
    def folder(self) -> str:
        """The cell's folder, from the root."""
        return f"results/cells/{self.path}"

    @property
    def session_files(self) -> list[str]:
        """The record of each of the cell's sessions, from the root."""
        return [f"{self.folder}/session-{number:02d}/session.json" for number in range(self.sessions)]

    @property
    def round_files(self) -> list[str]:
        """Of a cell with a question, the look after each of its sessions, from the root."""
        sessions = range(self.sessions if self.question else 0)
        return [f"{self.folder}/question/round-{number:02d}.json" for number in sessions]

    @property
    def sweep_files(self) -> list[str]:
        """The record of each session of the cell's sweep, from the root."""
        if self.sweep is None:
            return []
        folder = f"{self.folder}/sweeps/{self.sweep.name}"
        return [f"{folder}/session-{number:02d}/sweep.json" for number in range(self.sweep.sessions)]

    @property
    def forced_file(self) -> str | None:
        """The record of the cell's forced replay, from the root, where it is to have one."""
        return f"{self.folder}/forced.json" if any(self.forced.by_mode.values()) else None

    @property
    def session_seconds(self) -> float:
        """Estimated seconds of one session."""
        rate = self.estimate
        return rate.start_seconds + self.replays * rate.tokens_per_replay / rate.tokens_per_second

    @property
    def seconds(self) -> float:
        """Estimated seconds of all the cell's sessions; of a question, of all that its budget allows."""
        sessions = self.sessions
        if self.question and self.question.budget.tokens is not None:
            most = self.question.budget.tokens / (self.replays * self.estimate.tokens_per_replay)
            sessions = min(sessions, math.ceil(most))
        return sessions * self.session_seconds


def resolve_cells(configuration: Configuration) -> list[Cell]:
    """The grid's cells in the order of its blocks; ConfigError for unknown names and cells listed twice."""
    cells: list[Cell] = []
    blocks: dict[str, int] = {}
    file = str(configuration.root / configuration.grid_file)
    for index, block in enumerate(configuration.grid.blocks):
        _check_names(configuration, block, ["blocks", index])
        if block.expect is not None and block.planned is not None:
            raise ConfigError(
                "a planned block cannot be a control", where=place(file, ["blocks", index, "expect"])
            )
        for names in itertools.product(block.models, block.precisions, block.engines, block.variants):
            cell = _cell(configuration, block, *names)
            if cell.question is not None:
                check_budget(
                    cell.question,
                    replays=cell.replays,
                    tokens_per_replay=cell.estimate.tokens_per_replay,
                    where=place(file, ["blocks", index, "question"]),
                )
            if cell.path in blocks:
                raise ConfigError(
                    f"the cell {cell.path} is already in blocks[{blocks[cell.path]}]",
                    where=place(file, ["blocks", index]),
                    remedy="list each cell once",
                )
            blocks[cell.path] = index
            if cell.planned is None:
                _check_runs(configuration, cell, index)
            cells.append(cell)
    return cells


def cell_settings(configuration: Configuration, cell: Cell) -> Settings:
    """Everything that makes `cell` what it is, as `run_session --settings` takes it."""
    engine, variant = configuration.engines[cell.engine], configuration.variants[cell.variant]
    return Settings(
        model=cell.model,
        architecture=cell.architecture,
        precision=cell.precision,
        engine=cell.engine,
        variant=cell.variant,
        kind=engine.kind,
        runtime=engine.runtime,
        arguments=_arguments(configuration.config, engine, variant),
        environment={**engine.environment, **(variant.environment or {})},
        asked={**(variant.arguments or {}).get(engine.kind, {}), **(variant.environment or {})},
        harness=HarnessSettings(
            list_files=(variant.harness and variant.harness.list_files) or "names",
            concurrency=(variant.harness and variant.harness.concurrency) or 1,
            prefix_cache=(variant.harness and variant.harness.prefix_cache) or "emptied",
        ),
        top_logprobs=configuration.config.top_logprobs,
        gpus=engine.gpus,
        nodes=engine.nodes,
        port=engine.port,
        start_seconds=engine.start_seconds,
        container=engine.container,
        warm_tuning=bool(variant.warm_tuning),
        endpoint=_endpoint(configuration.config) if engine.runtime == "external" else None,
    )


def _arguments(config: Config, engine: EngineEntry, variant: Variant) -> Arguments:
    """The engine's arguments, the variant's laid over; llama.cpp's server shares its context out to its slots."""
    arguments = {**engine.arguments, **(variant.arguments or {}).get(engine.kind, {})}
    context, slots = arguments.get("ctx_size"), arguments.get("parallel", 1)
    if engine.kind == "llamacpp" and isinstance(context, int) and isinstance(slots, int):
        arguments["ctx_size"] = context * slots
    if engine.runtime == "external":  # text mode counts characters
        unit = CHARACTERS_A_TOKEN if config.tokenizer is None else 1
        arguments["max_model_len"] = config.endpoint_context * unit
    return arguments


def _endpoint(config: Config) -> str:
    """Where the engine that already runs is."""
    if not config.endpoint:
        raise ConfigError(
            "the grid asks a server that already runs, and there is no endpoint",
            where="--config",
            remedy="--config grid=external endpoint=http://127.0.0.1:8000/v1",
        )
    return config.endpoint


def built_from(configuration: Configuration, cell: Cell) -> list[Quant]:
    """The quants that a cell needs: its own first, then what that is built from, and so on."""
    found: list[Quant] = [(cell.model, cell.precision)]
    while (source := configuration.precision(*found[-1]).from_) is not None:
        found.append(source_quant(found[-1][0], source))
    return found


def evictable_quants(configuration: Configuration, cells: Iterable[Cell]) -> list[Quant]:
    """The quants that cells need and that can be had again: all but the owner's own folders and a server's weights."""
    quants = dict.fromkeys(quant for cell in cells for quant in built_from(configuration, cell))
    entries = {quant: configuration.precision(*quant) for quant in quants}
    return [quant for quant, entry in entries.items() if not (entry.local_path or entry.served)]


def existing_sessions(root: Path, cell: Cell) -> list[str]:
    """The records of the cell's sessions that are there, from the root; to a question the first ones alone answer.

    None where a session's folder is there without its record, since what it holds is unfinished.
    """
    folder = root / cell.folder
    found = [file for file in cell.session_files if (root / file).is_file()]
    folders = [path for path in folder.glob("session-*") if path.is_dir()]
    whole = len(folders) == len(found) and (not cell.round_files or found == cell.session_files[: len(found)])
    return found[: len(sessions_needed(root, cell))] if whole else []


def sessions_needed(root: Path, cell: Cell) -> list[str]:
    """The records of the sessions that the cell takes, from the root; of a question that is not answered, the most."""
    files = cell.session_files
    for number, file in enumerate(cell.round_files):
        if (root / file).is_file() and not QuestionRound.read(root / file).more:
            return files[: number + 1]
    return files


def unused_modules(engine: EngineEntry) -> tuple[str, ...]:
    """Of the modules that start an engine, those that a session of this `engine` never comes to import.

    An edit of the code that drives a server is so no reason to run the sessions of another engine again.
    """
    used = engine.kind if engine.kind in DRIVERS else engine.runtime
    return tuple(module for name, module in DRIVERS.items() if name != used)


def weights_builder(configuration: Configuration) -> str | None:
    """The engine whose environment builds GGUF weights: the first in process llama.cpp of engines.yaml."""
    return next(
        (name for name, entry in configuration.engines.items() if entry.kind == "llama-cpp-python"), None
    )


def _cell(
    configuration: Configuration, block: Block, model: str, precision: str, engine: str, variant: str
) -> Cell:
    grid, question = configuration.grid, block.question
    estimate = (
        {key: value for key, value in asdict(block.estimate).items() if value is not None}
        if block.estimate
        else {}
    )
    sessions = grid.sessions if block.sessions is None else block.sessions
    return Cell(
        model=model,
        architecture=configuration.models[model].architecture,
        precision=precision,
        engine=engine,
        variant=variant,
        workload=block.workload or grid.workload,
        sessions=question.budget.sessions if question else sessions,
        replays=block.replays or grid.replays,
        forced=_passes(grid.forced if block.forced is None else block.forced),
        planned=block.planned,
        note=block.note,
        expect=() if block.planned else tuple(block.expect or ()),
        estimate=replace(grid.estimate, **estimate),
        question=question,
        sweep=block.sweep,
    )


def gpu_memory(quant: Precision) -> float:
    """GPU memory in GB that a quant's session takes, by its entry of models.yaml; a small one's entry names none."""
    return SMALL_GPU_GB if quant.gpu_memory_gb is None else quant.gpu_memory_gb


def _passes(given: int | Passes) -> Passes:
    """Passes by mode, of a grid's key `forced`."""
    return given if isinstance(given, Passes) else Passes(prefill=given, decode=given)


def _check_names(configuration: Configuration, block: Block, keys: list[str | int]) -> None:
    """Every name of a block is known: models, their precisions, engines, variants."""
    file = str(configuration.root / configuration.grid_file)
    for kind, given, known, home in (
        ("models", block.models, list(configuration.models), MODELS),
        ("engines", block.engines, list(configuration.engines), ENGINES),
        ("variants", block.variants, list(configuration.variants), ENGINES),
    ):
        for index, name in enumerate(given):
            if name not in known:
                raise ConfigError(
                    f"there is no {kind[:-1]} {name!r} in {home}",
                    where=place(file, [*keys, kind, index]),
                    remedy=nearest(name, known),
                )
    for model in block.models:
        precisions = configuration.models[model].precisions
        for index, name in enumerate(block.precisions):
            if name not in precisions:
                raise ConfigError(
                    f"{model} has no precision {name!r} in {MODELS}",
                    where=place(file, [*keys, "precisions", index]),
                    remedy=nearest(name, precisions),
                )


def _check_runs(configuration: Configuration, cell: Cell, block: int) -> None:
    """A cell that is to run can: its weights can be made here, and its variant changes this engine."""
    engine, variant = configuration.engines[cell.engine], configuration.variants[cell.variant]
    changes = (
        engine.kind in (variant.arguments or ())
        or variant.environment is not None
        or variant.harness is not None
        or (variant.warm_tuning is not None and _tunes(engine))
    )
    settings = cell_settings(configuration, cell)
    wrong = (
        _idle_variant(cell, settings)
        if cell.variant != "base" and not changes
        else _unasked_requests(configuration, cell, settings)
        or _experts_of_none(cell, settings)
        or _too_few_seats(cell, settings)
        or _never_cold(cell, settings)
    )
    if wrong is not None:
        file = str(configuration.root / configuration.grid_file)
        raise ConfigError(wrong[0], where=place(file, ["blocks", block]), remedy=wrong[1])
    recipe = configuration.precision(cell.model, cell.precision).recipe
    if recipe in GGUF_RECIPES and weights_builder(configuration) is None:
        raise ConfigError(
            f"no engine of the kind llama-cpp-python is there to build {cell.model} {cell.precision}",
            where=str(configuration.root / ENGINES),
            remedy="keep one, even where no cell of the grid uses it",
        )


Wrong = tuple[str, str]  # what is wrong with a cell, and its remedy


def _tunes(engine: EngineEntry) -> bool:
    """Whether tuning results of it can be kept: of a server that is a process, or has a folder for them."""
    kept = engine.runtime == "process" or (
        engine.container is not None and engine.container.tuning is not None
    )
    return engine.kind in ENGINE_CACHE and kept


def _idle_variant(cell: Cell, settings: Settings) -> Wrong:
    return (
        f"the variant {cell.variant!r} changes nothing of {cell.engine!r}",
        f"give it arguments for {settings.kind!r} in {ENGINES}",
    )


def _unasked_requests(configuration: Configuration, cell: Cell, settings: Settings) -> Wrong | None:
    """What an engine that is asked by ids cannot do of a request; a harness without tools has none to change."""
    requests = configuration.asked[cell.workload].requests
    if requests and settings.harness.list_files != "names":
        return (
            f"the variant {cell.variant!r} changes what a tool shows, and the requests of {cell.workload!r} run none",
            "leave the variant out",
        )
    if settings.runtime == "external" and configuration.config.tokenizer is None:
        return None
    try:
        for request in requests:
            check_options(request)
    except ConfigError as error:
        return error.what, error.remedy or ""
    return None


def _experts_of_none(cell: Cell, settings: Settings) -> Wrong | None:
    """Experts are recorded of a model that has some."""
    if cell.architecture != "dense" or not any(settings.arguments.get(name) for name in RECORDED):
        return None
    return (
        f"the variant {cell.variant!r} records experts, {cell.model!r} has none",
        "list it with Mixture-of-Experts models only",
    )


def _never_cold(cell: Cell, settings: Settings) -> Wrong | None:
    """Where the prefix cache is kept, nobody else fills it, and there is a second replay to be warm."""
    if settings.harness.prefix_cache == "emptied":
        return None
    keeps = f"the variant {cell.variant!r} keeps the prefix cache"
    if settings.harness.concurrency > 1:
        return f"{keeps}, and other requests would fill it", "give it a concurrency of 1"
    if settings.runtime == "external":
        return f"{keeps}, and that of a server that runs is never emptied", "take it out of the block"
    return None if cell.replays > 1 else (f"{keeps} for one replay", "give the block two replays or more")


def _too_few_seats(cell: Cell, settings: Settings) -> Wrong | None:
    """An engine that is sent several requests at once computes them at once."""
    wanted = settings.harness.concurrency
    sends = f"the variant {cell.variant!r} sends {wanted} requests at once, {cell.engine!r}"
    if wanted == 1:
        return None
    if settings.kind in DRIVERS:
        return f"{sends} in process takes one", "measure it with a server"
    name = SEATS.get(settings.kind)
    seats = settings.arguments.get(name) if name else None
    if not isinstance(seats, int) or seats >= wanted:
        return None
    return f"{sends} computes {seats}", f"give the variant {name}: {wanted} for {settings.kind} in {ENGINES}"
