"""What a grid is, in one line and in one record: why it was chosen, what it pulls, what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from scripts.common.errors import TempzeroError
from scripts.common.words import count
from scripts.grid.ablations import ablation_records, resolve_ablations
from scripts.grid.configuration import Configuration
from scripts.grid.resolve import Cell, built_from, sessions_needed
from scripts.grid.side_tables import compared_pairs, leak_records, reap_records, warm_records
from scripts.grid.sweeps import curves
from scripts.records.engines import EngineEntry
from scripts.records.grid import Control, Grid, GridCell
from scripts.records.session import SessionRecord
from scripts.rehearsal.tried import never_rehearsed
from scripts.verdict.sessions import can_prove, sessions_to_prove

REFUSED = ("refused",)  # what a control expects whose engine is to say so at its start
LARGE_GB = 10  # what is less to pull is no matter of hours
PACED = 3  # sessions of a cell whose records are read for what the others will take
GIGABYTE_SECONDS = 8  # that a gigabyte takes at a gigabit a second


def describe_grid(configuration: Configuration, cells: Sequence[Cell]) -> str:
    """One line: the grid, why it was chosen, its size, what it pulls and what it costs."""
    run = [cell for cell in cells if cell.planned is None]
    planned = len(cells) - len(run)
    asked = " and ".join(_asked(configuration))
    most = "at most " if any(cell.question for cell in run) else ""
    size = [
        count(len(cells), "cell") + (f" ({planned} planned, not run)" if planned else ""),
        most + count(sum(cell.sessions for cell in run), "session"),
        f"{count(sum(cell.sessions * cell.replays for cell in run), 'replay')} of {asked}",
    ]
    swept = [cell.sweep for page in curves(configuration, cells).values() for cell in page if cell.sweep]
    if swept:
        size.append(
            f"{count(sum(each.sessions for each in swept), 'session')} of sweeps, about "
            f"{_duration(sum(each.sessions * each.session_seconds for each in swept))} more"
        )
    parts = [
        f"grid {configuration.grid_name} ({configuration.why}): {', '.join(size)}",
        _pulls(configuration, run),
        *_setups(configuration, run),
        _cost(configuration, run),
    ]
    parts.append(_unrehearsed(configuration, run))
    if configuration.config.evict_weights:
        parts.insert(2, "weights are deleted once no cell needs them")
    if configuration.config.partial:
        parts.insert(1, "partial: only what exists is in the table")
    return "; ".join(part for part in parts if part)


def unrehearsed(configuration: Configuration, cells: Iterable[Cell]) -> tuple[int, int]:
    """Of the cells that run on weights from a hub, how many were never rehearsed, and how many there are."""
    paths = [
        cell.path
        for cell in cells
        if cell.planned is None
        and any(configuration.precision(*quant).repository for quant in built_from(configuration, cell))
    ]
    return len(never_rehearsed(configuration.root, configuration.grid_name, paths)), len(paths)


def _unrehearsed(configuration: Configuration, cells: Iterable[Cell]) -> str:
    """That a grid, or a part of it, was never rehearsed; empty where nothing is pulled or all of it was."""
    left, pulled = unrehearsed(configuration, cells)
    if not left:
        return ""
    part = "" if left == pulled else f"{left} of {count(pulled, 'cell')} on weights from a hub "
    return f"{part}never rehearsed (rehearse=true)"


def _asked(configuration: Configuration) -> Iterator[str]:
    """The workloads' names, with how ids are drawn where that is not greedily."""
    for name, workload in configuration.asked.items():
        drawn = ", ".join(f"{key} {value:g}" for key, value in workload.sampling.as_json().items())
        yield name if workload.sampling.greedy else f"{name} ({drawn})"


