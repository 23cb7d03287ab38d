"""Forced replay: a recorded trajectory fed back several times, every position's distribution kept as a digest.

A free replay that was short, clean or lucky shows nothing; a forced one looks at every position. In prefill the
whole episode is read at once, in decode the recorded ids are given one by one. The two are never compared.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from scripts.common.errors import UnsupportedError
from scripts.common.files import read_json, sha256_file, write_json
from scripts.common.protocol import Engine, Scores
from scripts.common.transcripts import Turn, read_transcript
from scripts.engines.start import start_engine
from scripts.quants.manifest import verify_manifest
from scripts.sessions.load import Load, Requests
from scripts.sessions.play import disk_error
from scripts.sessions.progress import Progress
from scripts.sessions.watch import WorkflowWatch
from scripts.verdict.forced import Mode, pass_line, summarise_forced
from scripts.verdict.routing import Read

CANDIDATES = 2  # best and second: the margin


@dataclass(frozen=True)
class RecordedTurn:
    """A turn of the trajectory: the whole prompt before it, the ids that were generated, the one that ended it."""

    turn: int
    prompt_ids: list[int]
    output_ids: list[int]
    stop_id: int | None


def recorded_episodes(transcript: Path) -> dict[str, list[RecordedTurn]]:
    """The episodes of a transcript, by scenario, in their order."""
    episodes: dict[str, list[RecordedTurn]] = {}
    turns: Iterator[Turn] = read_transcript(transcript)
    for scenario, found in groupby(turns, key=lambda turn: turn.scenario):
        ids: list[int] = []
        for turn in found:
            ids = ids + turn.appended_ids
            stop = turn.output_ids[-1] if turn.finish_reason == "stop" else None
            episodes.setdefault(scenario, []).append(RecordedTurn(turn.turn, ids, turn.output_ids, stop))
            ids = ids + turn.output_ids
    return episodes


def write_turn(
    stream: TextIO, scenario: str, turn: int, scores: Scores, start: int, count: int, read: Read | None
) -> None:
    """Write the line of one turn: positions `start` to `start + count` of `scores`; `read`: before these."""
    part = slice(start, start + count)
    top = scores.top[part]
    stream.write(
        pass_line(
            scenario,
            turn,
            digests=scores.digests[part],
            margins=[best[0][1] - best[1][1] for best in top],
            argmax=[best[0][0] for best in top],
            chosen=scores.chosen[part],
            routing=None if scores.routing is None else scores.routing[part],
            read=read,
        )
    )


def force_prefill(engine: Engine, scenario: str, turns: list[RecordedTurn], stream: TextIO) -> int:
    """One episode read at once; returns how many positions were compared."""
    ids = turns[-1].prompt_ids + turns[-1].output_ids
    scores = engine.score(ids, top_logprobs=CANDIDATES)
    end = 0
    for turn in turns:
        start = len(turn.prompt_ids) - scores.first
        before = slice(end, start)
        read = None if scores.routing is None else Read(scores.digests[before], scores.routing[before])
        write_turn(stream, scenario, turn.turn, scores, start, len(turn.output_ids), read)
        end = start + len(turn.output_ids)
    return sum(len(turn.output_ids) for turn in turns)


def force_decode(engine: Engine, scenario: str, turns: list[RecordedTurn], stream: TextIO) -> int:
    """One episode given id by id; returns how many positions were compared."""
    for turn in turns:
        scores = engine.force(turn.prompt_ids, turn.output_ids, top_logprobs=CANDIDATES)
        read = None if scores.before is None else Read([], [scores.before])
        write_turn(stream, scenario, turn.turn, scores, 0, len(turn.output_ids), read)
    return sum(len(turn.output_ids) for turn in turns)


FORCE: dict[Mode, Callable[[Engine, str, list[RecordedTurn], TextIO], int]] = {
    "prefill": force_prefill,
    "decode": force_decode,
}


def recorded_requests(episodes: Mapping[str, list[RecordedTurn]]) -> Requests:
    """The requests of a background stream: the recorded prompts, in an order that nobody chose, answered freely."""
    turns = [turn for found in episodes.values() for turn in found]
    stop_ids = sorted({turn.stop_id for turn in turns if turn.stop_id is not None})

    def requests(engine: Engine, number: int) -> Generator[int, None, None]:
        order = random.Random()
        while True:
            turn = order.choice(turns)
            made = engine.generate(
                turn.prompt_ids, max_tokens=len(turn.output_ids), stop_ids=stop_ids, top_logprobs=CANDIDATES
            )
            yield len(made.output_ids)

    return requests


def force_passes(
    engine: Engine,
    transcript: Path,
    folder: Path,
    passes: Mapping[Mode, int],
    progress: Progress,
    settings: Mapping[str, Any],
) -> tuple[dict[Mode, str], dict[str, Any] | None]:
    """Write so many `passes` of every mode the engine can into `folder`, under the cell's load.

    Returns why for each mode that it cannot, and what the load was.
    """
    episodes = recorded_episodes(transcript)
    first = next(iter(episodes.values()))[0]
    engine.generate(first.prompt_ids, max_tokens=4, stop_ids=[], top_logprobs=1)  # warm-up, thrown away
    not_run: dict[Mode, str] = {mode: "no pass was asked for" for mode in FORCE if not passes[mode]}
    with Load(engine, settings, recorded_requests(episodes)) as load:
        for number in range(max(passes.values())):
            for mode, force in FORCE.items():
                if mode in not_run or number >= passes[mode]:
                    continue
                path = folder / f"pass-{number:02d}.{mode}.jsonl"
                try:
                    with open(path, "w", encoding="utf-8") as stream:
                        for scenario, turns in episodes.items():
                            load.reset()
                            started = time.perf_counter()
                            positions = force(engine, scenario, turns, stream)
                            seconds = time.perf_counter() - started
                            load.look()
                            progress.turn(number, f"{mode} {scenario}", "–", positions, seconds)
                except UnsupportedError as error:
                    path.unlink()
                    not_run[mode] = str(error)
    progress.done()
    return not_run, load.describe()


def force_cell(
    output: Path,
    *,
    passes: Mapping[Mode, int],
    transcript: Path,
    manifest_file: Path,
    settings: Mapping[str, Any],
    log: Path,
    engine_record: Path | None = None,
) -> None:
    """Feed `transcript` back to a fresh engine, so many `passes` a mode; write {cell}/forced/ and `output`."""
    cell = output.parent
    aside = cell / ".forced.partial"
    shutil.rmtree(aside, ignore_errors=True)
    verify_manifest(manifest_file)
    (aside / "forced").mkdir(parents=True)
    WorkflowWatch(aside).start()
    try:
        os.environ.update(settings["environment"])
        title = f"{settings['model']} {settings['precision']} {settings['variant']} · forced"
        record = read_json(engine_record) if engine_record else {}
        with start_engine({**settings, "record": record}, manifest_file.parent, log) as engine:
            not_run, load = force_passes(
                engine,
                transcript,
                aside / "forced",
                passes,
                Progress(title, max(passes.values())),
                settings,
            )
        scenarios = list(recorded_episodes(transcript))
        summary = summarise_forced(aside, scenarios=scenarios, not_run=not_run)
        shutil.rmtree(cell / "forced", ignore_errors=True)
        (aside / "forced").rename(cell / "forced")
        write_json(output, {**summary, "load": load, "transcript_sha256": sha256_file(transcript)})
    except OSError as error:
        full = disk_error(error, cell)
        if full is None:
            raise
        raise full from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
