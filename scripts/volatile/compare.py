"""Two logs compared call by call: which prompt or tool result gave away state that the runs do not share.

Prompts and results of equal calls are compared as long as both runs made the same calls: whatever differs there is the
harness's. From the first call that differs on, a result may differ because the model did something else before. Then
only what no call can have changed is named, and of this nothing that the model itself had said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path

from scripts.common.errors import DataError
from scripts.volatile.conversation import PROMPT_IDS, Conversation, Log, Part, text_of
from scripts.volatile.differ import Change, common_prefix, differences
from scripts.volatile.forms import read_log
from scripts.volatile.kinds import CONTENT, IMAGE, ORDER, RANDOM
from scripts.volatile.pairing import (
    Asked,
    Exchange,
    Known,
    Side,
    later_calls,
    pair_conversations,
    shared_calls,
    take_apart,
)

PROMPTS = {"system": "system prompt", "user": "user prompt", "tools": "tool descriptions", "prompt": "prompt"}
_READS = re.compile(
    r"^(?:read|list|get|view|search|grep|glob|ls|open|find|fetch|look|show)"
    r"|\"(?:cat|ls|head|tail|grep|rg|find|pwd|wc|stat|date|ps|git (?:log|status|diff|show)|sha\d*sum|md5sum)\b"
    r"[^>;|&]*\"",
    re.IGNORECASE,
)
_READS_CONTENT = re.compile(
    r"^(?:read|view|open|get|fetch|show|grep|search|edit|str_replace)"
    r"|\"(?:cat|head|tail|grep|sed|awk|jq|less|rg|nl|tac|sort|cut)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Leak:
    """Volatile state in a tool's result or a prompt.

    `call`: which one of the conversation, from 1; of a prompt how many calls came before it. `tool`: or which prompt.
    `parted`: whether the runs had made different calls before it. `follows`: whether the same two values were found
    earlier in the conversation.
    """

    conversation: str
    call: int
    tool: str
    change: Change
    parted: bool
    arguments: str = ""
    follows: bool = False

    @property
    def is_prompt(self) -> bool:
        """Whether it is in a prompt, and `tool` says in which."""
        return not self.arguments and self.tool in PROMPTS.values()


@dataclass
class Tally:
    """What was compared so far, and what was not."""

    compared: int = 0
    uncompared: int = 0
    prompts: int = 0
    unpaired: int = 0
    notes: tuple[str, ...] = ()


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

    @property
    def kinds(self) -> Counter[tuple[str, str]]:
        """Places by tool and kind; a value that was found before is not counted again."""
        return Counter((leak.tool, leak.change.kind) for leak in self.leaks if not leak.follows)


def find_volatile(one: Path, other: Path) -> Found:
    """Compare the tool results of two transcripts; DataError where nothing can be compared."""
    tally = Tally()
    leaks = list(compare_files(one, other, tally))
    return Found(leaks, tally.compared, tally.uncompared)


def compare_files(one: Path, other: Path, tally: Tally) -> Iterator[Leak]:
    """The leaks one at a time; `tally` is whole once they have all been taken. DataError as in `find_volatile`."""
    first = read_log(one)
    second = read_log(other)
    tally.notes = tuple(
        f"{path}: {note}" for path, log in ((one, first), (other, second)) for note in log.notes
    )
    named = 0
    for leak in compare_logs(first, second, tally):
        named += 1
        yield leak
    if not tally.compared and not named:
        raise DataError(
            "the two have no conversation with tool results in common: nothing was compared "
            f"({_told(first)}; {_told(second)})",
            where=f"{one}, {other}",
            remedy="give two transcripts of the same workload",
        )


def compare_logs(one: Log, other: Log, tally: Tally) -> Iterator[Leak]:
    """The leaks of all conversations that both logs have."""
    pairs, tally.unpaired = pair_conversations(one.conversations, other.conversations)
    for mine, theirs in pairs:
        yield from compare_conversations(mine, theirs, tally)


def _told(log: Log) -> str:
    sides = [take_apart(each) for each in log.conversations]
    results = sum(each.content is not None for side in sides for each in side.exchanges)
    return f"{len(sides)} conversations with {results} results"


def compare_conversations(one: Conversation, other: Conversation, tally: Tally) -> Iterator[Leak]:
    """The leaks of one conversation: in its prompts, its results, and in their order."""
    mine, theirs = take_apart(one), take_apart(other)
    known = Known()
    prompts = _Prompts(one.name, mine, theirs)
    compared = shared = 0
    turn: list[tuple[int, Exchange, Exchange]] = []
    yield from prompts.up_to(0, known, tally)
    for number, left, right in shared_calls(mine, theirs, known):
        yield from prompts.up_to(number, known, tally)
        if turn and turn[-1][1].turn != left.turn:
            yield from _order(one.name, turn)
            turn = []
        turn.append((number, left, right))
        shared = number + 1
        if left.content is not None and right.content is not None:
            compared += 1
            changes = compare_contents(left.content, right.content)
            yield from _leaks(one.name, number, left, changes, known)
    yield from _order(one.name, turn)
    yield from prompts.up_to(shared, known, tally)
    later = _Later(mine, theirs, shared)
    for number, left, index, right in later_calls(mine, theirs, shared, known):
        if left.content is not None and right.content is not None:
            compared += 1
            changes = list(
                later.sure(compare_contents(left.content, right.content), number, left, index, right)
            )
            yield from _leaks(one.name, number, left, changes, known, parted=True)
    tally.compared += compared
    tally.uncompared += max(len(mine.exchanges), len(theirs.exchanges)) - compared


def _leaks(
    name: str, number: int, left: Exchange, changes: list[Change], known: Known, *, parted: bool = False
) -> Iterator[Leak]:
    for each in changes:
        follows = known.holds(each.one, each.other)
        yield Leak(name, number + 1, left.tool, each, parted, left.arguments, follows)
    known.learn(changes)


def compare_contents(one: tuple[Part, ...], other: tuple[Part, ...]) -> list[Change]:
    """The places in which two contents differ: in their texts, then in their images and other media."""
    if one == other:
        return []
    changes = differences(text_of(one), text_of(other))
    media = [[part for part in each if part.media] for each in (one, other)]
    for mine, theirs in zip_longest(*media):
        if mine != theirs:
            shown = ["none" if each is None else each.digest for each in (mine, theirs)]
            kind = CONTENT if (mine or theirs).media == PROMPT_IDS else IMAGE
            changes.append(Change(kind, shown[0], shown[1], 0))
    first, second = (
        ", ".join(key or "text" for key, _ in groupby(part.media for part in each)) for each in (one, other)
    )
    if not changes and first != second:
        changes.append(Change(ORDER, first, second, 0))
    return changes


def _order(name: str, turn: list[tuple[int, Exchange, Exchange]]) -> Iterator[Leak]:
    """A leak where the results of one turn's calls came in another order."""
    whole = [each for each in turn if each[1].content is not None and each[2].content is not None]
    first = sorted(whole, key=lambda each: each[1].answered)
    second = sorted(whole, key=lambda each: each[2].answered)
    for (number, mine, _), (_, theirs, _) in zip(first, second, strict=True):
        if mine is not theirs:
            one, other = (f"result of {each.tool} {each.arguments}" for each in (mine, theirs))
            yield Leak(name, number + 1, mine.tool, Change(ORDER, one, other, 0), False, mine.arguments)
            return


