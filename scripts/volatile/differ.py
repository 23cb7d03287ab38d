"""In which places two texts differ, and what stands there: piece by piece, in time linear in their length."""

from __future__ import annotations

import difflib
import itertools
import re
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scripts.volatile.kinds import AROUND, CONTENT, ORDER, SPACE, Atom, atoms, is_sure, kind_of, masked

SMALL = 4096  # product of two lengths up to which difflib, which is quadratic, aligns
DEEPEST = 12  # anchors inside anchors
LONG = 200  # pieces in a line
WIDE = 2_000  # characters of a line
NEAR, ALIKE = 64, 3  # where nothing is unique, how far to look, for how many alike in a row
_ESCAPED_END = re.compile(r"(?<=\\n)")
_WORDY = re.compile(r"[^\W\d_]{2}")
_BLANK = re.compile(r"(?:\s|\\+[nrt]|(?:\x1b|\\+u001[bB])\[[0-9;]*m)*")


Block = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Change:
    """One place in which two texts differ.

    `byte`: where `one` begins in the first text, in UTF-8. `sure`: of a kind that no call of a model's can have
    changed. `before`, `after`: what stands beside `one` in its line.
    """

    kind: str
    one: str
    other: str
    byte: int
    sure: bool = False
    before: str = ""
    after: str = ""


