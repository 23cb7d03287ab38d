"""The agent's tools: a closed list over one flat workspace folder.

No shell, no folder within, no path out of it, no link followed, sizes bounded. Whatever the model does
wrong it gets back as a text that it can act on. The baseline's results carry no volatile state; the
listing `ls` puts it back on purpose.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.records.base import Value
from scripts.records.settings import Listing
from scripts.workload.toolcalls import ParsedCall

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}\Z")
_GIVEN_TIME = 1_704_187_800_000_000_000  # given files are old: only what the model writes is new


@dataclass(frozen=True)
class Tool:
    """A tool as the model is told of it: its parameters by name, each with a description."""

    name: str
    description: str
    parameters: Mapping[str, str]

    def schema(self) -> dict[str, Value]:
        """The tool in the JSON form that chat templates take."""
        properties = {key: {"type": "string", "description": text} for key, text in self.parameters.items()}
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": {"type": "object", "properties": properties, "required": list(self.parameters)},
            },
        }


TOOLS: tuple[Tool, ...] = (
    Tool("list_files", "List the files of the workspace.", {}),
    Tool("read_file", "Read a file of the workspace.", {"path": "name of the file"}),
    Tool("write_file", "Write a file of your own.", {"path": "name of the file", "content": "its text"}),
    Tool("answer", "Answer the question.", {"question": "its number", "value": "the answer"}),
)


@dataclass(frozen=True)
class Limits:
    """Bounds of a workspace: bytes of one file, number of files."""

    file_bytes: int = 65_536
    files: int = 16


@dataclass(frozen=True)
class Entry:
    """What a listing says of one file or folder."""

    name: str
    mode: int
    links: int
    user: str
    group: str
    size: int
    blocks: int
    mtime_ns: int


def format_names(entries: Sequence[Entry]) -> str:
    """The baseline's listing: one `NAME SIZE` a line, sorted by name, nothing volatile."""
    return "\n".join(f"{entry.name} {entry.size}" for entry in sorted(entries, key=lambda e: e.name))


def format_ls(entries: Sequence[Entry]) -> str:
    """What `ls -la --time-style=full-iso` prints of the same files in the C locale, times and all.

    `entries` are `.`, `..` and the files; `blocks` are of 512 bytes, the total is in KiB.
    """
    ordered = sorted(entries, key=lambda entry: entry.name)
    columns = [
        (
            stat.filemode(entry.mode),
            str(entry.links),
            entry.user,
            entry.group,
            str(entry.size),
            _full_iso(entry.mtime_ns),
            entry.name,
        )
        for entry in ordered
    ]
    links, users, groups, sizes = (max(len(row[i]) for row in columns) for i in (1, 2, 3, 4))
    lines = [f"total {sum(entry.blocks for entry in entries) // 2}"]
    lines += [
        f"{mode} {n:>{links}} {user:<{users}} {group:<{groups}} {size:>{sizes}} {mtime} {name}"
        for mode, n, user, group, size, mtime, name in columns
    ]
    return "\n".join(lines)


def _full_iso(mtime_ns: int) -> str:
    seconds, nanoseconds = divmod(mtime_ns, 1_000_000_000)
    local = time.localtime(seconds)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', local)}.{nanoseconds:09d} {time.strftime('%z', local)}"


def _owner(number: int, kind: str) -> str:
    try:
        import grp
        import pwd

        return pwd.getpwuid(number).pw_name if kind == "user" else grp.getgrgid(number).gr_name
    except (ImportError, KeyError):
        return str(number)


def _entry(path: Path, name: str) -> Entry:
    info = path.lstat()
    return Entry(
        name=name,
        mode=info.st_mode,
        links=info.st_nlink,
        user=_owner(info.st_uid, "user"),
        group=_owner(info.st_gid, "group"),
        size=info.st_size,
        blocks=getattr(info, "st_blocks", 0),
        mtime_ns=info.st_mtime_ns,
    )


class ToolError(Exception):
    """What a tool refuses; its text goes back to the model."""


class Workspace:
    """One episode's workspace: the folder, the given files in it, and the tools over it."""

    def __init__(self, folder: Path, given: Mapping[str, str], *, limits: Limits, listing: Listing) -> None:
        """Write the `given` files (name → text) into `folder`, which must exist and be empty."""
        self.folder, self.limits, self.listing = folder, limits, listing
        self.given = frozenset(given)
        for name, text in given.items():
            path = folder / name
            path.write_bytes(text.encode())
            os.utime(path, ns=(_GIVEN_TIME, _GIVEN_TIME))
        self._calls: dict[str, Callable[..., str]] = {
            "list_files": self.list_files,
            "read_file": self.read_file,
            "write_file": self.write_file,
        }

    def call(self, call: ParsedCall) -> str:
        """The result of a file tool, or the text of what was wrong with the call."""
        tool = next((tool for tool in TOOLS if tool.name == call.name), None)
        problem = check_call(call, tool)
        if problem is not None:
            return problem
        try:
            return self._calls[call.name](**call.arguments)
        except ToolError as error:
            return f"error: {error}"

    def _path(self, path: str) -> Path:
        if not _NAME.match(path):
            raise ToolError(f"{path!r} is not the name of a file in the workspace")
        return self.folder / path

    def list_files(self) -> str:
        """The listing of the workspace, in the variant's form."""
        files = [_entry(path, path.name) for path in self.folder.iterdir()]
        if self.listing == "names":
            return format_names(files)
        return format_ls([_entry(self.folder, "."), _entry(self.folder.parent, ".."), *files])

    def read_file(self, path: str) -> str:
        """The text of a file; a link is not followed."""
        try:
            descriptor = os.open(self._path(path), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError as error:
            raise ToolError(f"there is no file {path!r}; call list_files") from error
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ToolError(f"{path!r} is not a file")
            raw = stream.read(self.limits.file_bytes + 1)
        if len(raw) > self.limits.file_bytes:
            raise ToolError(f"{path!r} is larger than {self.limits.file_bytes} bytes")
        return raw.decode("utf-8", "replace")

    def write_file(self, path: str, content: str) -> str:
        """Write one of the model's own files; the given ones are read-only."""
        target, raw = self._path(path), content.encode("utf-8", "replace")
        if path in self.given:
            raise ToolError(f"{path!r} is read-only")
        if len(raw) > self.limits.file_bytes:
            raise ToolError(f"the content is larger than {self.limits.file_bytes} bytes")
        if not target.exists() and len(list(self.folder.iterdir())) >= self.limits.files:
            raise ToolError(f"the workspace holds {self.limits.files} files already")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        try:
            descriptor = os.open(target, flags, 0o644)
        except (IsADirectoryError, PermissionError, FileExistsError) as error:
            raise ToolError(f"{path!r} cannot be written") from error
        except OSError as error:
            if target.is_symlink():
                raise ToolError(f"{path!r} cannot be written") from error
            raise
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(raw)
        return f"wrote {len(raw)} bytes to {path}"


def check_call(call: ParsedCall, tool: Tool | None) -> str | None:
    """What is wrong with a call's form, as the text that goes back to the model; None where nothing is."""
    if call.error is not None:
        return f"error: {call.error}"
    if tool is None:
        return f"error: there is no tool {call.name!r}; the tools are " + ", ".join(
            each.name for each in TOOLS
        )
    if set(call.arguments) != set(tool.parameters):
        wanted = ", ".join(tool.parameters) or "no parameter"
        return f"error: {tool.name} takes {wanted}"
    return None