class _Prompts:
    """The prompts of two runs, compared as far as calls have been."""

    def __init__(self, name: str, one: Side, other: Side) -> None:
        self._name, self._agree = name, common_prefix(one.said, other.said)
        self._left = [self._by_role(side.prompts) for side in (one, other)]

    @staticmethod
    def _by_role(prompts: tuple[Asked, ...]) -> dict[str, list[Asked]]:
        ordered = sorted(prompts, key=lambda each: each.prompt.role)
        return {role: list(each)[::-1] for role, each in groupby(ordered, key=lambda each: each.prompt.role)}

    def up_to(self, calls: int, known: Known, tally: Tally) -> Iterator[Leak]:
        """The leaks of those prompts that came after no more calls than these."""
        for role in PROMPTS:
            mine, theirs = (side.get(role, []) for side in self._left)
            while (mine and mine[-1].calls <= calls) or (theirs and theirs[-1].calls <= calls):
                a = mine.pop() if mine and mine[-1].calls <= calls else None
                b = theirs.pop() if theirs and theirs[-1].calls <= calls else None
                said = max(each.said for each in (a, b) if each is not None)
                if (a is None or b is None) and said:
                    continue  # who asks again answers what the model said
                tally.prompts += 1
                changes = compare_contents(a.prompt.content if a else (), b.prompt.content if b else ())
                if said > self._agree:
                    changes = [each for each in changes if each.sure]
                for each in changes:
                    follows = known.holds(each.one, each.other)
                    yield Leak(self._name, calls, PROMPTS[role], each, said > self._agree, "", follows)
                known.learn(changes)


class _Later:
    """What may be named after two runs went separate ways."""

    def __init__(self, one: Side, other: Side, shared: int) -> None:
        self._sides = one, other
        self._said: dict[tuple[int, str], int] = {}
        self._touched = [self._words(side, shared) for side in (one, other)]

    @staticmethod
    def _words(side: Side, shared: int) -> dict[str, int]:
        """The words of calls that may have changed something, and the first call that has each."""
        found: dict[str, int] = {}
        for number, each in enumerate(side.exchanges[shared:], start=shared):
            if not _READS.search(each.tool) and not _READS.search(each.arguments):
                for word in _argument_words(each.arguments):
                    found.setdefault(word, number)
        return found

    def sure(
        self, changes: list[Change], number: int, left: Exchange, index: int, right: Exchange
    ) -> Iterator[Change]:
        """The changes that no call can have made: sure kinds, and orderings or hashes where all else is the same."""
        if _READS_CONTENT.search(f"{left.tool} {left.arguments}") and self._changed(left, number, index):
            return  # what stands in a file that a call may have written
        only = {kind: all(each.sure or each.kind == kind for each in changes) for kind in (ORDER, RANDOM)}
        for each in changes:
            if not each.sure and (not only.get(each.kind, False) or self._changed(left, number, index)):
                continue
            if not self._was_said(0, each.one, left.said) and not self._was_said(1, each.other, right.said):
                yield each

    def _changed(self, exchange: Exchange, number: int, index: int) -> bool:
        """Whether a call before it, since the parting, named something that this one names."""
        words = _argument_words(exchange.arguments)
        return any(
            touched.get(word, at) < at
            for touched, at in zip(self._touched, (number, index), strict=True)
            for word in words
        )

    def _was_said(self, side: int, text: str, before: int) -> bool:
        """Whether the model had said that text by then."""
        if (side, text) not in self._said:
            self._said[side, text] = self._sides[side].said.find(text.strip())
        return 0 <= self._said[side, text] < before


def _argument_words(arguments: str) -> set[str]:
    return set(re.findall(r"[\w.-]{3,}", re.sub(r"\"\w+\":", " ", arguments)))
