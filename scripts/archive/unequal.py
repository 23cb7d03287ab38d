"""Where two JSON values differ, every place of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from scripts.common.files import read_json
from scripts.records.base import FileRecord, current

RELATIVE = (
    1e-9  # another processor may round a figure's last digits otherwise; a file's bytes have their sha256
)
Unequal = Iterator[tuple[str, object, object]]


def unlike(path: Path, follows: FileRecord) -> Unequal:
    """Where a file, brought to the version of today, is not what follows; a key that no record has is a difference.

    What an older version does not say yet, and is brought to null, is not compared.
    """
    content = read_json(path)
    said = {**current(type(follows), content, str(path)), "version": follows.VERSION}
    return unequal(*_as_far_as_said(content, said, follows.as_file()))


def _as_far_as_said(content: object, said: object, follows: object) -> tuple[object, object]:
    """What is said and what follows without the keys that the file's `content` lacks and its upgrade set to null."""
    if isinstance(content, dict) and isinstance(said, dict) and isinstance(follows, dict):
        kept = [key for key in said if key in content or said[key] is not None]
        pairs = {key: _as_far_as_said(content.get(key), said[key], follows.get(key)) for key in kept}
        more = {key: value for key, value in follows.items() if key not in said}
        return {key: pair[0] for key, pair in pairs.items()}, {
            **{key: pair[1] for key, pair in pairs.items()},
            **more,
        }
    lists = [each for each in (content, said, follows) if isinstance(each, list)]
    if len(lists) == 3 and len({len(each) for each in lists}) == 1:
        both = [_as_far_as_said(*each) for each in zip(*lists, strict=True)]
        return [each[0] for each in both], [each[1] for each in both]
    return said, follows


def unequal(one: object, other: object, path: str = "") -> Unequal:
    """The key path and both values at each place where two JSON values differ; lists of unequal length as a whole.

    Two numbers of which one is no whole number are equal within a relative 1e-9.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from unequal(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from unequal(left, right, f"{path}[{index}]")
    elif not is_equal(one, other):
        yield path, one, other


def is_equal(one: object, other: object) -> bool:
    """Whether two values that are neither both objects nor both lists are equal."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        whole = isinstance(one, int) and isinstance(other, int)
        return one == other if whole else math.isclose(one, other, rel_tol=RELATIVE, abs_tol=1e-12)
    return one == other
