"""k of k/N: how many replays agree, by the sha256 of their files."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def groups(hashes: Sequence[Hashable]) -> list[list[int]]:
    """Indices of equal hashes, groups in the order of their first member."""
    found: dict[Hashable, list[int]] = {}
    for index, value in enumerate(hashes):
        found.setdefault(value, []).append(index)
    return list(found.values())


def largest_group(hashes: Sequence[Hashable]) -> list[int]:
    """Indices of the largest group of equal hashes; where several are, the one that begins first."""
    return max(groups(hashes), key=len)


def identical(hashes: Sequence[Hashable]) -> int:
    """k: the size of the largest group; 0 where there are two or more and no two agree."""
    size = len(largest_group(hashes))
    return 0 if size == 1 and len(hashes) >= 2 else size
