"""A grid's blocks expanded into cells, and everything that makes one cell what it is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.configs import place
from scripts.common.errors import ConfigError, nearest
from scripts.common.files import read_json
from scripts.grid.configuration import ENGINES, MODELS, Configuration
from scripts.verdict.question import check_budget

CHARACTERS_A_TOKEN = 3
GGUF_RECIPES = ("llama-quantize",)  # what the environment of the in-process engine builds


# By kind of engine the argument that says how many requests it computes at once.
SEATS = {"vllm": "max_num_seqs", "sglang": "max_running_requests", "llamacpp": "parallel"}
RECORDED = ("routed_experts", "enable_return_routed_experts")  # arguments by which experts are recorded
FORCED_PASSES = 5  # where a grid does not say
# A server with a model too small to be worth an entry: its context, its workspace, and the cache of vllm-0.25.1.
SMALL_GPU_GB = 3
MOST_SESSIONS = 100  # of a question whose budget is given in tokens


Quant = tuple[str, str]  # model, precision


@dataclass(frozen=True)
class Estimate:
    """From what time is estimated: tokens a replay, tokens a second, seconds an engine's start takes."""

    tokens_per_replay: float
    tokens_per_second: float
    start_seconds: float


@dataclass(frozen=True)
class Cell:
    """One row of the table.

    `workload`: what it is asked. `forced`: passes of the recorded trajectory by mode. `planned`: why it
    is not run, or None. `expect`: a control's allowed classes. `question`: what is to be answered, if anything;
    `sessions` are then the most that may be run, and each round is a session.
    """

    model: str
    architecture: str
    precision: str
    engine: str
    variant: str
    workload: str
    sessions: int
    replays: int
    forced: dict[str, int]
    planned: str | None
    note: str | None
    expect: tuple[str, ...]
    estimate: Estimate
    question: dict[str, Any] | None = None

    @property
    def path(self) -> str:
        """model/precision/engine/variant."""
        return f"{self.model}/{self.precision}/{self.engine}/{self.variant}"

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
    def forced_file(self) -> str | None:
        """The record of the cell's forced replay, from the root, where it is to have one."""
        return f"{self.folder}/forced.json" if any(self.forced.values()) else None

    @property
    def seconds(self) -> float:
        """Estimated seconds of all the cell's sessions; of a question, of all that its budget allows."""
        rate, sessions = self.estimate, self.sessions
        if self.question and "tokens" in self.question["budget"]:
            most = self.question["budget"]["tokens"] / (self.replays * rate.tokens_per_replay)
            sessions = min(sessions, math.ceil(most))
        return sessions * (
            rate.start_seconds + self.replays * rate.tokens_per_replay / rate.tokens_per_second
        )


def resolve_cells(configuration: Configuration) -> list[Cell]:
    """The grid's cells in the order of its blocks; ConfigError for unknown names and cells listed twice."""
    cells: list[Cell] = []
    blocks: dict[str, int] = {}
    file = str(configuration.root / configuration.grid_file)
    for index, block in enumerate(configuration.grid["blocks"]):
        _check_names(configuration, block, ["blocks", index])
        if "expect" in block and "planned" in block:
            raise ConfigError(
                "a planned block cannot be a control", where=place(file, ["blocks", index, "expect"])
            )
        for names in itertools.product(
            block["models"], block["precisions"], block["engines"], block["variants"]
        ):
            cell = _cell(configuration, block, *names)
            if cell.question is not None:
                _check_question(cell, cell.question, place(file, ["blocks", index, "question"]))
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


def cell_settings(configuration: Configuration, cell: Cell) -> dict[str, Any]:
    """Everything that makes `cell` what it is, as `run_session --settings` takes it."""
    engine, variant = configuration.engines[cell.engine], configuration.variants[cell.variant]
    kind = engine["kind"]
    return {
        "model": cell.model,
        "architecture": cell.architecture,
        "precision": cell.precision,
        "engine": cell.engine,
        "variant": cell.variant,
        "kind": kind,
        "runtime": engine["runtime"],
        "arguments": _arguments(engine, variant),
        "environment": {**engine.get("environment", {}), **variant.get("environment", {})},
        "harness": {"list_files": "names", "concurrency": 1, **variant.get("harness", {})},
        "top_logprobs": configuration.config["top_logprobs"],
        **{key: engine[key] for key in ("gpus", "nodes", "port", "start_seconds") if key in engine},
        **_container(engine, variant),
        **_endpoint(configuration, engine),
    }


