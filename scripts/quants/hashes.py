"""Hashes of large files, computed once and not again while size and modification time stand.

A terabyte takes an hour to hash: the result is kept in the hidden file `.hashes.json` beside the weights. Files below
1 GB are always hashed. TEMPZERO_REHASH=1 hashes everything again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from scripts.common.errors import DataError
from scripts.common.files import read_json, sha256_file, write_json

CACHE = ".hashes.json"
LARGE = 10**9
VARIABLE = "TEMPZERO_REHASH"


def cached_sha256(folder: Path, path: str, *, large: int = LARGE) -> str:
    """The sha256 of the file `path` in `folder`; of a large one from the cache, where that still fits the file."""
    file = folder / path
    try:
        status = file.stat()
    except FileNotFoundError as error:
        raise DataError("the file is missing", where=str(file)) from error
    if status.st_size < large:
        return sha256_file(file)
    known = _read(folder)
    stamp = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    entry = known.get(path)
    if entry is not None and not os.environ.get(VARIABLE) and {key: entry.get(key) for key in stamp} == stamp:
        return str(entry["sha256"])
    digest = sha256_file(file)
    write_json(folder / CACHE, {**_read(folder), path: {**stamp, "sha256": digest}})
    return digest


def _read(folder: Path) -> dict[str, Any]:
    try:
        value = read_json(folder / CACHE)
    except DataError:
        return {}
    return value if isinstance(value, dict) else {}
