"""The JSON values in a log file: one document, several, JSON Lines, compressed, or inspect's zip of samples."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.common.errors import DataError

READABLE = (
    "give a replay's transcript.jsonl, or what an agent or a proxy logged: JSON or JSON Lines of chat messages, events "
    "or requests, plain, gzipped, or an .eval file of inspect"
)
_SPACE = re.compile(r"[\s\x1e]*")
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")


@dataclass
class Source:
    """A file's values, one at a time. `notes`: what could not be read of it, once it has been read to its end."""

    path: Path
    notes: list[str] = field(default_factory=list)

    def values(self) -> Iterator[Any]:
        """The JSON values in their order; DataError for a file that is missing, empty or no JSON.

        A document or line that breaks off at the very end of the file is noted and left out.
        """
        try:
            held = [self.path.read_bytes()]
        except OSError as error:
            raise DataError(f"the file cannot be read ({error.strerror})", where=str(self.path)) from error
        if held[0].startswith(b"PK\x03\x04"):
            held.clear()
            yield from self._members()
            return
        if held[0].startswith(b"\x1f\x8b"):
            held.append(self._unzipped(held.pop()))
        if not held[0].strip():
            raise DataError("the file is empty", where=str(self.path), remedy=READABLE)
        yield from self._parsed(held, str(self.path))

    def _unzipped(self, raw: bytes) -> bytes:
        parts = []
        try:
            while raw:
                inflate = zlib.decompressobj(31)
                parts.append(inflate.decompress(raw))
                raw = inflate.unused_data
                if not inflate.eof:
                    self.notes.append("the gzipped file is torn; what there is of it was read")
                    break
        except zlib.error as error:
            raise DataError(f"the gzipped file cannot be unpacked ({error})", where=str(self.path)) from error
        return b"".join(parts)

    def _members(self) -> Iterator[Any]:
        """The samples of inspect's log, else every JSON file of the zip."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = [name for name in archive.namelist() if name.endswith((".json", ".jsonl"))]
                samples = [name for name in names if re.search(r"(?:^|/)samples/[^/]+\.json$", name)]
                for name in samples or names:
                    yield from self._parsed([archive.read(name)], f"{self.path}/{name}")
        except NotImplementedError as error:
            raise DataError(
                f"the zip uses a compression that Python's zipfile cannot read ({error})",
                where=str(self.path),
                remedy="convert it: inspect log dump LOG.eval > log.json",
            ) from error
        except (zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"the zip is torn ({error})", where=str(self.path), remedy=READABLE) from error

    def _parsed(self, held: list[bytes], where: str) -> Iterator[Any]:
        """The values in the one text of `held`, which is taken out of it: who keeps it keeps its memory."""
        held.append(held.pop().removeprefix(b"\xef\xbb\xbf"))
        end = held[0].find(b"\n")
        lines = end >= 0 and bool(held[0][end : end + 4096].strip() or held[0][end:].strip())
        if lines:
            try:
                json.loads(held[0][:end])
            except (ValueError, RecursionError):
                lines = False
        yield from self._lines(held.pop(), where) if lines else self._documents(held, where)

    def _lines(self, raw: bytes, where: str) -> Iterator[Any]:
        """A value a line, decoded a line at a time: a long file of small lines takes no more than its bytes."""
        begin, number, length = 0, 0, len(raw.rstrip())
        while begin < length:
            end = raw.find(b"\n", begin)
            end = len(raw) if end < 0 else end
            line, number = raw[begin:end], number + 1
            last, begin = end >= length, end + 1
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                if not last:
                    raise _no_json(error, f"{where}:{number}") from error
                self.notes.append(f"line {number}, the last, is torn and was not read")

    def _documents(self, held: list[bytes], where: str) -> Iterator[Any]:
        """Values one after the other, over any number of lines."""
        raw = held.pop()
        many = (
            _NOT_ASCII.search(raw) is not None and len(raw.translate(None, bytes(range(128)))) < len(raw) / 5
        )
        if many:
            # One character beyond Latin would make the whole text two or four times as wide.
            try:
                raw = _NOT_ASCII.sub(lambda run: json.dumps(run.group().decode())[1:-1].encode(), raw)
            except UnicodeDecodeError as error:
                raise DataError("the file is not UTF-8 text", where=where, remedy=READABLE) from error
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise DataError("the file is not UTF-8 text", where=where, remedy=READABLE) from error
        del raw
        decoder, at, found = json.JSONDecoder(), _SPACE.match(text).end(), False  # type: ignore[union-attr]
        while at < len(text):
            try:
                value, at = decoder.raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                if not found or "\n" in text[at:].strip():
                    raise _no_json(error, f"{where}:{text.count(chr(10), 0, at) + 1}") from error
                self.notes.append("the last line is torn and was not read")
                return
            at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
            if at >= len(text):
                del text
                yield value
                return
            yield value
            found = True


def _no_json(error: Exception, where: str) -> DataError:
    if isinstance(error, UnicodeDecodeError):
        return DataError("the file is not UTF-8 text", where=where, remedy=READABLE)
    message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return DataError(f"this is not JSON ({message})", where=where, remedy=READABLE)
