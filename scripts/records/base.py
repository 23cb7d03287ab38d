"""What every record is: a frozen class that is read with checks and written canonically.

A file's record carries a `version`, which is written and never a field. A file without one is of version 0. An older
one is brought up to date by the record's `upgrade`; a newer one is refused, since what is new in it would be lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import msgspec

from scripts.common.errors import DataError
from scripts.common.files import canonical_json, read_json, write_json

Value = bool | int | float | str | list[Any] | dict[str, Any] | None
"""A JSON value that is somebody else's: an engine's argument as its owner writes it, what an engine answers."""
JsonObject = dict[str, Any]
"""An object of somebody else's: a request as a person wrote it, a message as a template takes it, a user's YAML."""


T = TypeVar("T")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a file. A field without a default is always written; `| None` says that null may stand there."""

    def as_json(self) -> dict[str, Any]:
        """The record as plain JSON values, keys as in the file."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class FileRecord(Record, frozen=True, kw_only=True):
    """A whole JSON file. Keys that are not known are left aside, so that a file may say more than is read."""

    VERSION: ClassVar[int] = 1
    REMEDY: ClassVar[str | None] = None  # how a file that is missing or torn is had again

    @classmethod
    def upgrade(cls, content: dict[str, Any], version: int) -> dict[str, Any]:
        """The content of an older file as this version has it; `version`: the file's."""
        return content

    @classmethod
    def parse(cls, content: object, where: str) -> Self:
        """The record of a file's JSON value; DataError with file, key and remedy where it is none."""
        return convert(cls, current(cls, content, where), where, cls.REMEDY)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The record in a file; DataError where it is missing, torn, of a newer version or lacks what it must have."""
        return cls.parse(load(path, cls.REMEDY), str(path))

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self.as_file())

    def as_file(self) -> dict[str, Any]:
        """The file's content: the record's keys and its version."""
        return {**self.as_json(), "version": self.VERSION}


class LineRecord(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of a JSON Lines file. Its keys are exactly these, since files of such lines are hashed."""

    REMEDY: ClassVar[str] = "run its session again: snakemake -R SESSION_JSON -- results/table.md"

    def line(self) -> str:
        """The record's line in canonical JSON, newline included; ValueError for NaN and infinities."""
        return canonical_json(msgspec.to_builtins(self)) + "\n"

    @classmethod
    def read_lines(cls, path: Path) -> Iterator[Self]:
        """The lines of a file, one at a time; DataError names file, line and key where it is missing, empty or torn."""
        decoder = _decoder(cls)
        try:
            stream = open(path, "rb")
        except FileNotFoundError as error:
            raise DataError("the file is missing", where=str(path), remedy=cls.REMEDY) from error
        with stream:
            number = 0
            for number, line in enumerate(stream, start=1):
                where = f"{path}:{number}"
                if not line.endswith(b"\n"):
                    raise DataError(
                        "the file is torn: its last line has no end", where=where, remedy=cls.REMEDY
                    )
                try:
                    yield decoder.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise DataError(
                        f"the line is no {cls.__name__} ({error})", where=where, remedy=cls.REMEDY
                    ) from error
            if number == 0:
                raise DataError("the file is empty", where=str(path), remedy=cls.REMEDY)


_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    return _decoders.setdefault(kind, msgspec.json.Decoder(kind))


def load(path: Path, remedy: str | None) -> object:
    """The JSON value in a file; DataError, with this remedy, where it is missing or torn."""
    try:
        return read_json(path)
    except DataError as error:
        raise DataError(error.what, where=error.where, remedy=error.remedy or remedy) from error


def current(file: type[FileRecord], content: object, where: str) -> dict[str, Any]:
    """A file's JSON object as this version of `file` has it; DataError where it is none, or of a newer version."""
    if not isinstance(content, dict):
        raise DataError("the file is not a JSON object", where=where, remedy=file.REMEDY)
    version = content.get("version", 0)
    if not isinstance(version, int) or isinstance(version, bool):
        raise DataError(f"it is {version!r}, not a number", where=f"{where}: version", remedy=file.REMEDY)
    if version > file.VERSION:
        raise DataError(
            f"the file is of version {version}, and versions up to {file.VERSION} are read here",
            where=where,
            remedy="read it with the tempzero that wrote it, or a newer one",
        )
    return file.upgrade(content, version) if version < file.VERSION else content


def convert(kind: type[T], content: object, where: str, remedy: str | None = None) -> T:
    """JSON values as a `kind`; DataError that names the key where they are none."""
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `")
        key = place.rstrip("`").removeprefix("$").removeprefix(".")
        raise DataError(what, where=f"{where}: {key}" if key else where, remedy=remedy) from error
