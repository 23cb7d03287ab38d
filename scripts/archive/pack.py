"""The zip itself: the same files give the same bytes, and no byte of it can change unnoticed.

Entries are sorted and carry no time, owner or extra field. The zip's comment, its very last bytes, is the sha256 of
every byte before it: so a change in a header, in the directory or in the unused bits of a compressed stream is found
too, which the sha256 of the files cannot see. It is a checksum, no signature: who changes a byte on purpose can write
the comment anew, hence what is in the files is judged again as well.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from scripts.common.errors import DataError

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can name
PREFIX = b"sha256:"
COMMENT_BYTES = len(PREFIX) + 64
CHUNK = 2**20


def write_zip(path: Path, root: Path, files: Mapping[str, str]) -> None:
    """Write the files of `root` (path from there: its sha256) as a zip; whole or not at all.

    DataError where a file is not what its sha256 says: it was changed while the archive was made.
    """
    aside = path.with_name(f".{path.name}.partial")
    try:
        with zipfile.ZipFile(aside, "w") as packed:
            packed.comment = PREFIX + bytes(64)
            for name in sorted(files):
                if _add(packed, name, root / name) != files[name]:
                    raise DataError("the file was changed while it was packed", where=str(root / name))
        with open(aside, "r+b") as stream:
            digest = _digest(stream, aside.stat().st_size - COMMENT_BYTES)
            stream.write(PREFIX + digest.encode())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def check_bytes(path: Path) -> list[str]:
    """What is wrong with the zip's bytes as such, in one sentence; nothing where its comment bears them out."""
    size = path.stat().st_size
    if size < COMMENT_BYTES:
        return [f"{size} bytes are no archive"]
    with open(path, "rb") as stream:
        digest = _digest(stream, size - COMMENT_BYTES)
        said = stream.read()
    if said == PREFIX + digest.encode():
        return []
    if not said.startswith(PREFIX):
        return [
            "it does not end with the sha256 of its bytes: its end was changed or cut, or it was packed anew"
        ]
    return [
        f"its bytes were changed: their sha256 is {digest[:12]}…, its last line says {_text(said)[7:19]}…"
    ]


def unpack(path: Path, folder: Path) -> tuple[dict[str, str], list[str]]:
    """Unpack into `folder` what can be read: the sha256 of each file by name, and what is wrong, a sentence each."""
    found: dict[str, str] = {}
    wrong: list[str] = []
    try:
        packed = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return {}, [f"it cannot be opened as a zip ({error})"]
    with packed:
        entries = packed.infolist()
        names = [entry.filename for entry in entries]
        if names != sorted(set(names)):
            wrong.append("its entries are not sorted, or one is there twice")
        for entry in entries:
            if not _is_plain(entry):
                wrong.append(
                    f"{entry.filename}: its header is not as it is written here (time, rights, extra field)"
                )
            if not _is_safe(entry.filename) or entry.filename in found:
                wrong.append(f"{entry.filename!r}: a name that no archive has")
                continue
            try:
                found[entry.filename] = _extract(packed, entry, folder / entry.filename)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
                (folder / entry.filename).unlink(missing_ok=True)
                wrong.append(f"{entry.filename}: it cannot be unpacked ({' '.join(str(error).split())})")
    return found, wrong


def _add(packed: zipfile.ZipFile, name: str, source: Path) -> str:
    entry = _entry(name)
    entry.file_size = source.stat().st_size  # so that zipfile knows whether sizes need 64 bits
    with open(source, "rb") as stream, packed.open(entry, "w") as target:
        return _copy(stream, target)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # Unix, wherever it is written
    entry.external_attr = 0o100644 << 16
    return entry


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry's header says nothing but what each says that is written here."""
    names = ("date_time", "compress_type", "create_system", "external_attr", "internal_attr", "comment")
    usual = _entry(entry.filename)
    large = max(entry.file_size, entry.compress_size, entry.header_offset) >= zipfile.ZIP64_LIMIT
    extra = b"" if large else entry.extra  # sizes beyond 4 GiB stand in an extra field
    return not extra and all(getattr(entry, name) == getattr(usual, name) for name in names)


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _extract(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    with packed.open(entry) as stream, open(target, "wb") as out:
        return _copy(stream, out)


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def _digest(stream: IO[bytes], count: int) -> str:
    """The sha256 of the next `count` bytes."""
    digest = hashlib.sha256()
    while count and (chunk := stream.read(min(CHUNK, count))):
        digest.update(chunk)
        count -= len(chunk)
    return digest.hexdigest()


def _text(comment: bytes) -> str:
    return comment.decode("ascii", errors="replace")
