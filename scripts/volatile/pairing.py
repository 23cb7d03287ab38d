"""Which conversation of one log stands for which of the other, and which call for which call."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from scripts.volatile.conversation import Call, Conversation, Part, Prompt, Result, Said, text_of
from scripts.volatile.differ import Change, differences
from scripts.volatile.kinds import CONTENT, DURATION, IMAGE, NUMBER, ORDER, SIZE, SPACE, TIME, atoms, strip

MOST_NAMES, MOST_TIMES = 20_000, 1_000  # pairs of values that are remembered
_WORD = re.compile(r"[\w-]+")
_TIMES = frozenset({TIME, DURATION, SIZE})
_NO_VALUES = frozenset({NUMBER, CONTENT, ORDER, SPACE, IMAGE})


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call of a tool and what it returned; None where nothing came back.

    `turn`: of the model's answers that call tools, which one. `answered`: which of the conversation's results its
    result is, from 0. `said`: how many characters the model had said before it returned.
    """

    tool: str
    arguments: str
    content: tuple[Part, ...] | None
    turn: int
    answered: int
    said: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt in a conversation. `calls`: how many calls came before it. `said`: as in Exchange; 0: at the start."""

    prompt: Prompt
    calls: int
    said: int


@dataclass(frozen=True, slots=True)
class Side:
    """One run's conversation, taken apart for comparing. `said`: everything that the model said, in a row."""

    exchanges: tuple[Exchange, ...]
    prompts: tuple[Asked, ...]
    said: str


def take_apart(conversation: Conversation) -> Side:
    """The conversation's calls with their results; a result finds its call by its id, else the first that waits."""
    calls: list[tuple[str, str, int]] = []
    returned: dict[int, tuple[tuple[Part, ...], int, int]] = {}
    waiting: dict[int, str] = {}
    by_key: defaultdict[str, deque[int]] = defaultdict(deque)
    prompts: list[Asked] = []
    texts: list[str] = []
    said = turn = 0
    calling = False
    for item in conversation.items:
        if isinstance(item, Said | Call):
            text = item.text if isinstance(item, Said) else item.arguments
            texts.append(text + "\n")
            said += len(text) + 1
        if isinstance(item, Call):
            turn += not calling
            calling = True
            waiting[len(calls)] = item.key
            by_key[item.key].append(len(calls))
            calls.append((item.tool, item.arguments, turn))
        elif isinstance(item, Result):
            number = _answers(item.key, by_key, waiting)
            if number is None:
                number = len(calls)
                calls.append((item.tool or "unnamed tool", "", turn))
            waiting.pop(number, None)
            returned[number] = (item.content, len(returned), said)
        elif isinstance(item, Prompt):
            prompts.append(Asked(item, len(calls), said))
        if isinstance(item, Result | Prompt):
            calling = False
    exchanges = tuple(
        Exchange(tool, arguments, *_of(returned.get(number), turn))
        for number, (tool, arguments, turn) in enumerate(calls)
    )
    return Side(exchanges, tuple(prompts), "".join(texts))


def _answers(key: str, by_key: dict[str, deque[int]], waiting: dict[int, str]) -> int | None:
    """The call that a result with this key answers."""
    mine = by_key.get(key) if key else None
    while mine:
        if (number := mine.popleft()) in waiting:
            return number
    return next(iter(waiting), None)


def _of(
    returned: tuple[tuple[Part, ...], int, int] | None, turn: int
) -> tuple[tuple[Part, ...] | None, int, int, int]:
    content, answered, said = returned or (None, -1, 0)
    return content, turn, answered, said


# ---------------------------------------------------------------- conversations


def pair_conversations(
    first: Iterable[Conversation], second: Iterable[Conversation]
) -> tuple[list[tuple[Conversation, Conversation]], int]:
    """Conversations that were asked the same, in the order of the first; and how many have no counterpart.

    Most alike first: by task, prompts and first call; then by less and less of it, volatile pieces left out at the
    last. Where each log has one, they are one another's unless they have neither a prompt nor a tool in common.
    """
    mine, theirs = list(first), list(second)
    if len(mine) == len(theirs) == 1:
        related = _facts(mine[0]) & _facts(theirs[0])
        return ([(mine[0], theirs[0])], 0) if related else ([], 2)
    tasks = all(each.task for each in (*mine, *theirs))
    keys: list[Callable[[Conversation], object]] = [
        lambda each: (each.task if tasks else "", _asked(each), _first_call(each)),
        lambda each: (each.task if tasks else "", _asked(each)),
        lambda each: each.task or None,
        lambda each: (each.task if tasks else "", strip(_asked(each)), strip(_first_call(each))),
        lambda each: (each.task if tasks else "", strip(_asked(each))),
    ]
    pairs: dict[int, Conversation] = {}
    left, right = list(range(len(mine))), list(range(len(theirs)))
    for key in keys:
        places: defaultdict[object, deque[int]] = defaultdict(deque)
        for j in right:
            if (found := key(theirs[j])) is not None:
                places[found].append(j)
        taken = set()
        for i in left:
            if (found := key(mine[i])) is not None and places[found]:
                taken.add(j := places[found].popleft())
                pairs[i] = theirs[j]
        left, right = [i for i in left if i not in pairs], [j for j in right if j not in taken]
    return [(mine[i], pairs[i]) for i in sorted(pairs)], len(left) + len(right)


