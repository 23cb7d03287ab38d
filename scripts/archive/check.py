"""Whether records agree with what lies beside them: a session with its files, weights, engine and workload,
a forced replay with its passes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from scripts.archive.contents import (
    ArchivedSession,
    archived_cells,
    fed_folders,
    manifest_file,
    session_folders,
    workload_file,
)
from scripts.archive.unequal import unequal, unlike
from scripts.common.errors import DataError, TempzeroError
from scripts.common.files import sha256_file
from scripts.records.cell import Cell, read_cell
from scripts.records.engine import EngineRecord
from scripts.records.forced import MODES, Forced, ModeNotRun
from scripts.records.grid import Grid, GridCell
from scripts.records.transcript import Turn, TurnTiming
from scripts.verdict.forced import summarise_forced
from scripts.workload.spec import load_workload
from scripts.workload.workloads import Workload

_REPLAY = re.compile(r"replay-(\d+)\.(transcript|logprobs|timing|answers)\.jsonl")
# What reading a file raises that was changed in any way: its record's error, or a folder stands in its place.
BROKEN = (TempzeroError, OSError)
_ROUNDING = 1e-6  # seconds: a turn's time is written with six digits


@dataclass(frozen=True)
class Disagreement:
    """What does not agree, and the file (from the root of the archive) that it was found in."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def failed(root: Path, where: str, what: str, error: Exception) -> Disagreement:
    """What could not be judged under `root` because of an error; `where`: which file, if the error does not say."""
    said = repr(error)
    if isinstance(error, TempzeroError):
        where, said = (error.where or where).removeprefix(f"{root}/"), " ".join(error.what.split())
    return Disagreement(where, f"{what}: {said}")


def refuse_disagreements(root: Path, grid: Grid, remedy: str) -> None:
    """DataError that names every disagreement in the records under `root`, where there is one."""
    if found := [str(each) for each in check_records(root, grid)]:
        what = "records disagree with what is in the folder, so nothing is archived:"
        raise DataError("\n  ".join([what, *found]), remedy=remedy)


def check_records(root: Path, grid: Grid) -> Iterator[Disagreement]:
    """Everything that disagrees in the grid's sessions and forced replays under `root`."""
    load = functools.cache(load_workload)
    for cell in archived_cells(root, grid):
        try:
            folders = session_folders(root, cell)
            if not grid.partial:
                yield from _check_count(root, cell, len(folders))
        except BROKEN as error:
            yield failed(root, f"{cell.folder}/cell.json", "it does not answer the cell's question", error)
            continue
        for session in folders:
            try:
                yield from check_session(root, grid, cell, session, load)
            except BROKEN as error:
                yield failed(root, f"{session}/session.json", "it cannot be checked", error)
        if (root / cell.folder / "forced.json").is_file():
            try:
                yield from check_forced(root, cell.folder)
            except BROKEN as error:
                yield failed(root, f"{cell.folder}/forced.json", "it cannot be checked", error)
        for folder, source in fed_folders(root, grid, cell).items():
            try:
                yield from check_forced(root, folder, source.folder)
            except BROKEN as error:
                yield failed(root, f"{folder}/forced.json", "it cannot be checked", error)
        if (root / cell.folder / "forced.json").is_file():
            continue
        if cell.forced is not None and max(cell.forced.prefill, cell.forced.decode) and not grid.partial:
            yield Disagreement(cell.folder, "the grid has a forced replay of this cell, and there is none")


def _check_count(root: Path, cell: GridCell, there: int) -> Iterator[Disagreement]:
    """Whether as many sessions are there as the grid wants, or as the answer to the cell's question took."""
    if cell.question is None:
        if there != cell.sessions:
            yield Disagreement(
                cell.folder, f"the grid has {cell.sessions} sessions of this cell, {there} are there"
            )
        return
    where = f"{cell.folder}/cell.json"
    summary = read_cell(root / where)
    if not isinstance(summary, Cell):
        return  # its engine refused to start, in whichever session
    if there != summary.sessions:
        yield Disagreement(where, f"it says {summary.sessions} sessions, {there} are there")
    if summary.question is None or summary.question.wants_more:
        yield Disagreement(where, "its question is not answered, and its budget is not spent")


