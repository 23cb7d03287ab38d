"""The order in which a sorted table has its rows: each value's rank in its column, settled before a page is opened."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from scripts.records.figures import Rate
from scripts.report.figures import DASH
from scripts.verdict.classes import ORDER

Key = tuple[float | str, ...]

_NUMBER = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
CLASSES = ("none observed", "logits-only", *reversed(ORDER))


def rank(keys: Sequence[Key | None]) -> list[int | None]:
    """Each key's place among the different keys, smallest first; None stays None and goes last, whichever way."""
    places = {key: place for place, key in enumerate(sorted({key for key in keys if key is not None}))}
    return [None if key is None else places[key] for key in keys]


def ranks_of(texts: Iterable[str]) -> list[int | None]:
    """The ranks of a column as it is read: by the first number where a text begins with one, else by its letters."""
    return rank([read_key(text) for text in texts])


def read_key(text: str) -> Key | None:
    """What a text is sorted by; None for one that says that there is nothing."""
    plain = text.strip("`*≤≥ ")
    if not plain or plain.startswith((DASH, "not run")):
        return None
    match = _NUMBER.match(plain)
    if match is None:
        return (1, 0.0, plain.casefold())
    return (0, float(match[0].replace(",", "")), plain.casefold())


def share_key(k: int | None, n: int) -> Key | None:
    """k/N: by the share, and of equal shares by N."""
    return None if k is None else (k / n, n)


def class_key(name: str) -> Key:
    """A cell's class: the graver the larger."""
    return (CLASSES.index(name) if name in CLASSES else len(CLASSES), name)


def flips_key(rate: Rate) -> Key | None:
    """Flips per 1,000 tokens: by the rate, and of equal rates by the upper end of the interval."""
    return None if rate.rate is None or rate.high is None else (rate.rate, rate.high)