def _facts(conversation: Conversation) -> set[str]:
    """The prompts, but for volatile pieces, and the tools that are called."""
    prompts = {strip(text_of(item.content)) for item in conversation.items if isinstance(item, Prompt)}
    return prompts | {item.tool for item in conversation.items if isinstance(item, Call)}


def _asked(conversation: Conversation) -> str:
    """What the user asked at the start; what the harness put there where the user asked nothing."""
    start = []
    for item in conversation.items:
        if not isinstance(item, Prompt):
            break
        start.append(item)
    users = [item for item in start if item.role == "user"] or start
    return "\n".join(text_of(item.content) or "".join(part.text for part in item.content) for item in users)


def _first_call(conversation: Conversation) -> str:
    call = next((item for item in conversation.items if isinstance(item, Call)), None)
    return f"{call.tool} {call.arguments}" if call else ""


# ---------------------------------------------------------------- values that come again


class Known:
    """Pairs of values that were found to differ: where one comes again it is a consequence, no cause of its own.

    It is asked of values that differ alone: what is equal is equal, whatever was found before.
    """

    def __init__(self) -> None:
        self._mine: dict[str, str] = {}
        self._times: dict[str, str] = {}

    def learn(self, changes: Iterable[Change]) -> None:
        """Remember them, whole, and what names something also word by word; of too many the oldest are forgotten."""
        for change in changes:
            if change.kind in _TIMES:
                _remember(self._times, change.one, change.other, MOST_TIMES)
            elif change.kind not in _NO_VALUES:
                core = _core(change.one, change.other)
                for one, other in ((change.one, change.other), *_words(change.one, change.other), core):
                    if one != other and min(len(one), len(other)) >= 2:
                        _remember(self._mine, one, other, MOST_NAMES)

    def holds(self, one: str, other: str) -> bool:
        """Whether the other is the one but for such values."""
        if one == other or self._mine.get(other) == one or self._times.get(other) == one:
            return True
        mine, theirs = _core(one, other)
        if self._mine.get(theirs) == mine:
            return True
        words = _words(one, other)
        return bool(words) and all(mine == theirs or self._mine.get(theirs) == mine for mine, theirs in words)

    def explains(self, one: str, other: str) -> bool:
        """Whether two texts differ by such values alone."""
        return one == other or (
            bool(self._mine or self._times)
            and all(self.holds(each.one, each.other) for each in differences(one, other))
        )

    def translated(self, text: str) -> str:
        """The second run's text with the first run's values in place of its own."""
        if not self._mine:
            return text
        parts = (
            self._mine.get(atom.text) or _WORD.sub(lambda word: self._mine.get(word[0], word[0]), atom.text)
            for atom in atoms(text)
        )
        return "".join(parts)


def _remember(pairs: dict[str, str], one: str, other: str, most: int) -> None:
    pairs.pop(other, None)
    pairs[other] = one
    if len(pairs) > most:
        del pairs[next(iter(pairs))]


def _words(one: str, other: str) -> list[tuple[str, str]]:
    """The words of two values that are alike but for words; else none."""
    if _WORD.split(one) != _WORD.split(other):
        return []
    return list(zip(_WORD.findall(one), _WORD.findall(other), strict=True))


def _core(one: str, other: str) -> tuple[str, str]:
    """The two without the words that they begin and end with in common."""
    mine, theirs = (re.findall(r"[\w-]+|.", each, re.DOTALL) for each in (one, other))
    shortest = min(len(mine), len(theirs))
    head = next((i for i in range(shortest) if mine[i] != theirs[i]), shortest)
    tail = next((i for i in range(shortest - head) if mine[-1 - i] != theirs[-1 - i]), shortest - head)
    return "".join(mine[head : len(mine) - tail]), "".join(theirs[head : len(theirs) - tail])


# ---------------------------------------------------------------- calls


def shared_calls(one: Side, other: Side, known: Known) -> Iterator[tuple[int, Exchange, Exchange]]:
    """Equal calls from the start on, with their number; ends where the calls first differ.

    `known` may learn between two of them.
    """
    for number, (mine, theirs) in enumerate(zip(one.exchanges, other.exchanges, strict=False)):
        if mine.tool != theirs.tool or not known.explains(mine.arguments, theirs.arguments):
            return
        yield number, mine, theirs


def later_calls(
    one: Side, other: Side, shared: int, known: Known
) -> Iterator[tuple[int, Exchange, int, Exchange]]:
    """Calls after the parting that are made in both, the n-th of one kind with the n-th, with both numbers."""
    places: defaultdict[tuple[str, str], deque[int]] = defaultdict(deque)
    exact = Counter((each.tool, each.arguments) for each in one.exchanges[shared:])
    for number, each in enumerate(other.exchanges[shared:], start=shared):
        key = (each.tool, each.arguments)
        places[key if key in exact else (each.tool, known.translated(each.arguments))].append(number)
    for number, each in enumerate(one.exchanges[shared:], start=shared):
        if where := places.get((each.tool, each.arguments)):
            index = where.popleft()
            yield number, each, index, other.exchanges[index]