def describe_rest(
    root: Path, cells: Sequence[Cell], engines: Mapping[str, EngineEntry], gpus: int = 0
) -> str:
    """One line: how many sessions of the grid, of sweeps too, are not there yet, and about how long they take.

    `gpus`: how many GPUs they share out here; 0 takes as many as the widest engine wants.
    """
    missing, total, open_ended, measured = 0, 0, False, False
    waiting: list[tuple[int, float]] = []
    for cell in cells:
        if cell.planned is None:
            needed = sessions_needed(root, cell)
            absent = sum(not (root / file).is_file() for file in needed)
            missing, total = missing + absent, total + len(needed)
            pace = _pace(root, cell) if 0 < absent < len(needed) else None
            measured |= pace is not None
            waiting += [(engines[cell.engine].gpus, (pace or 1) * cell.seconds / cell.sessions)] * absent
            open_ended |= bool(cell.question) and absent > 0
            if cell.sweep is not None:
                absent = sum(not (root / file).is_file() for file in cell.sweep_files)
                missing, total = missing + absent, total + cell.sweep.sessions
                waiting += [(engines[cell.engine].gpus, cell.sweep.session_seconds)] * absent
    if not missing:
        return f"all {count(total, 'session')} are there"
    most = "at most " if open_ended else ""
    seconds = sum(each for _, each in waiting)
    text = (
        f"{most}{missing:,} of {count(total, 'session')} are not there yet: "
        f"{most or 'about '}{_duration(seconds)} one after another"
    )
    widest = max(width for width, _ in waiting)
    if (cards := gpus or widest) > 1:
        text += f", {_duration(wall_seconds(waiting, cards))} on {cards} GPUs"
    if widest:
        text += f", {sum(width * each for width, each in waiting) / 3600:,.1f} GPU-hours"
    return f"{text}; {_taken(cells)}" + ("; cells that have sessions by what these took" if measured else "")


def _pace(root: Path, cell: Cell) -> float | None:
    """How many times as long as estimated the cell's first sessions took; None where no record says."""
    took = []
    for file in sessions_needed(root, cell)[:PACED]:
        if (root / file).is_file():
            with suppress(TempzeroError):
                took.append(SessionRecord.read(root / file).elapsed_seconds)
    known = [each for each in took if each]
    return sum(known) / len(known) / cell.session_seconds if known else None


def describe_downloads(configuration: Configuration, cells: Sequence[Cell]) -> str:
    """One line: what is still to be pulled, how long that takes, and how to do it apart; empty where it is little."""
    run = [cell for cell in cells if cell.planned is None]
    missing = [
        size or 0
        for file, size in _downloads(configuration, run).items()
        if not (configuration.root / file).is_file()
    ]
    if (total := sum(missing)) < LARGE_GB:
        return ""
    return (
        f"{total:,.1f} GB are to be pulled beside that, {_duration(total * GIGABYTE_SECONDS)} at 1 Gbit/s; to do it "
        f"apart: snakemake --cores 4 --until fetch_weights pull_image --config grid={configuration.grid_name}"
    )


def _taken(cells: Sequence[Cell]) -> str:
    """From what the time of the cells' sessions was estimated."""
    rates = [cell.estimate for cell in cells if cell.planned is None]
    tokens, speeds, starts = (
        _span([getattr(each, name) for each in rates])
        for name in ("tokens_per_replay", "tokens_per_second", "start_seconds")
    )
    forced = any(cell.forced_file for cell in cells if cell.planned is None)
    return f"taken: {tokens} tokens a replay, {speeds} tokens a second, {starts} s a start" + (
        "; forced passes not counted" if forced else ""
    )


def _span(values: Sequence[float]) -> str:
    """The least and the largest of some values."""
    least, most = f"{min(values):,g}", f"{max(values):,g}"
    return least if least == most else f"{least} to {most}"


def wall_seconds(sessions: Sequence[tuple[int, float]], gpus: int) -> float:
    """How long sessions, each with its number of GPUs and its seconds, take on so many GPUs; the widest come first.

    Processor cores are taken to suffice. A session that takes no GPU, or more than there are, takes one, or all.
    """
    free = [0.0] * gpus  # when each GPU is
    for width, seconds in sorted(sessions, reverse=True):
        taken = min(max(1, width), gpus)
        free.sort()
        free[:taken] = [free[taken - 1] + seconds] * taken
    return max(free, default=0.0)


def describe_unproven(configuration: Configuration, cells: Sequence[Cell]) -> str:
    """One line: the ablations whose numbers of sessions cannot prove an effect, and how many would do; empty if none.

    Cells that are not run are left out, and those that an engine is expected to refuse.
    """
    run = {cell.names: cell for cell in cells if cell.planned is None}
    found = []
    for ablation in resolve_ablations(configuration, cells):
        baseline, *changes = (run.get(names) for names in ablation.cells)
        few = [
            each
            for each in changes
            if baseline and each and each.expect != REFUSED
            if not can_prove(baseline.sessions, each.sessions)
        ]
        if baseline and few:
            counts = sorted({each.sessions for each in few})
            found.append(
                f"{baseline.path} ({baseline.sessions}) against {', '.join(each.variant for each in few)}"
                f" ({' or '.join(map(str, counts))})"
            )
    if not found:
        return ""
    return (
        f"too few sessions to show that a change brings or removes a difference: {'; '.join(found)}; "
        f"{sessions_to_prove()} of each would do"
    )


