"""A command: the parameters of one function are its arguments, each typed and explained where it is declared.

    def main(cell: Annotated[Path, "the cell's folder"], /, *, sessions: Annotated[int, "how many count"] = 5) -> None:
        ...

    if __name__ == "__main__":
        run(main)

Positional-only parameters are positional arguments, the others options (`--sessions 5`). `bool` is a flag, `X | None`
may be left out, `list[X]` is an option given several times, `tuple[X, ...]` takes several values, a `Literal` names the
choices, a record is given as JSON. The module's docstring is what `--help` says first.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import io
import json
import signal
import sys
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union

from scripts.common.errors import run_command


def run(main: Callable[..., int | None]) -> None:
    """Run a command's `main` with the arguments of the command line, and end with its exit code.

    A `TempzeroError` becomes one message and exit code 1; a wrong argument argparse's message and exit code 2. SIGTERM,
    by which a scheduler cancels a job, ends it as Ctrl-C does: what it started ends too, and nothing half written is
    left; exit code 143. A reader of its output that has seen enough (`| head`) changes nothing: what it would have
    said further is dropped.
    """
    signal.signal(signal.SIGTERM, _end)
    sys.stdout, sys.stderr = _heard(sys.stdout), _heard(sys.stderr)
    run_command(lambda: call(main, sys.argv[1:]))


class _Output(io.FileIO):
    """A file or pipe; what a pipe's reader no longer takes is dropped."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def _heard(stream: Any) -> Any:
    """The same stream, to an `_Output`; as it is where it is closed."""
    if stream is None:
        return None
    output = io.BufferedWriter(_Output(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(
        output,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _end(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not end the clearing up
    sys.exit(128 + number)


def call(main: Callable[..., int | None], arguments: list[str]) -> int | None:
    """Call `main` with command-line arguments; SystemExit with code 2 where they are wrong."""
    given = vars(parser_of(main).parse_args(arguments))
    positional = [
        given.pop(name)
        for name, each in inspect.signature(main).parameters.items()
        if each.kind is each.POSITIONAL_ONLY
    ]
    return main(*positional, **given)


def parser_of(main: Callable[..., int | None]) -> argparse.ArgumentParser:
    """The parser of a command's arguments."""
    module = sys.modules[main.__module__]
    name = module.__spec__.name if module.__spec__ else main.__module__
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hints = typing.get_type_hints(main, include_extras=True)
    for parameter in inspect.signature(main).parameters.values():
        _add(parser, parameter, hints[parameter.name])
    return parser


def _add(parser: argparse.ArgumentParser, parameter: inspect.Parameter, hint: Any) -> None:
    kind, said = typing.get_args(hint)[:2] if typing.get_origin(hint) is Annotated else (hint, None)
    positional, required = parameter.kind is parameter.POSITIONAL_ONLY, parameter.default is parameter.empty
    flag = f"--{parameter.name.strip('_').replace('_', '-')}"
    add = functools.partial(parser.add_argument, parameter.name if positional else flag, help=said)
    if typing.get_origin(kind) in (Union, types.UnionType):
        (kind,) = (each for each in typing.get_args(kind) if each is not type(None))
    inner = typing.get_args(kind)
    if kind is bool:
        add = functools.partial(add, action="store_true")
    elif typing.get_origin(kind) is Literal:
        add = functools.partial(add, choices=inner)
    elif typing.get_origin(kind) is list:
        add = functools.partial(add, type=_reader(inner[0], flag), action="append")
    elif typing.get_origin(kind) is tuple:
        add = functools.partial(add, type=_reader(inner[0], flag), nargs="+")
    else:
        add = functools.partial(add, type=_reader(kind, flag))
    if not positional:
        add = functools.partial(add, dest=parameter.name, required=required and kind is not bool)
    if required:
        add()
    elif positional:
        add(default=parameter.default, nargs="?")
    else:
        add(default=parameter.default)


def _reader(kind: Any, flag: str) -> Callable[[str], Any]:
    if not hasattr(kind, "__struct_fields__"):
        return typing.cast(Callable[[str], Any], kind)

    def read_json(text: str) -> Any:
        # Here alone: verify_archive says what is to be installed to a reader who has no package yet.
        from scripts.records.base import convert

        return convert(kind, json.loads(text), flag)

    return read_json
