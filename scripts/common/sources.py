"""Which files a command's result follows from: the command's module and all it imports from this project."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
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
        digest.update(f"{file} {sha256_file(root / file)}\n".encode())
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


def _module_file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py") if "." in module else base, base / "__init__.py"):
        if path.is_file():
            return path
    return None


@functools.cache
def _imported(path: Path) -> tuple[str, ...]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return ()  # Python says so, with the line, where the command is run
    return tuple(sorted(set(_imports(tree.body))))


def _imports(statements: Iterable[ast.AST]) -> Iterator[str]:
    """The imports among statements and in their blocks; expressions, which are most of a tree, hold none."""
    for node in statements:
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _imports(getattr(node, block, ()))
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("scripts."))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "scripts":
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