def _arguments(engine: Mapping[str, Any], variant: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's arguments, the variant's laid over; llama.cpp's server shares its context out to its slots."""
    arguments = {**engine["arguments"], **variant.get("arguments", {}).get(engine["kind"], {})}
    if engine["kind"] == "llamacpp" and "ctx_size" in arguments:
        arguments["ctx_size"] *= arguments.get("parallel", 1)
    return arguments


def _container(engine: Mapping[str, Any], variant: Mapping[str, Any]) -> dict[str, Any]:
    """How the engine's container is run, the variant's changes laid over; nothing for an engine without one."""
    return (
        {"container": {**engine["container"], **variant.get("container", {})}}
        if "container" in engine
        else {}
    )


def _endpoint(configuration: Configuration, engine: Mapping[str, Any]) -> dict[str, Any]:
    """Where an engine that already runs is, and how long its prompts may be; nothing for any other engine."""
    if engine["runtime"] != "external":
        return {}
    config = configuration.config
    if not config["endpoint"]:
        raise ConfigError(
            "the grid asks a server that already runs, and there is no endpoint",
            where="--config",
            remedy="--config grid=external endpoint=http://127.0.0.1:8000/v1",
        )
    context = config["endpoint_context"]
    if config["tokenizer"] is None:
        context *= CHARACTERS_A_TOKEN  # text mode counts characters
    return {"endpoint": config["endpoint"], "arguments": {**engine["arguments"], "max_model_len": context}}


def built_from(configuration: Configuration, cell: Cell) -> list[Quant]:
    """The quants that a cell needs: its own first, then what that is built from, and so on."""
    known = configuration.models[cell.model]["precisions"]
    found, name = [], cell.precision
    while name is not None:
        found.append((cell.model, name))
        name = known[name].get("from")
    return found


def evictable_quants(configuration: Configuration, cells: Iterable[Cell]) -> list[Quant]:
    """The quants that cells need and that can be had again: all but the owner's own folders and a server's weights."""
    quants = dict.fromkeys(quant for cell in cells for quant in built_from(configuration, cell))
    return [
        (model, precision)
        for model, precision in quants
        if not {"local_path", "served"} & configuration.models[model]["precisions"][precision].keys()
    ]


def weights_needed(configuration: Configuration, cell: Cell, gone: Callable[[str, str], bool]) -> list[Quant]:
    """The quants that must be had again before a cell can run: its own and what that is built from, up to one whose
    weights are there. `gone` says of a quant (model, precision) whether its weights were deleted.
    """
    return list(itertools.takewhile(lambda quant: gone(*quant), built_from(configuration, cell)))


def existing_sessions(root: Path, cell: Cell) -> list[str]:
    """The records of the cell's sessions that are there, from the root: the first ones, up to one that is missing.

    None where a session's folder is there without its record, since what it holds is unfinished.
    """
    folder = root / cell.folder
    found = [file for file in cell.session_files if (root / file).is_file()]
    folders = [path for path in folder.glob("session-*") if path.is_dir()]
    whole = len(folders) == len(found) and found == cell.session_files[: len(found)]
    return found[: len(sessions_needed(root, cell))] if whole else []


def sessions_needed(root: Path, cell: Cell) -> list[str]:
    """The records of the sessions that the cell takes, from the root; of a question that is not answered, the most."""
    files = cell.session_files
    for number, file in enumerate(cell.round_files):
        if (root / file).is_file() and not read_json(root / file)["more"]:
            return files[: number + 1]
    return files


def unused_modules(engine: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the modules that start an engine, those that a session of this `engine` never comes to import.

    An edit of the code that drives a server is so no reason to run the sessions of another engine again.
    """
    drivers = {
        "in process": "scripts.engines.llama_cpp_python",
        "process": "scripts.engines.server_process",
        "docker": "scripts.engines.docker_runtime",
        "external": "scripts.engines.external",
    }
    used = "in process" if engine["kind"] == "llama-cpp-python" else engine["runtime"]
    return tuple(module for name, module in drivers.items() if name != used)


def weights_builder(configuration: Configuration) -> str | None:
    """The engine whose environment builds GGUF weights: the first in process llama.cpp of engines.yaml."""
    return next(
        (name for name, entry in configuration.engines.items() if entry["kind"] == "llama-cpp-python"), None
    )


def _cell(
    configuration: Configuration, block: dict[str, Any], model: str, precision: str, engine: str, variant: str
) -> Cell:
    grid = configuration.grid
    question = _question(block)
    planned = block.get("planned") or _lacking(configuration, model, precision, engine)
    return Cell(
        model=model,
        architecture=configuration.models[model]["architecture"],
        precision=precision,
        engine=engine,
        variant=variant,
        workload=block.get("workload", grid["workload"]),
        sessions=question["budget"]["sessions"] if question else block.get("sessions", grid["sessions"]),
        replays=block.get("replays", grid["replays"]),
        forced=_passes(block.get("forced", grid.get("forced", FORCED_PASSES))),
        planned=planned,
        note=block.get("note"),
        expect=() if planned else tuple(block.get("expect", ())),
        estimate=Estimate(**{**grid["estimate"], **block.get("estimate", {})}),
        question=question,
    )


def nodes_given(config: Mapping[str, Any]) -> list[str]:
    """The machines that serve an engine together, by config.yaml's `nodes`: a list, or a text with commas."""
    given = config.get("nodes") or []
    return [each.strip() for each in given.split(",")] if isinstance(given, str) else list(given)


def gpu_memory(quant: Mapping[str, Any]) -> float:
    """GPU memory in GB that a quant's session takes, by its entry of models.yaml; a small one's entry names none."""
    return float(quant.get("gpu_memory_gb", SMALL_GPU_GB))


def _lacking(configuration: Configuration, model: str, precision: str, engine: str) -> str | None:
    """Why a cell on several machines is only planned: these are not named. None where they are, or one suffices."""
    entry = configuration.engines[engine]
    wanted, given = entry.get("nodes", 1), len(nodes_given(configuration.config))
    if wanted in (1, given):
        return None
    needed = configuration.models[model]["precisions"][precision].get("gpu_memory_gb")
    memory = f"{needed:,} GB of GPU memory on " if needed else ""
    return (
        f"needs {memory}{wanted} machines with {entry.get('gpus', 0) // wanted} GPUs each, and"
        f" {given or 'none'} {'is' if given < 2 else 'are'} named (config/profiles/multinode)"
    )


def _question(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """The block's question with all that it leaves out."""
    if "question" not in block:
        return None
    given = block["question"]
    budget = {"sessions": MOST_SESSIONS, **given["budget"]}
    return {"per": 1000, "alpha": 0.05, "beta": 0.05, **given, "budget": budget}


def _check_question(cell: Cell, question: dict[str, Any], where: str) -> None:
    check_budget(
        question, replays=cell.replays, tokens_per_replay=cell.estimate.tokens_per_replay, where=where
    )


def _passes(given: int | dict[str, int]) -> dict[str, int]:
    """Passes by mode, of a grid's key `forced`."""
    return dict(given) if isinstance(given, dict) else {"prefill": given, "decode": given}


def _check_names(configuration: Configuration, block: dict[str, Any], keys: list[str | int]) -> None:
    """Every name of a block is known: models, their precisions, engines, variants."""
    file = str(configuration.root / configuration.grid_file)
    known = {
        "models": configuration.models,
        "engines": configuration.engines,
        "variants": configuration.variants,
    }
    homes = {"models": MODELS, "engines": ENGINES, "variants": ENGINES}
    for kind, names in known.items():
        for index, name in enumerate(block[kind]):
            if name not in names:
                raise ConfigError(
                    f"there is no {kind[:-1]} {name!r} in {homes[kind]}",
                    where=place(file, [*keys, kind, index]),
                    remedy=nearest(name, names),
                )
    for model in block["models"]:
        precisions = configuration.models[model]["precisions"]
        for index, name in enumerate(block["precisions"]):
            if name not in precisions:
                raise ConfigError(
                    f"{model} has no precision {name!r} in {MODELS}",
                    where=place(file, [*keys, "precisions", index]),
                    remedy=nearest(name, precisions),
                )


def _check_runs(configuration: Configuration, cell: Cell, block: int) -> None:
    """A cell that is to run can: its weights can be made here, and its variant changes this engine."""
    file = str(configuration.root / configuration.grid_file)
    kind = configuration.engines[cell.engine]["kind"]
    variant = configuration.variants[cell.variant]
    if cell.variant != "base" and not (
        kind in variant.get("arguments", {})
        or "environment" in variant
        or "harness" in variant
        or ("container" in variant and "container" in configuration.engines[cell.engine])
    ):
        raise ConfigError(
            f"the variant {cell.variant!r} changes nothing of {cell.engine!r}",
            where=place(file, ["blocks", block]),
            remedy=f"give it arguments for {kind!r} in {ENGINES}",
        )
    settings, where = cell_settings(configuration, cell), place(file, ["blocks", block])
    _check_experts(cell, settings, where)
    _check_concurrency(cell, settings, where)
    _endpoint(configuration, configuration.engines[cell.engine])
    entry = configuration.models[cell.model]["precisions"][cell.precision]
    if entry.get("recipe") not in GGUF_RECIPES:
        return
    if weights_builder(configuration) is None:
        raise ConfigError(
            f"no engine of the kind llama-cpp-python is there to build {cell.model} {cell.precision}",
            where=str(configuration.root / ENGINES),
            remedy="keep one, even where no cell of the grid uses it",
        )


def _check_experts(cell: Cell, settings: Mapping[str, Any], where: str) -> None:
    """Experts are recorded of a model that has some."""
    if cell.architecture == "dense" and any(settings["arguments"].get(name) for name in RECORDED):
        raise ConfigError(
            f"the variant {cell.variant!r} records experts, {cell.model!r} has none",
            where=where,
            remedy="list it with Mixture-of-Experts models only",
        )


def _check_concurrency(cell: Cell, settings: Mapping[str, Any], where: str) -> None:
    """An engine that is sent several requests at once computes them at once."""
    wanted, kind = settings["harness"]["concurrency"], settings["kind"]
    if wanted == 1:
        return
    if kind == "llama-cpp-python":
        raise ConfigError(
            f"the variant {cell.variant!r} sends {wanted} requests at once, {cell.engine!r} in process takes one",
            where=where,
            remedy="measure it with a server",
        )
    seats = settings["arguments"].get(SEATS.get(kind))
    if isinstance(seats, int) and seats < wanted:
        raise ConfigError(
            f"the variant {cell.variant!r} sends {wanted} requests at once, {cell.engine!r} computes {seats}",
            where=where,
            remedy=f"give the variant {SEATS[kind]}: {wanted} for {kind} in {ENGINES}",
        )
