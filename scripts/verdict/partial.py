"""Bits where some are missing: which replays do not contradict one another, and over how much that was looked at.

A server may give logprobs for a part of its tokens or of its turns, and not for the same part every time. Replays of
one text then count as equal in bits as long as no position that both know is unlike; each is held against all that
those before it in its group know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scripts.common.files import canonical_json
from scripts.records.cell import Bits
from scripts.records.transcript import TurnLogprobs
from scripts.verdict.grouping import groups
from scripts.verdict.logprobs import Counted
from scripts.verdict.readings import Evidence
from scripts.verdict.replays import Replay

Digests = NDArray[np.uint64]
"""One a generated id of the replay, 0 where there are no bits."""


def bits_keys(replays: Sequence[Replay], counted: Sequence[Counted | None]) -> list[str | None]:
    """For each replay by what it is compared in bits: equal keys, equal bits as far as both are known.

    A replay whose logprobs are whole has its file's sha256, one without any has None. `counted`: how much there is of
    each.
    """
    keys: list[str | None] = [replay.logprobs_sha256 for replay in replays]
    for members in groups([replay.transcript_sha256 for replay in replays]):
        found = [each for index in members if (each := counted[index]) is not None]
        if len({keys[index] for index in members} - {None}) < 2 or all(each.whole for each in found):
            continue
        known: list[tuple[str, list[Digests]]] = []
        seen: dict[str, str] = {}
        for index in members:
            replay, key = replays[index], keys[index]
            if replay.logprobs is None or key is None:
                continue
            if key not in seen:
                turns = [_digests(turn) for turn in TurnLogprobs.read_lines(replay.logprobs)]
                place = next(
                    (number for number, (_, other) in enumerate(known) if _agree(turns, other)), None
                )
                if place is None:
                    known.append((key, turns))
                    seen[key] = key
                else:
                    name, other = known[place]
                    known[place] = name, [_merged(*pair) for pair in zip(other, turns, strict=True)]
                    seen[key] = name
            keys[index] = seen[key]
    return keys


def judged_bits(
    replays: Sequence[Replay], counted: Sequence[Counted | None], evidence: Evidence, *, text: bool
) -> Bits | None:
    """Over how much bits are judged; None where all that was generated has its own.

    `counted`: how much there is of each replay, None without a file. `text`: it is a chat endpoint, whose tokens are
    those that it names.
    """
    there = [each for each in counted if each is not None]
    positions, with_bits = sum(each.positions for each in there), sum(each.with_bits for each in there)
    if text:
        said = [each for replay in evidence.said for each in replay.values()]
        positions = sum(each.named_tokens or 0 for each in said)
        with_bits = sum(each.tokens_with_bits or 0 for each in said)
    found = Bits(
        positions=positions,
        with_bits=with_bits,
        turns=sum(map(len, evidence.turns)),
        turns_with_bits=sum(sum(each.turns) for each in there),
        replays=len(there),
    )
    whole = found.with_bits == found.positions and found.turns_with_bits == found.turns
    return None if whole and found.replays == len(replays) else found


def _digests(turn: TurnLogprobs) -> Digests:
    return np.array(
        [
            0 if chosen is None else _digest(chosen, top)
            for chosen, top in zip(turn.chosen, turn.top, strict=True)
        ],
        dtype=np.uint64,
    )


def _digest(chosen: float, top: object) -> int:
    found = hashlib.sha256(canonical_json([chosen, top]).encode()).digest()
    return int.from_bytes(found[:8], "big") or 1


def _agree(mine: Sequence[Digests], theirs: Sequence[Digests]) -> bool:
    """Whether no position that both know is unlike. A turn without any has none in its line."""
    return all(
        not len(one) or not len(other) or not ((one != other) & (one != 0) & (other != 0)).any()
        for one, other in zip(mine, theirs, strict=True)
    )


def _merged(one: Digests, other: Digests) -> Digests:
    if not len(one) or not len(other):
        return other if len(other) else one
    return np.where(one != 0, one, other)
