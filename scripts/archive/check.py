"""Whether records agree with what lies beside them: a session with its files, weights, engine and workload,
a forced replay with its passes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.archive.contents import archived_cells, cell_folder, session_folders
from scripts.archive.unequal import unequal
from scripts.common.errors import TempzeroError
from scripts.common.files import read_json, sha256_file
from scripts.common.transcripts import read_transcript
from scripts.report.entries import CELL_KEYS
from scripts.verdict.forced import summarise_forced
from scripts.verdict.question import wants_more
from scripts.workload.spec import load_workload

_REPLAY = re.compile(r"replay-(\d+)\.(transcript|logprobs|timing)\.jsonl")
# What reading a file raises that was changed in any way; its reader names the file.
BROKEN = (TempzeroError, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)
_ROUNDING = 1e-6  # seconds: a turn's time is written with six digits


@dataclass(frozen=True)
class Disagreement:
    """What does not agree, and the file (from the root of the archive) that it was found in."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def check_records(root: Path, grid: dict[str, Any]) -> Iterator[Disagreement]:
    """Everything that disagrees in the grid's sessions and forced replays under `root`."""
    for cell in archived_cells(root, grid):
        folder = cell_folder(cell)
        folders = session_folders(root, cell)
        if not grid.get("partial"):
            yield from _check_count(root, cell, len(folders))
        for session in folders:
            try:
                yield from check_session(root, cell, session)
            except TempzeroError as error:
                yield Disagreement(error.where or session, _line(error.what))
            except BROKEN as error:
                yield Disagreement(f"{session}/session.json", f"it is no record of a session ({error!r})")
        if not (root / folder / "forced.json").is_file():
            if any((cell.get("forced") or {}).values()) and not grid.get("partial"):
                yield Disagreement(folder, "the grid has a forced replay of this cell, and there is none")
        else:
            try:
                yield from check_forced(root, folder)
            except TempzeroError as error:
                yield Disagreement(error.where or folder, _line(error.what))
            except BROKEN as error:
                yield Disagreement(f"{folder}/forced.json", f"it is no record of forced passes ({error!r})")


def _check_count(root: Path, cell: dict[str, Any], there: int) -> Iterator[Disagreement]:
    """Whether as many sessions are there as the grid wants, or as the answer to the cell's question took."""
    folder = cell_folder(cell)
    if not cell.get("question"):
        if there != cell["sessions"]:
            yield Disagreement(
                folder, f"the grid has {cell['sessions']} sessions of this cell, {there} are there"
            )
        return
    where = f"{folder}/cell.json"
    try:
        summary = read_json(root / where)
        if there != summary["sessions"]:
            yield Disagreement(where, f"it says {summary['sessions']} sessions, {there} are there")
        if wants_more(summary["question"]):
            yield Disagreement(where, "its question is not answered, and its budget is not spent")
    except BROKEN as error:
        yield Disagreement(where, f"it does not answer the cell's question ({error!r})")


def check_session(root: Path, cell: dict[str, Any], folder: str) -> Iterator[Disagreement]:
    """Where session.json of `folder` disagrees with the files beside it, or with what the session ran on."""
    where = f"{folder}/session.json"
    record = read_json(root / where)
    expected = {**{key: cell[key] for key in CELL_KEYS}, "replays": cell["replays"]}
    expected["session"] = int(folder.rpartition("-")[2])
    for key, value in expected.items():
        if record[key] != value:
            yield Disagreement(where, f"it says {key} {record[key]!r}, its folder and the grid say {value!r}")
    manifest = f"results/quants/{cell['model']}/{cell['precision']}/manifest.json"
    if record["weights"]["manifest_sha256"] != sha256_file(root / manifest):
        yield Disagreement(where, f"it ran on other weights than {manifest} names")
    engine = f"results/engines/{cell['engine']}.json"
    for path, mine, theirs in unequal(record["engine_record"], read_json(root / engine), "engine_record"):
        yield Disagreement(where, f"{path} is {mine!r} in the session, {theirs!r} in {engine}")
    yield from _check_workload(root, record, where)
    yield from _check_files(root / folder, record, where)


