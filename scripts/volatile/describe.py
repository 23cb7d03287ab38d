"""Volatile state in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from scripts.volatile.compare import Found, Leak

WIDEST = 60


def describe_found(found: Found, *, every: bool = False) -> Iterator[str]:
    """A line for the first place of each tool and kind (or for `every` place), then a line that sums up."""
    counts = Counter((leak.tool, leak.change.kind) for leak in found.leaks)
    told: set[tuple[str, str]] = set()
    for leak in found.leaks:
        key = leak.tool, leak.change.kind
        if every or key not in told:
            more = counts[key] - 1
            yield describe_leak(leak) + (
                "" if every or not more else f"; {_count(more, 'more place')} of this kind"
            )
        told.add(key)
    tools = sorted({leak.tool for leak in found.leaks})
    rest = f", {_count(found.uncompared, 'call')} made in one of them alone" if found.uncompared else ""
    yield (
        f"{_count(found.compared, 'tool result')} of equal calls compared{rest}: "
        + (
            f"{_count(len(found.leaks), 'place')} volatile, by {', '.join(tools)}"
            if tools
            else "nothing volatile found"
        )
    )


def describe_leak(leak: Leak) -> str:
    """One leak: where, which tool, of what kind, and the two values."""
    after = ", after the runs had parted" if leak.parted else ""
    return (
        f"{leak.conversation}, call {leak.call}, {leak.tool}: {leak.change.kind} at byte {leak.change.byte}{after}: "
        f"{quoted(leak.change.one)} and {quoted(leak.change.other)}"
    )


def quoted(text: str) -> str:
    """The text in quotes, control characters escaped, its middle left out where it is long."""
    if len(text) > WIDEST:
        text = f"{text[: WIDEST // 2]}…{text[-WIDEST // 2 + 1 :]}"
    return json.dumps(text, ensure_ascii=False)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
