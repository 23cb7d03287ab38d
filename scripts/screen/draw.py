"""The screen as lines of text. Pure: the same state gives the same lines."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Sequence

from rich.cells import get_character_cell_size

from scripts.screen.work import Left, Running

NARROW = ((" ", "\u10ff"), ("\u1e00", "\u22ff"), ("\u2500", "\u25fc"))


def render(
    title: str,
    steps: tuple[int, int] | None,
    left: Left,
    running: Sequence[Running],
    last: Sequence[str],
    begun: float,
    now: float,
    height: int,
) -> list[str]:
    """At most `height` lines: what is done, what runs, what is left, what was said last."""
    rows = [("so far", f"{duration(now - begun)}, begun at {clock(begun)}")]
    if steps is not None:
        rows.append(("jobs", f"{steps[0]} of {steps[1]} done"))
    if left.total:
        count = f"{left.done} of {left.total} done, {left.total - left.done} left"
        rows.append(("sessions", f"{count} (forced replays among them)"))
    names = ["now", *[""] * (len(running) - 1)]
    rows += zip(names, [each.text for each in running] or ["no session runs"], strict=True)
    if left.total and left.done >= left.total:
        rows.append(("left", "no session: what follows takes seconds"))
    elif left.seconds is not None:
        source = "as fast as so far" if left.measured else "by the grid's estimate"
        end = clock(now + left.seconds, now)
        rows.append(("left", f"about {duration(left.seconds)}, until {end} ({source})"))
    lines = [title, "", *(f"{name:<10}{text}" for name, text in rows)]
    room = height - len(lines) - 2
    if room > 0:
        lines += ["", *(f"  {text.strip()}" for text in last[-room:])]
    return [plain(line).rstrip() for line in lines[:height]]


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


def plain(line: str) -> str:
    """The line without what moves the cursor, and with a question mark for each letter that is not as wide everywhere.

    Which letters are wide, and which join the one before them, differs with the terminal's edition of Unicode.
    """
    letters = [each if each.isprintable() else " " for each in unicodedata.normalize("NFC", line)]
    return "".join(each if get_character_cell_size(each) == _most(each) else "?" for each in letters)


def _most(letter: str) -> int:
    return 1 if any(first <= letter <= last for first, last in NARROW) else 2
