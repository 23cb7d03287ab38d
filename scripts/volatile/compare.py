"""Two transcripts compared call by call: which tool result gave away state that the runs do not share.

Results of equal calls are compared as long as both runs made the same calls: whatever differs there is the harness's.
From the first call that differs on, a result may differ because the model did something else before. Then only kinds
that no call can have changed are named, and of these nothing that the model itself had said.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.common.errors import DataError
from scripts.volatile.kinds import CONTENT, NUMBER, ORDER, SURE, Atom, atoms, kind_of
from scripts.volatile.read import Exchange, read_exchanges

LONGEST = 100_000  # characters of a line beyond which it is one piece
ALIGNED = 1_000_000  # product of two lengths beyond which what lies between two equal ends is one piece
AROUND = 48  # characters beside a value that tell what it is


@dataclass(frozen=True)
class Change:
    """One place in which two texts differ: its kind, what stands in each, at which byte of the first it begins."""

    kind: str
    one: str
    other: str
    byte: int


@dataclass(frozen=True)
class Leak:
    """Volatile state in a tool's result.

    `call`: which one of the conversation, from 1. `parted`: whether the runs had made different calls before it.
    """

    conversation: str
    call: int
    tool: str
    change: Change
    parted: bool


@dataclass(frozen=True)
class Found:
    """What two transcripts show: the leaks, earliest first, and how many results of equal calls were compared."""

    leaks: list[Leak]
    compared: int
    uncompared: int

    @property
    def first(self) -> Leak | None:
        """The earliest leak of the first conversation that has one."""
        return self.leaks[0] if self.leaks else None


def find_volatile(one: Path, other: Path) -> Found:
    """Compare the tool results of two transcripts; DataError where they share no conversation with a tool result."""
    first, second = read_exchanges(one), read_exchanges(other)
    names = [name for name in first if name in second]
    if not any(first[name] and second[name] for name in names):
        raise DataError(
            "the two have no conversation with tool results in common",
            where=f"{one}, {other}",
            remedy="give two transcripts of the same workload",
        )
    leaks: list[Leak] = []
    compared = calls = 0
    for name in names:
        mine, count = compare_conversations(name, first[name], second[name])
        leaks += mine
        compared, calls = compared + count, calls + max(len(first[name]), len(second[name]))
    return Found(leaks, compared, calls - compared)


def compare_conversations(name: str, first: list[Exchange], second: list[Exchange]) -> tuple[list[Leak], int]:
    """The leaks of one conversation, and how many pairs of results were compared."""
    known = Known()
    leaks: list[Leak] = []
    compared = 0
    parted = False
    for index, mine, theirs in _paired(first, second, known):
        if mine is None or theirs is None:
            parted = True
            continue
        compared += 1
        changes = compare_results(mine.result, known.translate(theirs.result))
        changes = [change for change in changes if not known.holds(change)]
        if parted:
            changes = [
                change
                for change in changes
                if change.kind in SURE and change.one not in mine.said and change.other not in theirs.said
            ]
        leaks += [Leak(name, index + 1, mine.tool, change, parted) for change in changes]
        known.learn(changes)
    return leaks, compared


class Known:
    """Pairs of values that were found volatile: where one comes again it is a consequence, no finding of its own."""

    def __init__(self) -> None:
        self._pairs: dict[str, str] = {}

    def learn(self, changes: Iterable[Change]) -> None:
        """Remember those that are long enough not to be met by chance."""
        for change in changes:
            if change.kind not in (NUMBER, CONTENT, ORDER) and min(len(change.one), len(change.other)) >= 4:
                self._pairs[change.other] = change.one

    def holds(self, change: Change) -> bool:
        """Whether it is such a pair."""
        return self._pairs.get(change.other) == change.one

    def translate(self, text: str) -> str:
        """The second run's text with the first run's values in place of its own."""
        for theirs, mine in self._pairs.items():
            text = mine.join(re.split(rf"(?<!\w){re.escape(theirs)}(?!\w)", text))
        return text


def _paired(
    first: list[Exchange], second: list[Exchange], known: Known
) -> Iterator[tuple[int, Exchange | None, Exchange | None]]:
    """Exchanges of equal calls, and once (None) where the calls first differ; then those that fit again."""
    shared = 0
    while shared < min(len(first), len(second)):
        mine, theirs = first[shared], second[shared]
        if mine.call != (theirs.tool, known.translate(theirs.arguments)):
            break
        yield shared, mine, theirs
        shared += 1
    rest, others = first[shared:], second[shared:]
    if not rest or not others:
        return
    yield shared, None, None
    calls = [(each.tool, known.translate(each.arguments)) for each in others]
    matcher = difflib.SequenceMatcher(None, [each.call for each in rest], calls, autojunk=False)
    for at, against, size in matcher.get_matching_blocks():
        for step in range(size):
            yield shared + at + step, rest[at + step], others[against + step]


def compare_results(one: str, other: str) -> list[Change]:
    """The places in which two results of one call differ, in the order of the first."""
    if one == other:
        return []
    changes = list(_differing(one, other))
    return sorted(changes, key=lambda change: change.byte)


def _differing(one: str, other: str) -> Iterator[Change]:
    lines, others = one.splitlines(keepends=True), other.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    shapes, theirs = [list(map(_shape, each)) for each in (lines, others)]
    if shapes != theirs and sorted(shapes) == sorted(theirs) and len(lines) > 1:
        index = next(i for i, (a, b) in enumerate(zip(shapes, theirs, strict=True)) if a != b)
        yield Change(ORDER, lines[index].strip(), others[index].strip(), starts[index])
        places: dict[str, list[int]] = {}
        for number, shape in enumerate(theirs):
            places.setdefault(shape, []).append(number)
        for number, shape in enumerate(shapes):
            yield from _in_line(lines[number], others[places[shape].pop(0)], starts[number])
        return
    for a, b, c, d in _blocks(shapes, theirs):
        if b - a == d - c:
            for mine, their in zip(range(a, b), range(c, d), strict=True):
                yield from _in_line(lines[mine], others[their], starts[mine])
        else:
            yield Change(CONTENT, "".join(lines[a:b]), "".join(others[c:d]), starts[a])


def _shape(line: str) -> str:
    return "".join(atom.shape for atom in _atoms(line) if atom.look != "space")


def _atoms(line: str) -> list[Atom]:
    return atoms(line) if len(line) <= LONGEST else [Atom(0, line, "word")]


def _in_line(one: str, other: str, start: int) -> Iterator[Change]:
    """The places in which two lines differ; `start`: the first byte of the one."""
    if one == other:
        return
    mine, theirs = ([atom for atom in _atoms(line) if atom.look != "space"] for line in (one, other))
    if len(mine) != len(theirs) or any(a.shape != b.shape for a, b in zip(mine, theirs, strict=True)):
        words, others = ([atom.text for atom in each if atom.look != "mark"] for each in (mine, theirs))
        if len(words) > 1 and words != others and Counter(words) == Counter(others):
            at = next(i for i, (a, b) in enumerate(zip(words, others, strict=True)) if a != b)
            first = [atom for atom in mine if atom.look != "mark"][at]
            yield Change(ORDER, words[at], others[at], start + len(one[: first.start].encode()))
            return
    for a, b, c, d in _blocks([atom.shape for atom in mine], [atom.shape for atom in theirs]):
        if b - a == d - c:
            for left, right in zip(mine[a:b], theirs[c:d], strict=True):
                if left.text != right.text:
                    yield _change(one, left, right, start)
        else:
            at = mine[a].start if a < len(mine) else len(one)
            end = mine[b - 1].end if b > a else at
            from_, to = (theirs[c].start, theirs[d - 1].end) if d > c else (0, 0)
            yield Change(CONTENT, one[at:end], other[from_:to], start + len(one[:at].encode()))


def _blocks(one: list[str], other: list[str]) -> Iterator[tuple[int, int, int, int]]:
    """Ranges of the one and the other that stand for one another; pairs where they are equally long."""
    end = min(len(one), len(other))
    head = next((index for index in range(end) if one[index] != other[index]), end)
    tail = next((index for index in range(end - head) if one[-1 - index] != other[-1 - index]), end - head)
    yield 0, head, 0, head
    mine, theirs = one[head : len(one) - tail], other[head : len(other) - tail]
    if len(mine) * len(theirs) > ALIGNED:
        yield head, len(one) - tail, head, len(other) - tail
    else:
        for _, a, b, c, d in difflib.SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
            yield head + a, head + b, head + c, head + d
    yield len(one) - tail, len(one), len(other) - tail, len(other)


def _change(line: str, one: Atom, other: Atom, start: int) -> Change:
    before, after = line[max(0, one.start - AROUND) : one.start], line[one.end : one.end + AROUND]
    kind = kind_of(one.text, other.text, one.look, before, after)
    return Change(kind, one.text, other.text, start + len(line[: one.start].encode()))
