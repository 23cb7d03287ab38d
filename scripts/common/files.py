"""Canonical JSON, hashes, and files that are either whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from scripts.common.errors import DataError


def canonical_json(value: Any) -> str:
    """`value` as canonical JSON: keys sorted, separators `,` and `:`, UTF-8 text, no newline.

    A float is the shortest text that reads back to the same double. NaN and infinities are
    refused (ValueError): JSON has no text for them.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_bytes(data: bytes) -> str:
    """The sha256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes in hexadecimal; a missing file is a DataError."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise DataError("the file is missing", where=str(path)) from error


def unpack_tar(packed: tarfile.TarFile, folder: Path) -> None:
    """Unpack it into `folder`; a tarfile.TarError where a name or a link leads out of that.

    Python can tell so itself from 3.11.4 on. With an older one (Debian 12 has 3.11.2) it must be plain files, folders
    and hard links.
    """
    if hasattr(tarfile, "data_filter"):
        packed.extractall(folder, filter="data")
        return
    for entry in packed.getmembers():
        leads_out = any(
            name.startswith("/") or ".." in PurePath(name).parts for name in (entry.name, entry.linkname)
        )
        if leads_out or not (entry.isfile() or entry.isdir() or entry.islnk()):
            raise tarfile.ExtractError(f"{entry.name!r} leads out of the folder, or is no file")
    packed.extractall(folder)  # noqa: S202  # every member was looked at


def write_whole(path: Path, data: bytes | str) -> None:
    """Write `path` so that it is whole or, on any failure, what it was before.

    The bytes go to a file aside in the same folder, are flushed to disk and renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


@contextmanager
def written_aside(folder: Path, part: str = "") -> Iterator[Path]:
    """An empty folder aside, `.NAME.partial`, that takes the place of `folder` once all is written into it.

    `part`: the folder in it that does so alone, where there is more to be written beside it. On any failure nothing
    of it is left and `folder` is what it was; what a killed run left is begun anew.
    """
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / part).mkdir(parents=True)
    try:
        yield aside
        shutil.rmtree(folder, ignore_errors=True)
        (aside / part).rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, keys sorted, two spaces, a newline at the end; whole or not at all."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, text + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file; a missing or torn file is a DataError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError("the file is missing", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"the file is torn or not JSON ({error})", where=str(path)) from error
