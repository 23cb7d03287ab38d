"""Freezing a result as a baseline: its replays' ids and hashes, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from scripts.comparison.cells import read_side, refusal
from scripts.comparison.provenance import engine_exactly
from scripts.comparison.sources import open_result
from scripts.records.check import Baseline, BaselineCell, Distinct
from scripts.verdict.replays import Replay, find_sessions
from scripts.verdict.streams import FIRST_PROMPT, Ints, PromptCodes, read_trajectory

RANGE = 2**30


class PortableCodes(PromptCodes):
    """Codes of prompts that follow from the prompts alone, so that two results have the same for the same."""

    def code(self, ids: Ints) -> int:
        """The code of a prompt, FIRST_PROMPT or below: one of 2^30."""
        digest = hashlib.sha256(ids.astype("<i4").tobytes()).digest()
        return FIRST_PROMPT - int.from_bytes(digest[:4], "little") % RANGE


def pack(symbols: Ints) -> str:
    """A scenario's symbols as text."""
    return base64.b64encode(zlib.compress(symbols.astype("<i4").tobytes(), 9)).decode("ascii")


def unpack(text: str) -> Ints:
    """The symbols of a text that `pack` made."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i4").astype(np.int32)


def freeze(path: Path, wanted: Collection[str] | None = None) -> Baseline:
    """A result as a baseline, of its cells those that are `wanted` by their names, or all.

    DataError where a file is missing or is not what its session recorded.
    """
    with open_result(path) as result:
        cells = sorted(result.cells.items())
        return Baseline(cells=[freeze_cell(*each) for each in cells if wanted is None or each[0] in wanted])


def freeze_cell(name: str, folder: Path) -> BaselineCell:
    """A cell as a baseline keeps it."""
    found = find_sessions(folder)
    if refused := refusal(found):
        return BaselineCell(
            name=name,
            workload=found[0].record.workload,
            engine=engine_exactly(found[0].record),
            sessions=[],
            distinct=[],
            refused=refused,
        )
    side = read_side(name, folder)
    places: dict[tuple[str, str | None], int] = {}
    distinct: list[Distinct] = []
    sessions: dict[int, list[int]] = {each.number: [] for each in side.sessions}
    for replay in side.replays:
        key = replay.transcript_sha256, replay.logprobs_sha256
        if key not in places:
            places[key] = len(distinct)
            distinct.append(_distinct(replay))
        sessions[replay.session].append(places[key])
    first = side.sessions[0].record
    return BaselineCell(
        name=side.name,
        workload=first.workload,
        engine=engine_exactly(first),
        sessions=list(sessions.values()),
        distinct=distinct,
    )


def _distinct(replay: Replay) -> Distinct:
    _, symbols = read_trajectory(replay.transcript, PortableCodes())
    return Distinct(
        transcript=replay.transcript_sha256,
        logprobs=replay.logprobs_sha256,
        streams={scenario: pack(each) for scenario, each in symbols.items()},
    )
