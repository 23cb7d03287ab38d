"""Forced replay: a recorded trajectory fed back several times, every position's distribution kept as a digest.

A free replay that was short, clean or lucky shows nothing; a forced one looks at every position. In prefill the
whole episode is read at once, in decode the recorded ids are given one by one. The two are never compared.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import msgspec

from scripts.common.errors import UnsupportedError
from scripts.common.files import sha256_file
from scripts.common.protocol import Engine, Scores
from scripts.quants.manifest import verify_manifest
from scripts.records.forced import Mode, PassTurn, Read
from scripts.records.session import LoadRecord, SessionRecord
from scripts.records.settings import Settings
from scripts.records.transcript import Turn
from scripts.sessions.aside import session_folder
from scripts.sessions.deployment import Deployment
from scripts.sessions.load import Load, Requests
from scripts.sessions.progress import Progress
from scripts.verdict.forced import pass_file, summarise_forced

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
    for scenario, found in groupby(Turn.read_lines(transcript), key=lambda turn: turn.scenario):
        ids: list[int] = []
        for turn in found:
            ids = ids + turn.appended_ids
            stop = turn.output_ids[-1] if turn.finish_reason == "stop" else None
            episodes.setdefault(scenario, []).append(RecordedTurn(turn.turn, ids, turn.output_ids, stop))
            ids = ids + turn.output_ids
    return episodes


def pass_turn(scenario: str, turn: RecordedTurn, scores: Scores, start: int, read: Read | None) -> PassTurn:
    """What a pass says of one turn, whose first id is position `start` of `scores`; `read`: before that."""
    part = slice(start, start + len(turn.output_ids))
    top = scores.top[part]
    return PassTurn(
        scenario=scenario,
        turn=turn.turn,
        digests=scores.digests[part],
        margins=[best[0][1] - best[1][1] for best in top],
        argmax=[best[0][0] for best in top],
        chosen=scores.chosen[part],
        routing=None if scores.routing is None or read is None else scores.routing[part],
        read=None if scores.routing is None else read,
    )


def force_prefill(engine: Engine, scenario: str, turns: list[RecordedTurn]) -> Iterator[PassTurn]:
    """One episode read at once."""
    ids = turns[-1].prompt_ids + turns[-1].output_ids
    scores = engine.score(ids, top_logprobs=CANDIDATES)
    end = 0
    for turn in turns:
        start = len(turn.prompt_ids) - scores.first
        before = slice(end, start)
        read = (
            None
            if scores.routing is None
            else Read(digests=scores.digests[before], routing=scores.routing[before])
        )
        yield pass_turn(scenario, turn, scores, start, read)
        end = start + len(turn.output_ids)


def force_decode(engine: Engine, scenario: str, turns: list[RecordedTurn]) -> Iterator[PassTurn]:
    """One episode given id by id."""
    for turn in turns:
        scores = engine.force(turn.prompt_ids, turn.output_ids, top_logprobs=CANDIDATES)
        read = None if scores.before is None else Read(digests=[], routing=[scores.before])
        yield pass_turn(scenario, turn, scores, 0, read)


FORCE: dict[Mode, Callable[[Engine, str, list[RecordedTurn]], Iterator[PassTurn]]] = {
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


@dataclass(frozen=True)
class Passes:
    """What became of the passes: why a mode has none, the load beside them, seconds in all passes of each mode."""

    not_run: dict[Mode, str]
    load: LoadRecord | None
    seconds: dict[Mode, float]


def force_passes(
    engine: Engine,
    episodes: Mapping[str, list[RecordedTurn]],
    folder: Path,
    passes: Mapping[Mode, int],
    progress: Progress,
    settings: Settings,
) -> Passes:
    """Write so many `passes` of every mode that the engine can into `folder`, beside the cell's load."""
    first = next(iter(episodes.values()))[0]
    engine.generate(first.prompt_ids, max_tokens=4, stop_ids=[], top_logprobs=1)  # warm-up, thrown away
    not_run: dict[Mode, str] = {mode: "no pass was asked for" for mode in FORCE if not passes[mode]}
    spent: dict[Mode, float] = {}
    with Load(engine, settings, recorded_requests(episodes)) as load:
        for number in range(max(passes.values())):
            for mode, force in FORCE.items():
                if mode in not_run or number >= passes[mode]:
                    continue
                path = folder / pass_file(number, mode)
                try:
                    with open(path, "w", encoding="utf-8") as stream:
                        for scenario, turns in episodes.items():
                            load.reset()
                            started, positions = time.perf_counter(), 0
                            for turn in force(engine, scenario, turns):
                                stream.write(turn.line())
                                positions += len(turn.chosen)
                            seconds = time.perf_counter() - started
                            spent[mode] = spent.get(mode, 0.0) + seconds
                            load.look()
                            progress.turn(number, f"{mode} {scenario}", "–", positions, seconds)
                except UnsupportedError as error:
                    path.unlink()
                    not_run[mode] = str(error)
                    spent.pop(mode, None)
    progress.done()
    return Passes(not_run, load.describe(), spent)


def force_cell(deployment: Deployment, output: Path, *, passes: Mapping[Mode, int], transcript: Path) -> None:
    """Feed `transcript` back to a fresh engine, so many `passes` a mode; write {cell}/forced/ and `output`.

    Where the session that was to write it is a refused start, no engine is started, and `output` says why.
    """
    verify_manifest(deployment.manifest)
    with session_folder(output.parent / "forced", part="forced") as aside:
        session = transcript.parent / "session.json"
        refused = SessionRecord.read(session).refused if session.is_file() else None
        if refused is not None:
            why = dict.fromkeys(FORCE, f"the engine refused to start: {refused.sentence}")
            summarise_forced(aside, scenarios=[], not_run=why).write(output)
            return
        episodes = recorded_episodes(transcript)
        progress = Progress(deployment.title("forced"), max(passes.values()))
        started = time.perf_counter()
        with deployment.start() as engine:
            made = force_passes(engine, episodes, aside / "forced", passes, progress, deployment.settings)
        wall = time.perf_counter() - started
        found = summarise_forced(aside, scenarios=list(episodes), not_run=made.not_run)
        msgspec.structs.replace(
            found,
            load=made.load,
            transcript_sha256=sha256_file(transcript),
            seconds=made.seconds,
            wall_seconds=wall,
            gpus=deployment.settings.gpus,
        ).write(output)
