"""The screen as lines of text. Pure: the same state gives the same lines."""

from __future__ import annotations

import time
from collections.abc import Sequence

from scripts.screen.work import Left, Running

NARROW = ((" ", "\u10ff"), ("\u1e00", "\u22ff"), ("\u2500", "\u25fc"))


def render(
    *,
    title: str,
    steps: tuple[int, int] | None,
    left: Left,
    running: Sequence[Running],
    last: Sequence[str],
    begun: float,
    now: float,
    size: tuple[int, int],
) -> list[str]:
    """At most `size` (columns, lines) of text: what is done, what runs, what is left, what was said last."""
    lines = [title, "", f"{'so far':<10}{duration(now - begun)}, begun at {clock(begun)}"]
    if steps is not None:
        lines.append(f"{'jobs':<10}{steps[0]} of {steps[1]} done")
    if left.total:
        count = f"{left.done} of {left.total} done, {left.total - left.done} left"
        lines.append(f"{'sessions':<10}{count} (forced replays among them)")
    lines.append(f"{'now':<10}{running[0].text if running else 'no session runs'}")
    lines += [f"{'':<10}{each.text}" for each in running[1:]]
    if left.total and left.done >= left.total:
        lines.append(f"{'left':<10}no session: what follows takes seconds")
    elif left.seconds is not None:
        source = "as fast as so far" if left.measured else "by the grid's estimate"
        lines.append(
            f"{'left':<10}about {duration(left.seconds)}, until {clock(now + left.seconds, now)} ({source})"
        )
    room = size[1] - len(lines) - 2
    if room > 0:
        lines += ["", *(f"  {text.strip()}" for text in last[-room:])]
    return [_cut(line, size[0]) for line in lines[: size[1]]]


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    days, hours = whole // 86400, whole % 86400 // 3600
    return (f"{days} d " if days else "") + f"{hours} h {whole % 3600 // 60:02d} min"


def clock(moment: float, today: float | None = None) -> str:
    """The time of day, with the date where it is not the day of `today`."""
    local = time.localtime(moment)
    other_day = today is not None and local[:3] != time.localtime(today)[:3]
    return time.strftime("%a %d %b %H:%M" if other_day else "%H:%M:%S", local)


def width(letter: str) -> int:
    """The most columns that any terminal gives a printable letter.

    Which letters are wide, and which join the one before them, differs with the terminal's edition of Unicode: all
    count as wide that were not narrow in each.
    """
    return 1 if any(first <= letter <= last for first, last in NARROW) else 2


def _cut(line: str, columns: int) -> str:
    """As much of the line as has room, without anything that moves the cursor."""
    plain = "".join(letter if letter.isprintable() else " " for letter in line)
    if sum(map(width, plain)) <= columns:
        return plain
    room, kept = columns - 1, 0
    for letter in plain:
        room -= width(letter)
        if room < 0:
            break
        kept += 1
    return f"{plain[:kept]}…" if columns > 0 else ""