def _check_workload(root: Path, record: dict[str, Any], where: str) -> Iterator[Disagreement]:
    name = f"config/workloads/{record['workload']['name']}.yaml"
    workload = load_workload(root / name)
    if record["workload"]["sha256"] != workload.sha256:
        yield Disagreement(where, f"it played another workload than {name}")
    if record["questions"] != workload.questions:
        yield Disagreement(
            where, f"it says {record['questions']} questions, {name} asks {workload.questions}"
        )


def _check_files(folder: Path, record: dict[str, Any], where: str) -> Iterator[Disagreement]:
    listed = {
        entry[kind]["path"]: entry[kind]["sha256"]
        for entry in record["files"]
        for kind in ("transcript", "logprobs")
        if entry.get(kind)
    }
    there = {path.name for path in folder.iterdir() if _REPLAY.fullmatch(path.name)}
    for name in sorted(listed):
        if name not in there:
            yield Disagreement(where, f"it lists {name}, which is not there")
        elif (digest := sha256_file(folder / name)) != listed[name]:
            yield Disagreement(
                where, f"it lists {name} with the sha256 {listed[name][:12]}…, the file has {digest[:12]}…"
            )
    numbers = {int(entry["replay"]) for entry in record["files"]}
    timings = {f"replay-{number:02d}.timing.jsonl" for number in numbers}
    for name in sorted(there - set(listed) - timings):
        yield Disagreement(where, f"{name} is there, and it does not list it")
    if len(record["files"]) != record["replays"]:
        yield Disagreement(where, f"it lists {len(record['files'])} replays and says {record['replays']}")
    generated = []
    for number, tokens, seconds in zip(
        sorted(numbers), record["replay_tokens"], record["replay_seconds"], strict=True
    ):
        transcript = folder / f"replay-{number:02d}.transcript.jsonl"
        if not transcript.is_file():
            continue
        counts = [len(turn.output_ids) for turn in read_transcript(transcript)]
        generated.append(sum(counts))
        if generated[-1] != tokens:
            yield Disagreement(
                where, f"replay {number} has {tokens} tokens in it, {generated[-1]} in {transcript.name}"
            )
        yield from _check_timing(folder / f"replay-{number:02d}.timing.jsonl", where, counts, seconds)
    if record["tokens"] != sum(generated):
        yield Disagreement(where, f"it says {record['tokens']} tokens, its transcripts hold {sum(generated)}")
    if abs(record["seconds"] - sum(record["replay_seconds"])) > _ROUNDING:
        yield Disagreement(where, f"it says {record['seconds']} seconds, its replays' are others in sum")


def _check_timing(path: Path, where: str, counts: list[int], seconds: float) -> Iterator[Disagreement]:
    if not path.is_file():
        yield Disagreement(where, f"{path.name} is not there")
        return
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if [line["tokens"] for line in lines] != counts:
        yield Disagreement(where, f"{path.name} has other turns or tokens than the transcript")
    if abs(sum(line["seconds"] for line in lines) - seconds) > _ROUNDING * (len(lines) + 1):
        yield Disagreement(where, f"the seconds of {path.name} are not those in it ({seconds:.6f})")


def check_forced(root: Path, folder: str) -> Iterator[Disagreement]:
    """Where forced.json of the cell in `folder` disagrees with the passes beside it, summarised again."""
    where = f"{folder}/forced.json"
    record = read_json(root / where)
    source = record["trajectory"]
    session, replay = int(source["session"]), int(source["replay"])
    transcript = f"{folder}/session-{session:02d}/replay-{replay:02d}.transcript.jsonl"
    not_run = {mode: each["not_run"] for mode, each in record["modes"].items() if "not_run" in each}
    again = {
        # What was done beside the passes left no trace to tell it from; its bytes have their sha256.
        "load": record.get("load"),
        **summarise_forced(
            root / folder, session=session, replay=replay, scenarios=source["scenarios"], not_run=not_run
        ),
        "transcript_sha256": sha256_file(root / transcript),
    }
    for path, mine, theirs in unequal(record, again):
        yield Disagreement(where, f"{path} is {mine!r}, from the passes follows {theirs!r}")


def _line(text: str) -> str:
    return " ".join(text.split())