def grid_record(configuration: Configuration, cells: Sequence[Cell]) -> Grid:
    """The content of results/grid.json: the merged configuration, the cells in row order, the controls,
    the ablations, what else is compared."""
    config = configuration.config
    return Grid(
        grid=configuration.grid_name,
        why=configuration.why,
        heading=describe_grid(configuration, cells),
        description=configuration.grid.description,
        workload=configuration.grid.workload,
        requests=_requests_file(configuration),
        first_block=config.first_block,
        tie_margin=config.tie_margin,
        top_logprobs=config.top_logprobs,
        partial=config.partial,
        cells=[_row(configuration, cell) for cell in cells],
        controls=[Control(cell=cell.path, expect=list(cell.expect)) for cell in cells if cell.expect],
        ablations=ablation_records(configuration, cells),
        leaks=leak_records(configuration, cells),
        reap=reap_records(configuration, cells),
        warm=warm_records(configuration, cells),
        compare=[(one.path, other.path) for one, other in compared_pairs(configuration, cells)],
    )


def _requests_file(configuration: Configuration) -> str | None:
    """The file of requests, from the root; of one that lies elsewhere its name alone."""
    if configuration.config.requests is None:
        return None
    root, file = configuration.root.resolve(), (configuration.root / configuration.config.requests).resolve()
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name


def _row(configuration: Configuration, cell: Cell) -> GridCell:
    weights = configuration.precision(cell.model, cell.precision)
    return GridCell(
        model=cell.model,
        architecture=cell.architecture,
        precision=cell.precision,
        engine=cell.engine,
        variant=cell.variant,
        workload=cell.workload,
        sessions=cell.sessions,
        forced=cell.forced,
        replays=cell.replays,
        question=cell.question,
        sweep=cell.sweep,
        status="planned" if cell.planned else "run",
        reason=cell.planned,
        note=cell.note,
        disk_gb=weights.disk_gb,
        gpu_memory_gb=weights.gpu_memory_gb,
    )


def _pulls(configuration: Configuration, run: Sequence[Cell]) -> str:
    """What is pulled: weights from a hub, once a quant, and what the engines download."""
    sizes = _downloads(configuration, run).values()
    total, unknown = sum(size or 0 for size in sizes), sum(size is None for size in sizes)
    text = f"pulls {total:,.1f} GB" if total else "pulls no weights"
    return text + (f" and {count(unknown, 'quant')} of unknown size" if unknown else "")


def _downloads(configuration: Configuration, run: Sequence[Cell]) -> dict[str, float | None]:
    """The record of each thing that is pulled, from the root → its size in GB; an image of two engines counts once."""
    quants = dict.fromkeys(quant for cell in run for quant in built_from(configuration, cell))
    entries = {quant: configuration.precision(*quant) for quant in quants}
    found = {
        f"results/quants/{'/'.join(quant)}/manifest.json": entry.disk_gb
        for quant, entry in entries.items()
        if entry.repository or entry.package
    }
    engines = {cell.engine: configuration.engines[cell.engine] for cell in run}
    images = {entry.image or entry.lock or name: name for name, entry in engines.items()}
    return found | {f"results/engines/{name}.json": engines[name].download_gb for name in images.values()}


def _setups(configuration: Configuration, run: Sequence[Cell]) -> list[str]:
    setups = dict.fromkeys(configuration.engines[cell.engine].setup for cell in run)
    return [setup for setup in setups if setup]


def _cost(configuration: Configuration, run: Sequence[Cell]) -> str:
    """Estimated time of all sessions, in GPU-hours too where engines take GPUs."""
    seconds = sum(cell.seconds for cell in run)
    gpu_hours = sum(cell.seconds * configuration.engines[cell.engine].gpus for cell in run) / 3600
    about = "at most about" if any(cell.question for cell in run) else "about"
    text = f"sessions take {about} {_duration(seconds)} one after another"
    return text + (f", {gpu_hours:,.1f} GPU-hours" if gpu_hours else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:,.1f} hours"
