"""Hashes of large files, computed once and not again while size and modification time stand.

A terabyte takes an hour to hash: the result is kept in the hidden file `.hashes.json` beside the weights. Files below
1 GB are always hashed. TEMPZERO_REHASH=1 hashes everything again.
"""

from __future__ import annotations

import os
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
    file = folder / path
    try:
        status = file.stat()
    except FileNotFoundError as error:
        raise DataError("the file is missing", where=str(file)) from error
    if status.st_size < large:
        return sha256_file(file)
    stamp = (status.st_size, status.st_mtime_ns)
    known = _read(folder).get(path)
    if known is not None and not os.environ.get(VARIABLE) and (known.size, known.mtime_ns) == stamp:
        return known.sha256
    found = Hashed(size=stamp[0], mtime_ns=stamp[1], sha256=sha256_file(file))
    all_known = _read(folder) | {path: found}
    write_json(folder / CACHE, {name: each.as_json() for name, each in all_known.items()})
    return found.sha256


def _read(folder: Path) -> dict[str, Hashed]:
    try:
        return convert(dict[str, Hashed], read_json(folder / CACHE), CACHE)
    except DataError:
        return {}
