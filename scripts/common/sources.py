"""Which files a command's result follows from: the command's module and all it imports from this project."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from scripts.common.files import sha256_file


def command_sources(command: str, without: Iterable[str] = (), root: Path = Path()) -> list[str]:
    """The source files under `root` that `python -m scripts.{command}` imports, sorted, from the root.

    Imports are read, not run, also those inside functions; a package brings its `__init__.py`. `without` names
    modules that are not followed, since a job of this kind never comes to import them.
    """
    found: dict[str, Path] = {}
    waiting = [f"scripts.{command}"]
    skipped = frozenset(without)
    while waiting:
        module = waiting.pop()
        if module in found or module in skipped:
            continue
        path = _module_file(module, root)
        if path is None:
            continue
        found[module] = path
        waiting.extend(_imported(path))
        waiting.extend(".".join(module.split(".")[:end]) for end in range(1, module.count(".") + 1))
    return sorted(path.relative_to(root).as_posix() for path in found.values())


@functools.cache
def source_digest(command: str, without: tuple[str, ...] = (), root: Path = Path()) -> str:
    """One sha256 (16 hexadecimal digits) over the content of all of a command's sources.

    A job that has it among its parameters runs again after an edit of any of them, and not after a checkout that
    only touched them.
    """
    digest = hashlib.sha256()
    for file in command_sources(command, without, root):
        digest.update(f"{file} {_digest(path := root / file, path.stat().st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:16]


def content_digest(files: Iterable[str | Path], largest: int = 64 * 2**20) -> str:
    """One sha256 (16 hexadecimal digits) over files' content; of one of more than `largest` bytes over size and mtime.

    A file that is missing counts as such, and is left to whoever needs it.
    """
    digest = hashlib.sha256()
    for file in map(Path, files):
        if not file.is_file():
            told = "missing"
        elif (status := file.stat()).st_size > largest:
            told = f"{status.st_size} {status.st_mtime_ns}"
        else:
            told = sha256_file(file)
        digest.update(f"{file.as_posix()} {told}\n".encode())
    return digest.hexdigest()[:16]


@functools.cache
def _module_file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py") if "." in module else base, base / "__init__.py"):
        if path.is_file():
            return path
    return None


@functools.cache
def _digest(path: Path, _mtime: int) -> str:
    return sha256_file(path)


# Read by pattern, since each start of the workflow asks, and parsing 250 modules would take it half a second.
_FROM = re.compile(r"^[ \t]*from[ \t]+(scripts(?:\.\w+)*)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*import[ \t]+([^\n]*)", re.MULTILINE)


@functools.cache
def _imported(path: Path) -> frozenset[str]:
    """The project's modules that a module may import, and the names in them, any of which may be a module."""
    text = path.read_text("utf-8", "replace")
    found = set(re.findall(r"\bscripts\.[\w.]+", " ".join(_IMPORT.findall(text))))
    for module, names in _FROM.findall(text):
        found |= {module, *(f"{module}.{name}" for name in re.findall(r"\w+", names))}
    return frozenset(found)
