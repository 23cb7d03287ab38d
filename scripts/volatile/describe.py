"""Volatile state in words, and as JSON for scripts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.common.words import count
from scripts.volatile.compare import Found, Leak, Tally, compare_logs
from scripts.volatile.forms import read_log
from scripts.volatile.remedies import remedy_of

WIDEST = 60


@dataclass
class Cause:
    """What one change to the harness would mend: the first place, and how many there are."""

    first: Leak
    remedy: str
    places: int = 0


class Causes:
    """The causes of leaks, earliest first: of one tool, one kind, and one remedy."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Cause] = {}

    def add(self, leak: Leak) -> None:
        """Count a leak."""
        remedy = remedy_of(leak.change.kind, leak.arguments, prompt=leak.is_prompt)
        self._found.setdefault((leak.tool, leak.change.kind, remedy), Cause(leak, remedy)).places += 1

    def __iter__(self) -> Iterator[Cause]:
        return iter(self._found.values())


def describe_causes(causes: Iterable[Cause]) -> Iterator[str]:
    """Each cause once: its first place, what was called, the line, and what to change."""
    for cause in causes:
        more = f"; {count(cause.places - 1, 'more place')} of this cause" if cause.places > 1 else ""
        yield describe_leak(cause.first) + more
        yield from describe_call(cause.first)
        yield f"    change:  {cause.remedy}"


def describe_leak(leak: Leak) -> str:
    """One leak: where, which tool, of what kind, and the two values."""
    after = ", after the runs had parted" if leak.parted else ""
    where = f"call {leak.call}, {leak.tool}" if not leak.is_prompt else leak.tool
    where += f" after call {leak.call}" if leak.is_prompt and leak.call else ""
    return _printable(
        f"{leak.conversation}, {where}: {leak.change.kind} at byte {leak.change.byte}{after}: "
        f"{quoted(leak.change.one)} and {quoted(leak.change.other)}" + (", as before" if leak.follows else "")
    )


def describe_call(leak: Leak) -> Iterator[str]:
    """What was called, and the line with the piece marked."""
    if leak.arguments:
        yield f"    called:  {_escaped(_shortened(leak.arguments, 2 * WIDEST))}"
    change = leak.change
    if change.before or change.after:
        before, after = change.before.split("\n")[-1], change.after.split("\n")[0]
        yield f"    line:    {_escaped(before)}⟦{_escaped(_shortened(change.one, WIDEST))}⟧{_escaped(after)}"


def describe_tally(leaks: Counter[str], tally: Tally) -> Iterator[str]:
    """What was compared, what was not, and what came of it; `leaks`: places by tool or prompt."""
    for note in tally.notes:
        yield f"note: {note}"
    if tally.unpaired:
        yield f"note: {count(tally.unpaired, 'conversation')} in one of them alone: not compared"
    rest = (
        f", {count(tally.uncompared, 'call')} made in one of them alone or without a result"
        if tally.uncompared
        else ""
    )
    yield f"{count(tally.compared, 'tool result')} of equal calls compared{rest}: " + (
        f"{count(sum(leaks.values()), 'place')} volatile, by {', '.join(sorted(leaks))}"
        if leaks
        else "nothing volatile found"
    )


def as_json(leak: Leak) -> str:
    """The leak as a JSON object, on one line."""
    record = {
        "conversation": leak.conversation,
        "call": leak.call,
        "tool": leak.tool,
        "arguments": leak.arguments,
        "kind": leak.change.kind,
        "at": leak.change.byte,
        "a": leak.change.one,
        "b": leak.change.other,
        "certain": not leak.parted,
    }
    return json.dumps(record)


def name_kinds(found: Iterable[Found]) -> str:
    """Which tools gave what away, and how often: "`bash` port 1; `list_files` time 2"; empty for nothing."""
    kinds = sum((each.kinds for each in found), Counter[tuple[str, str]]())
    return "; ".join(f"`{tool}` {kind} {number:,}" for (tool, kind), number in sorted(kinds.items()))


def name_volatile(pairs: Iterable[tuple[Path, Path]]) -> str:
    """What parts a cell's replays, by tool and kind, from pairs of their transcripts: as `name_kinds` writes it.

    "other ids in a prompt" where no prompt at a start and no tool result differs. DataError for a file that is torn.
    """
    leaks = [leak for one, other in pairs for leak in compare_logs(read_log(one), read_log(other), Tally())]
    return name_kinds([Found(leaks, 0, 0)]) or "other ids in a prompt"


def quoted(text: str) -> str:
    """The text in quotes, control characters escaped, its middle left out where it is long."""
    return _printable(json.dumps(_shortened(text, WIDEST), ensure_ascii=False))


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width // 2]}…{text[-width // 2 + 1 :]}"


def _escaped(text: str) -> str:
    return _printable(json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("\\\\", "\\"))


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