def check_session(
    root: Path, grid: Grid, cell: GridCell, folder: str, load: Callable[[Path], Workload] = load_workload
) -> Iterator[Disagreement]:
    """Where session.json of `folder` disagrees with the files beside it, or with what the session ran on.

    `load` reads a workload; requests of one's own that lie elsewhere are not checked.
    """
    where = f"{folder}/session.json"
    record = ArchivedSession.read(root / where)
    for key in ("model", "precision", "engine", "variant", "replays"):
        said, value = getattr(record, key), getattr(cell, key)
        if said != value and not (key == "replays" and record.refused):
            yield Disagreement(where, f"it says {key} {said!r}, its folder and the grid say {value!r}")
    if record.session != int(folder.rpartition("-")[2]):
        yield Disagreement(where, f"it says session {record.session}, and its folder another")
    manifest = manifest_file(cell.model, cell.precision)
    if record.weights.manifest_sha256 != sha256_file(root / manifest):
        yield Disagreement(where, f"it ran on other weights than {manifest} names")
    engine = f"results/engines/{cell.engine}.json"
    there = EngineRecord.read(root / engine)
    for path, mine, theirs in unequal(record.engine_record.as_json(), there.as_json(), "engine_record"):
        yield Disagreement(where, f"{path} is {mine!r} in the session, {theirs!r} in {engine}")
    name = workload_file(grid, record.workload.name)
    if grid.requests is not None and not (root / name).is_file():
        yield from _check_files(root / folder, record, where)
        return
    workload = load(root / name)
    if record.workload.sha256 != workload.sha256:
        yield Disagreement(where, f"it played another workload than {name}")
    if record.questions != workload.questions:
        yield Disagreement(where, f"it says {record.questions} questions, {name} asks {workload.questions}")
    yield from _check_files(root / folder, record, where)


def _check_files(folder: Path, record: ArchivedSession, where: str) -> Iterator[Disagreement]:
    listed = {
        each.path: each.sha256
        for entry in record.files
        for each in (entry.transcript, entry.logprobs)
        if each is not None
    }
    there = {path.name for path in folder.iterdir() if _REPLAY.fullmatch(path.name)}
    for name in sorted(listed):
        if name not in there:
            yield Disagreement(where, f"it lists {name}, which is not there")
        elif (digest := sha256_file(folder / name)) != listed[name]:
            yield Disagreement(
                where, f"it lists {name} with the sha256 {listed[name][:12]}…, the file has {digest[:12]}…"
            )
    numbers = sorted({entry.replay for entry in record.files})
    unlisted = {f"replay-{number:02d}.{kind}.jsonl" for number in numbers for kind in ("timing", "answers")}
    for name in sorted(there - set(listed) - unlisted):
        yield Disagreement(where, f"{name} is there, and it does not list it")
    for counted, what in (
        (record.files, "replays"),
        (record.replay_tokens, "replays' tokens"),
        (record.replay_seconds, "replays' seconds"),
    ):
        if len(counted) != record.replays:
            yield Disagreement(where, f"it lists {len(counted)} {what} and says {record.replays}")
    total = 0
    for number, tokens, seconds in zip(numbers, record.replay_tokens, record.replay_seconds, strict=False):
        transcript = folder / f"replay-{number:02d}.transcript.jsonl"
        if not transcript.is_file():
            continue
        counts = [len(turn.output_ids) for turn in Turn.read_lines(transcript)]
        total += sum(counts)
        if sum(counts) != tokens:
            yield Disagreement(
                where, f"replay {number} has {tokens} tokens in it, {sum(counts)} in {transcript.name}"
            )
        yield from _check_timing(folder / f"replay-{number:02d}.timing.jsonl", where, counts, seconds)
    if record.tokens != total:
        yield Disagreement(where, f"it says {record.tokens} tokens, its transcripts hold {total}")
    if abs(record.seconds - sum(record.replay_seconds)) > _ROUNDING:
        yield Disagreement(where, f"it says {record.seconds} seconds, its replays' are others in sum")


def _check_timing(path: Path, where: str, counts: list[int], seconds: float) -> Iterator[Disagreement]:
    if not path.is_file():
        yield Disagreement(where, f"{path.name} is not there")
        return
    turns = list(TurnTiming.read_lines(path))
    if [turn.tokens for turn in turns] != counts:
        yield Disagreement(where, f"{path.name} has other turns or tokens than the transcript")
    if abs(sum(turn.seconds for turn in turns) - seconds) > _ROUNDING * (len(turns) + 1):
        yield Disagreement(where, f"the seconds of {path.name} are not those in it ({seconds:.6f})")


def check_forced(root: Path, folder: str, whose: str | None = None) -> Iterator[Disagreement]:
    """Where forced.json in `folder` disagrees with the passes beside it, summarised again.

    `whose`: the folder of the cell whose trajectory was fed back; None is `folder` itself.
    """
    where = f"{folder}/forced.json"
    record = Forced.read(root / where)
    source = record.trajectory
    transcript = f"{whose or folder}/session-{source.session:02d}/replay-{source.replay:02d}.transcript.jsonl"
    modes = {mode: getattr(record.modes, mode) for mode in MODES}
    summary = summarise_forced(
        root / folder,
        session=source.session,
        replay=source.replay,
        scenarios=source.scenarios,
        not_run={mode: each.not_run for mode, each in modes.items() if isinstance(each, ModeNotRun)},
    )
    # What was done beside the passes left no trace to tell it from; its bytes have their sha256.
    again = msgspec.structs.replace(
        summary,
        load=record.load,
        seconds=record.seconds,
        wall_seconds=record.wall_seconds,
        gpus=record.gpus,
        # Where the engine refused to start there was nothing to feed back.
        transcript_sha256=sha256_file(root / transcript) if source.scenarios else None,
    )
    for path, mine, theirs in unlike(root / where, again):
        yield Disagreement(where, f"{path} is {mine!r}, from the passes follows {theirs!r}")
