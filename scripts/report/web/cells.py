"""What the page shows of a cell beside its cell.json: read from the files of its replays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import DataError
from scripts.records.cell import Cell, Difference
from scripts.records.transcript import Turn, TurnLogprobs
from scripts.report.web.agreement import Bools, Lane, States, lay_lanes, lay_row, positions_states
from scripts.report.web.texts import Decode, Pair, Turns, merge_pairs, pair_texts
from scripts.verdict.replays import Replay, Session, find_replays, find_sessions

Computed = dict[tuple[str, int], TurnLogprobs]
AGAIN = "summarise the cell again: snakemake -R summarise_cell -- results/report.html"


@dataclass(frozen=True)
class CellFiles:
    """A cell's sessions and replays, how each replay agrees with the reference, and the texts where it does not.

    `reference`: its index among the replays. `rows`: one a replay, over `lanes`. `margins`: the reference's, nat,
    None where no logprobs were recorded. `differences`: those of a session's replay, by both numbers. `pairs`: one a
    first difference, those that read the same as one.
    """

    sessions: list[Session]
    replays: list[Replay]
    reference: int
    lanes: list[Lane]
    rows: list[States]
    margins: NDArray[np.float64] | None
    differences: dict[tuple[int, int], list[Difference]]
    pairs: list[Pair]


def read_cell_files(folder: Path, summary: Cell, decode: Decode | None) -> CellFiles:
    """Read the cell in that folder; DataError where its files are not those that cell.json was made from."""
    sessions = find_sessions(folder)[: summary.sessions if summary.question else None]
    replays = find_replays(sessions)
    index = _reference(folder, summary, replays)
    reference = replays[index]
    turns = _turns(reference)
    computed = _computed(reference) if reference.logprobs is not None else None

    differences: dict[tuple[int, int], list[Difference]] = {}
    for found in summary.differences:
        differences.setdefault((found.session, found.replay), []).append(found)
    tokens: dict[str, dict[str, int]] = {reference.transcript_sha256: _tokens(turns)}
    unequal: dict[str | None, dict[str, Bools]] = {}
    pairs: list[Pair] = []
    for replay in replays:
        own = differences.get((replay.session, replay.number), [])
        if replay.transcript_sha256 not in tokens or own:
            others = _turns(replay)
            tokens[replay.transcript_sha256] = _tokens(others)
            pairs += [pair_texts(found, turns, others, decode) for found in own]
        if computed is not None and replay.logprobs_sha256 not in unequal:
            equal = replay.logprobs_sha256 in (reference.logprobs_sha256, None)
            theirs = {} if equal else _computed(replay)
            unequal[replay.logprobs_sha256] = {} if equal else _unequal_bits(computed, theirs, turns)
    counts = [tokens[replay.transcript_sha256] for replay in replays]
    lanes = lay_lanes([counts[index], *counts])
    rows = []
    for replay, count in zip(replays, counts, strict=True):
        first = {each.scenario: each for each in differences.get((replay.session, replay.number), ())}
        bits = unequal.get(replay.logprobs_sha256, {})
        states = {
            name: positions_states(number, bits.get(name), first.get(name)) for name, number in count.items()
        }
        rows.append(lay_row(lanes, states))
    margins = None if computed is None else _margins(computed)
    return CellFiles(sessions, replays, index, lanes, rows, margins, differences, merge_pairs(pairs))


def _reference(folder: Path, summary: Cell, replays: list[Replay]) -> int:
    """The reference's index among the replays; DataError where these are not those of cell.json."""
    said = [(each.session, each.replay, each.transcript, each.logprobs) for each in summary.hashes]
    there = [(each.session, each.number, each.transcript_sha256, each.logprobs_sha256) for each in replays]
    if said != there or summary.reference is None:
        raise DataError(
            "the replays beside it are not those that it was made from",
            where=str(folder / "cell.json"),
            remedy=AGAIN,
        )
    place = (summary.reference.session, summary.reference.replay)
    return next(index for index, each in enumerate(replays) if (each.session, each.number) == place)


def _turns(replay: Replay) -> Turns:
    return {(turn.scenario, turn.turn): turn for turn in Turn.read_lines(replay.transcript)}


def _tokens(turns: Turns) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (scenario, _), turn in turns.items():
        counts[scenario] = counts.get(scenario, 0) + len(turn.output_ids)
    return counts


def _computed(replay: Replay) -> Computed:
    assert replay.logprobs is not None
    return {(turn.scenario, turn.turn): turn for turn in TurnLogprobs.read_lines(replay.logprobs)}


def _unequal_bits(reference: Computed, other: Computed, turns: Turns) -> dict[str, Bools]:
    """By scenario where two replays' logprobs are not equal, over the turns from the first on that both have.

    Where either has none nothing is known to be unequal. `turns`: the reference's.
    """
    found: dict[str, list[Bools]] = {}
    for spot, mine in reference.items():
        theirs = other.get(spot)
        if theirs is None or len(found.setdefault(spot[0], [])) != spot[1]:
            continue
        if not mine.chosen or not theirs.chosen:
            found[spot[0]].append(np.zeros(len(turns[spot].output_ids), dtype=bool))
            continue
        pairs = zip(mine.chosen, mine.top, theirs.chosen, theirs.top, strict=False)
        found[spot[0]].append(
            np.array(
                [
                    one is not None and two is not None and (one != two or top != tip)
                    for one, top, two, tip in pairs
                ],
                dtype=bool,
            )
        )
    return {scenario: np.concatenate(parts) for scenario, parts in found.items() if parts}


def _margins(computed: Computed) -> NDArray[np.float64]:
    return np.array(
        [top[0][1] - top[1][1] for turn in computed.values() for top in turn.top if len(top) > 1],
        dtype=np.float64,
    )
