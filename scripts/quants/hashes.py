"""Hashes of large files, computed once and not again while size and modification time stand.

A terabyte takes an hour to hash: the result is kept in the hidden file `.hashes.json` beside the weights. Files below
1 GB are always hashed. TEMPZERO_REHASH=1 hashes everything again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.common.errors import DataError
from scripts.common.files import read_json, sha256_file, write_json
from scripts.records.base import Record, convert

CACHE = ".hashes.json"
LARGE = 10**9
VARIABLE = "TEMPZERO_REHASH"


class Hashed(Record, frozen=True, kw_only=True):
    """A file's sha256, and its size and modification time when it was taken."""

    size: int
    mtime_ns: int
    sha256: str


def cached_sha256(folder: Path, path: str, *, large: int = LARGE) -> str:
    """The sha256 of the file `path` in `folder`; of a large one from the cache, where that still fits the file."""
    return cached_sha256s(folder, [path], large=large)[path]


def cached_sha256s(folder: Path, paths: Iterable[str], *, large: int = LARGE) -> dict[str, str]:
    """The sha256 of each of the files `paths` in `folder`, a core a file; DataError where one is missing."""
    known = _read(folder)

    def compute(path: str) -> tuple[str, Hashed]:
        try:
            status = (folder / path).stat()
        except FileNotFoundError as error:
            raise DataError("the file is missing", where=str(folder / path)) from error
        stamp = (status.st_size, status.st_mtime_ns)
        cached = known.get(path)
        if (
            status.st_size >= large
            and cached is not None
            and not os.environ.get(VARIABLE)
            and (cached.size, cached.mtime_ns) == stamp
        ):
            return path, cached
        return path, Hashed(size=stamp[0], mtime_ns=stamp[1], sha256=sha256_file(folder / path))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(pool.map(compute, paths))
    new = {path: each for path, each in found.items() if each.size >= large and each != known.get(path)}
    if new:
        kept = _read(folder) | new
        write_json(folder / CACHE, {name: each.as_json() for name, each in kept.items()})
    return {path: each.sha256 for path, each in found.items()}


def _read(folder: Path) -> dict[str, Hashed]:
    try:
        return convert(dict[str, Hashed], read_json(folder / CACHE), CACHE)
    except DataError:
        return {}
