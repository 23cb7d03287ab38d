"""What a session's start decided and tells the bits of a cell's sessions.

A session has one state: the bits that all its replays share. A fact of a session (what it resolved to, a cache that was
empty or kept, one parameter of a kernel that was tuned) fits where sessions of one value never have unlike bits. It is
named, with the chance of that were it no cause: were the states dealt out to the sessions by chance, a fact would fit
in some of the ways to deal them, in fewer the fewer values it has; and each fact that would fit as rarely had its try.
Of several that fit the one is named that would do so most rarely.
"""

from __future__ import annotations

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from scripts.common.files import canonical_json
from scripts.records.base import Value
from scripts.records.cell import Cause, CauseKind, CauseSide, ReplayHashes
from scripts.records.session import SessionRecord
from scripts.records.tuning import Tuned
from scripts.verdict.grouping import groups
from scripts.verdict.sessions import State, least_replays, states

NOT_TUNED = "not tuned"


class Fact(NamedTuple):
    """What a fact is about: what was resolved, which cache, or a parameter of which kernel."""

    kind: CauseKind
    name: str
    parameter: str = ""


GPU = "GPU"
KINDS: tuple[CauseKind, ...] = ("resolved", "cache", "tuned")
"""Of facts that fit as rarely one of the first of these kinds is named."""


def find_cause(hashes: Sequence[ReplayHashes], records: Sequence[SessionRecord]) -> Cause | None:
    """The fact that tells the bits of a cell's sessions; None where none fits, or none has to, since all are equal.

    `records`: one a session, in the order of their numbers. Nor is one named where replays of one session differ.
    """
    numbers = sorted({each.session for each in hashes})
    return name_cause(states(hashes, least_replays(hashes)), _facts(records), numbers)


def name_cause(
    found: Sequence[State], facts: Mapping[Fact, Sequence[str]], numbers: Sequence[int]
) -> Cause | None:
    """The same from the sessions' states, the values of each fact in them, and their numbers, all in one order."""
    sides = groups(found)
    if None in found or len(sides) == 1:
        return None
    sizes = [len(side) for side in sides]
    varying = {fact: groups(values) for fact, values in facts.items() if len(set(values)) > 1}
    chances = {
        fact: chance_to_fit([len(each) for each in grouped], sizes) for fact, grouped in varying.items()
    }
    fitting = [
        fact
        for fact, grouped in varying.items()
        if chances[fact] < 1 and all(len({found[index] for index in each}) == 1 for each in grouped)
    ]
    if not fitting:
        return None
    chosen = min(fitting, key=lambda fact: (chances[fact], _first(fact)))
    as_rare = {str(varying[fact]): chance for fact, chance in chances.items() if chance <= chances[chosen]}
    return Cause(
        kind=chosen.kind,
        name=chosen.name,
        parameter=chosen.parameter or None,
        sides=[
            CauseSide(
                values=sorted({facts[chosen][index] for index in side}),
                sessions=[numbers[index] for index in side],
            )
            for side in sorted(sides, key=lambda each: (-len(each), each))
        ],
        equally=len({fact[:2] for fact in fitting if chances[fact] == chances[chosen]}) - 1,
        varied=len({fact[:2] for fact in varying}),
        chance=min(1.0, float(sum(as_rare.values()))),
    )


def chance_to_fit(values: Sequence[int], sides: Sequence[int]) -> Fraction:
    """The chance that no value of a fact has unlike bits, were states dealt out to sessions by chance.

    `values`: how many sessions have each value. `sides`: how many have each state.
    """
    ways = _ways_to_fill(tuple(sorted(values)), tuple(sorted(sides)))
    return Fraction(ways * math.prod(map(math.factorial, sides)), math.factorial(sum(sides)))


@functools.cache
def _ways_to_fill(values: tuple[int, ...], room: tuple[int, ...]) -> int:
    """In how many ways all of these can be put whole into sides with so much room, both ascending."""
    if not values:
        return 1
    *others, largest = values
    return sum(
        times * _ways_to_fill(tuple(others), tuple(sorted([*_without(room, each), each - largest])))
        for each, times in Counter(room).items()
        if each >= largest
    )


def _without(room: Sequence[int], one: int) -> list[int]:
    place = room.index(one)
    return [*room[:place], *room[place + 1 :]]


def _first(fact: Fact) -> tuple[bool, int, str, bool, str]:
    """By which of several facts the first is named: one that an engine chose before the card that it got."""
    kind = KINDS.index(fact.kind)
    return fact.name == GPU, kind, fact.name, fact.parameter != "num_warps", fact.parameter


def _facts(records: Sequence[SessionRecord]) -> dict[Fact, list[str]]:
    """The values of each fact that every session's record has; a kernel that others tuned is `not tuned` in it."""
    resolved = [{} if each.resolved is None else each.resolved.resolved for each in records]
    values = [
        {name: _say(value) for name, value in each.items()} | _cards(record)
        for each, record in zip(resolved, records, strict=True)
    ]
    columns = {
        **_columns("resolved", values),
        **_columns("cache", [{**(each.caches or {})} for each in records]),
    }
    if all(each.tuned is not None for each in records):
        tuned = [tuned_parameters(each.tuned or []) for each in records]
        for name in dict.fromkeys(name for each in tuned for name in each):
            columns[Fact("tuned", *name)] = [each.get(name, NOT_TUNED) for each in tuned]
    return columns


def _cards(record: SessionRecord) -> dict[str, str]:
    """Which cards of its machine a session had, by their numbers; nothing where it took none, or they have none."""
    gpus = (record.machine and record.machine.gpus) or []
    taken = record.settings is not None and record.settings.gpus == len(gpus) > 0
    known = taken and all(gpu.index is not None for gpu in gpus)
    return {GPU: ", ".join(str(gpu.index) for gpu in gpus)} if known else {}


def _columns(kind: CauseKind, values: Sequence[Mapping[str, str]]) -> dict[Fact, list[str]]:
    shared = [name for name in values[0] if all(name in each for each in values)]
    return {Fact(kind, name): [each[name] for each in values] for name in shared}


def tuned_parameters(tuned: Sequence[Tuned]) -> dict[tuple[str, str], str]:
    """(kernel, parameter) → its value; where sizes or ranks chose unlike ones, all of them."""
    chosen: dict[tuple[str, str], dict[str, dict[int | None, str]]] = defaultdict(lambda: defaultdict(dict))
    for each in tuned:
        for parameter, value in each.config.items():
            ranks: Sequence[int | None] = each.ranks or [None]
            for rank in ranks:
                chosen[each.kernel, parameter][each.key][rank] = _say(value)
    return {
        name: _one_or_all(
            {f"for {key}": _one_or_all({f"on rank {rank}": said for rank, said in by_rank.items()}, ", ")
             for key, by_rank in by_key.items()}, "; ",
        )
        for name, by_key in chosen.items()
    }  # fmt: skip


def _one_or_all(values: Mapping[str, str], between: str) -> str:
    if len(found := {*values.values()}) == 1:
        return found.pop()
    return between.join(f"{value} {where}" for where, value in sorted(values.items()))


def _say(value: Value) -> str:
    return value if isinstance(value, str) else canonical_json(value)