def differences(one: str, other: str) -> list[Change]:
    """The places in which two texts differ, in the order of the first; none exactly where they are equal."""
    if one == other:
        return []
    found = list(_lines_differ(one, other))
    if not found:
        at = next(
            (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
            min(len(one), len(other)),
        )
        found = [Change(CONTENT, one[at : at + AROUND], other[at : at + AROUND], at)]
    found.sort(key=lambda change: change.byte)
    return found if one.isascii() else list(_in_bytes(one, found))


def _in_bytes(text: str, changes: Iterable[Change]) -> Iterator[Change]:
    """The changes with the byte in place of the character at which they begin."""
    at = byte = 0
    for each in changes:
        byte += len(text[at : each.byte].encode("utf-8", "surrogatepass"))
        at = each.byte
        yield Change(each.kind, each.one, each.other, byte, each.sure, each.before, each.after)


# ---------------------------------------------------------------- lines


def _lines(text: str) -> list[str]:
    """The lines with their ends, also those whose end is escaped, as in JSON."""
    lines = text.splitlines(keepends=True)
    if "\\n" not in text:
        return lines
    return [part for line in lines for part in (_ESCAPED_END.split(line) if "\\n" in line else (line,))]


def _lines_differ(one: str, other: str) -> Iterator[Change]:
    mine, theirs = _lines(one), _lines(other)
    starts = [0]
    for line in mine:
        starts.append(starts[-1] + len(line))
    blanks = _Blanks()
    if len(mine) == len(theirs):
        unequal = [index for index, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b]
        first, second = ([each[index].strip() for index in unequal] for each in (mine, theirs))
        if len(unequal) > 1 and first != second and Counter(first) == Counter(second):
            yield Change(ORDER, first[0], second[0], starts[unequal[0]])
            return
        changes: list[Change] = []
        for index in unequal:
            begin, one_line, other_line = _window(mine[index], theirs[index])
            left, right = atoms(one_line, spaces=False), atoms(other_line, spaces=False)
            if not _alike(left, right):
                break
            changes += _pairs(one_line, left, other_line, right, starts[index] + begin, blanks)
        else:
            yield from changes
            return
        blanks = _Blanks()
    yield from _lines_align(mine, theirs, starts, blanks)


def _lines_align(mine: list[str], theirs: list[str], starts: list[int], blanks: _Blanks) -> Iterator[Change]:
    shapes: dict[str, int] = {}

    def pair(i: int, j: int) -> Iterator[Change]:
        # Which line comes last, and has no end, is a matter of their order.
        ends = "\r\n" if (i == len(mine) - 1) != (j == len(theirs) - 1) else ""
        return _line_differs(mine[i].rstrip(ends), theirs[j].rstrip(ends), starts[i], blanks)

    def shape(line: str) -> int:
        return shapes.setdefault("".join(atom.shape for atom in atoms(line, spaces=False)), len(shapes))

    first, second = [-1] * len(mine), [-1] * len(theirs)
    gaps = []
    for a, b, c, d in align(mine, theirs):
        if mine[a:b] == theirs[c:d]:
            continue
        first[a:b], second[c:d] = map(shape, mine[a:b]), map(shape, theirs[c:d])
        for e, f, g, h in align(first[a:b], second[c:d]):
            if first[a + e : a + f] == second[c + g : c + h]:
                for i, j in zip(range(a + e, a + f), range(c + g, c + h), strict=True):
                    yield from pair(i, j)
            else:
                gaps.append((a + e, a + f, c + g, c + h))
    # Lines that stand elsewhere in the other text were moved: one finding, and what differs inside each of them.
    places: defaultdict[int, deque[int]] = defaultdict(deque)
    for _, _, c, d in gaps:
        for j in range(c, d):
            places[second[j]].append(j)
    moved: dict[int, int] = {}
    for a, b, _, _ in gaps:
        for i in range(a, b):
            # Rows of numbers all look alike: one of them is moved where it is the same.
            where = places[first[i]]
            same = bool(where) and mine[i].strip() == theirs[where[0]].strip()
            if where and any(map(str.isalnum, mine[i])) and (same or _WORDY.search(mine[i])):
                moved[i] = where.popleft()
    gone = set(moved.values())
    if moved:
        a, _, c, _ = next(
            gap for gap in gaps if moved.keys() & range(*gap[:2]) or gone & set(range(*gap[2:]))
        )
        i, j = min(a, len(mine) - 1), min(c, len(theirs) - 1)
        yield Change(ORDER, mine[i].strip(), theirs[j].strip(), starts[i])
        for i, j in moved.items():
            yield from pair(i, j)
    for a, b, c, d in gaps:
        left = [i for i in range(a, b) if i not in moved]
        right = [j for j in range(c, d) if j not in gone]
        if len(left) == len(right):
            for i, j in zip(left, right, strict=True):
                yield from pair(i, j)
        else:
            yield from _replaced(
                [mine[i] for i in left], [theirs[j] for j in right], starts[left[0] if left else a]
            )


def _replaced(mine: list[str], theirs: list[str], start: int) -> Iterator[Change]:
    one, other = "".join(mine), "".join(theirs)
    if one != other:
        yield Change(
            SPACE if _BLANK.fullmatch(one) and _BLANK.fullmatch(other) else CONTENT, one, other, start
        )


# ---------------------------------------------------------------- inside a line


def _window(one: str, other: str) -> tuple[int, str, str]:
    """Of two long lines where the part that differs begins, and that part, with some words around it."""
    shortest = min(len(one), len(other))
    if shortest < WIDE:
        return 0, one, other
    head = common_prefix(one, other)
    tail = common_prefix(one[: -(shortest - head) - 1 : -1], other[: -(shortest - head) - 1 : -1])
    begin = max(one.rfind(" ", 0, max(0, head - 2 * AROUND)), 0)
    after = max(0, tail - 2 * AROUND)
    blank = one.find(" ", len(one) - after)
    after = len(one) - blank if after and blank >= 0 else 0
    return begin, one[begin : len(one) - after], other[begin : len(other) - after]


def common_prefix(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


class _Blanks:
    """White space that differs is said once a result: one change of width moves a whole column."""

    def __init__(self) -> None:
        self.said = False

    def between(self, one: str, other: str, at: int) -> Iterator[Change]:
        """A change for two unequal gaps between pieces."""
        if not (_BLANK.fullmatch(one) and _BLANK.fullmatch(other)):
            yield Change(CONTENT, one, other, at)
        elif not self.said:
            self.said = True
            yield Change(SPACE, one, other, at)


def _alike(mine: Sequence[Atom], theirs: Sequence[Atom]) -> bool:
    return len(mine) == len(theirs) and all(
        a.text == b.text or (a.look == b.look and a.shape == b.shape)
        for a, b in zip(mine, theirs, strict=True)
    )


def _line_differs(one: str, other: str, start: int, blanks: _Blanks) -> Iterator[Change]:
    """The places in which two lines differ; `start`: the first character of the one."""
    if one == other:
        return
    begin, one, other = _window(one, other)
    start += begin
    mine, theirs = atoms(one, spaces=False), atoms(other, spaces=False)
    if _alike(mine, theirs):
        yield from _pairs(one, mine, other, theirs, start, blanks)
        return
    words, others = ([atom for atom in each if atom.look != "mark"] for each in (mine, theirs))
    if len(words) > 1 and Counter(atom.shape for atom in words) == Counter(atom.shape for atom in others):
        at = next((i for i, (a, b) in enumerate(zip(words, others, strict=True)) if a.shape != b.shape), None)
        if at is not None:
            yield Change(ORDER, words[at].text, others[at].text, start + words[at].start)
            if Counter(atom.text for atom in words) == Counter(atom.text for atom in others):
                return
            places: defaultdict[str, deque[Atom]] = defaultdict(deque)
            for atom in others:
                places[atom.shape].append(atom)
            for atom in words:
                yield from _atom_differs(one, atom, places[atom.shape].popleft(), start)
            return
    for a, b, c, d in _align_atoms(mine, theirs):
        if b - a == d - c:
            yield from _pairs(one, mine[a:b], other, theirs[c:d], start, blanks, whole=False)
        else:
            at = mine[a].start if a < len(mine) else len(one)
            end = mine[b - 1].end if b > a else at
            from_, to = (theirs[c].start, theirs[d - 1].end) if d > c else (0, 0)
            yield _with_context(Change(CONTENT, one[at:end], other[from_:to], start + at), one, start)


def _align_atoms(mine: Sequence[Atom], theirs: Sequence[Atom]) -> Iterator[Block]:
    """By shape; in a long line first by what is the same, since in a list of records all shapes come again."""
    blocks: Iterable[Block] = [(0, len(mine), 0, len(theirs))]
    if min(len(mine), len(theirs)) > LONG:
        blocks = align([atom.text for atom in mine], [atom.text for atom in theirs])
    for a, b, c, d in blocks:
        for e, f, g, h in align([atom.shape for atom in mine[a:b]], [atom.shape for atom in theirs[c:d]]):
            yield a + e, a + f, c + g, c + h


def _pairs(
    one: str,
    mine: Sequence[Atom],
    other: str,
    theirs: Sequence[Atom],
    start: int,
    blanks: _Blanks,
    *,
    whole: bool = True,
) -> Iterator[Change]:
    """The places in which pieces that stand for one another differ, and the gaps between them.

    `whole`: the pieces are those of the whole lines, so that what stands before and after them counts.
    """
    if whole and len(mine) > 1 and _same_in_another_order(mine, theirs):
        at = next(i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a.text != b.text)
        yield _with_context(Change(ORDER, mine[at].text, theirs[at].text, start + mine[at].start), one, start)
        return
    ended = their_end = grown = 0
    run: list[tuple[Atom, Atom]] = []
    for a, b in zip(mine, theirs, strict=True):
        gap, their_gap = one[ended : a.start], other[their_end : b.start]
        if gap != their_gap and (whole or ended):
            # A shorter value beside more blanks is the same column, padded.
            width = len(gap) - len(their_gap)
            if not width or width not in (len(b.text) - len(a.text), grown):
                yield from blanks.between(gap, their_gap, start + ended)
        ended, their_end, grown = a.end, b.end, len(b.text) - len(a.text)
        if a.text == b.text:
            continue
        if run and not (a.look == "word" and one[run[-1][0].end : a.start].isspace()):
            yield from _run(one, run, other, start)
            run = []
        if a.look == b.look == "word" or a.look != b.look:
            run.append((a, b))
        else:
            yield from _atom_differs(one, a, b, start)
    yield from _run(one, run, other, start)
    if whole and one[ended:] != other[their_end:]:
        yield from blanks.between(one[ended:], other[their_end:], start + ended)


def _same_in_another_order(mine: Sequence[Atom], theirs: Sequence[Atom]) -> bool:
    words, others = ([atom.text for atom in each if atom.look != "mark"] for each in (mine, theirs))
    return (
        words != others
        and sum(a != b for a, b in zip(words, others, strict=True)) > 1
        and Counter(words) == Counter(others)
    )


def _run(one: str, run: list[tuple[Atom, Atom]], other: str, start: int) -> Iterator[Change]:
    """Words in a row that all differ: each by its kind, or one piece where none has one."""
    changes = [change for a, b in run for change in _atom_differs(one, a, b, start)]
    if len(changes) > 1 and all(change.kind == CONTENT for change in changes):
        (a, b), (y, z) = run[0], run[-1]
        yield _with_context(
            Change(CONTENT, one[a.start : y.end], other[b.start : z.end], start + a.start), one, start
        )
    else:
        yield from changes


def _atom_differs(line: str, one: Atom, other: Atom, start: int) -> Iterator[Change]:
    if one.text == other.text:
        return
    shown = masked(line[max(0, one.start - AROUND) : one.end + AROUND])
    begin = min(one.start, AROUND)
    before, after = shown[:begin], shown[begin + len(one.text) :]
    kind = kind_of(one.text, other.text, one.look if one.look == other.look else "word", before, after)
    sure = is_sure(kind, one.text, before, after)
    yield Change(
        kind,
        one.text,
        other.text,
        start + one.start,
        sure,
        line[max(0, one.start - AROUND) : one.start],
        after,
    )


def _with_context(change: Change, line: str, start: int) -> Change:
    at = change.byte - start
    before, after = line[max(0, at - AROUND) : at], line[at + len(change.one) :][:AROUND]
    return Change(change.kind, change.one, change.other, change.byte, change.sure, before, after)


# ---------------------------------------------------------------- alignment


def align(one: Sequence[object], other: Sequence[object]) -> Iterator[Block]:
    """Ranges a:b of the one and c:d of the other that stand for one another, in order; together they are all of both.

    Ranges are equal, or differ throughout. Equal ends first, then what occurs once in both is an anchor, and so on
    between the anchors: linear but for the sorting of anchors.
    """
    stack: list[tuple[Block, int]] = [((0, len(one), 0, len(other)), 0)]
    while stack:
        (a, b, c, d), depth = stack.pop()
        head = 0
        while a + head < b and c + head < d and one[a + head] == other[c + head]:
            head += 1
        tail = 0
        while b - tail > a + head and d - tail > c + head and one[b - tail - 1] == other[d - tail - 1]:
            tail += 1
        if head:
            yield a, a + head, c, c + head
        inner = a + head, b - tail, c + head, d - tail
        end: Block = (b - tail, b, d - tail, d)
        a, b, c, d = inner
        if tail:
            stack.append((end, DEEPEST))
        if a == b and c == d:
            continue
        if a == b or c == d:
            yield inner
        elif (b - a) * (d - c) <= SMALL:
            for _, i, j, k, m in difflib.SequenceMatcher(
                None, one[a:b], other[c:d], autojunk=False
            ).get_opcodes():
                yield a + i, a + j, c + k, c + m
        elif depth < DEEPEST and (anchors := _anchors(one[a:b], other[c:d])):
            places = [(a, c), *((a + i, c + j) for i, j in anchors), (b, d)]
            blocks = [(i, j, k, m) for (i, k), (j, m) in itertools.pairwise(places)]
            stack += [(block, depth + 1) for block in reversed(blocks)]
        else:
            yield from _in_step(one, other, (a, b, c, d))


def _in_step(one: Sequence[object], other: Sequence[object], block: Block) -> Iterator[Block]:
    """Blocks of a stretch in which nothing is unique: on in step, and where it differs to where it is next the same.

    Looked for are the next ALIKE pieces in a row, no farther than NEAR pieces off.
    """
    a, b, c, d = block
    while a < b and c < d:
        size = 0
        while a + size < b and c + size < d and one[a + size] == other[c + size]:
            size += 1
        if size:
            yield a, a + size, c, c + size
            a, c = a + size, c + size
            continue
        begin, start = a, c
        while a < b and c < d and one[a] != other[c]:
            there: dict[tuple[object, ...], int] = {}
            for j in range(min(c + NEAR, d - ALIKE) - 1, c - 1, -1):
                there[tuple(other[j : j + ALIKE])] = j
            ways = (
                (i - a + there[row] - c, i, there[row])
                for i in range(a, min(a + NEAR, b - ALIKE))
                if (row := tuple(one[i : i + ALIKE])) in there
            )
            nearest = min(ways, default=None)
            if nearest is not None:
                _, a, c = nearest
                break
            a, c = a + 1, c + 1
        yield from _even(begin, a, start, c)
    if a < b or c < d:
        yield a, b, c, d


def _even(a: int, b: int, c: int, d: int) -> Iterator[Block]:
    """A stretch that differs, as pairs where there are as many in both, and what one has more."""
    shared = min(b - a, d - c)
    if b - a == d - c or not shared:
        yield a, b, c, d
    else:
        yield a, a + shared, c, c + shared
        yield a + shared, b, c + shared, d


def _anchors(one: Sequence[object], other: Sequence[object]) -> list[tuple[int, int]]:
    """Pairs of places of what occurs once in each, rising in both: the longest such row."""
    times, others = Counter(one), Counter(other)
    where = {each: j for j, each in enumerate(other) if others[each] == 1}
    pairs = [(i, where[each]) for i, each in enumerate(one) if times[each] == 1 and each in where]
    ends: list[int] = []
    places: list[int] = []
    back: list[int] = []
    for index, (_, j) in enumerate(pairs):
        at = bisect_left(ends, j)
        back.append(places[at - 1] if at else -1)
        ends[at : at + 1] = [j]
        places[at : at + 1] = [index]
    row = []
    index = places[-1] if places else -1
    while index >= 0:
        row.append(pairs[index])
        index = back[index]
    return row[::-1]
