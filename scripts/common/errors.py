"""Errors that a person can act on: what is wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable


class TempzeroError(Exception):
    """A failure with a remedy. Commands print it without a traceback and exit with 1.

    `what` says what is wrong, `where` the file (and key) it was found in, `remedy` how to mend it.
    """

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(self.__str__())

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  → {self.remedy}" if self.remedy else text


class ConfigError(TempzeroError):
    """Something in config/ or on the command line is wrong; nothing has been computed yet."""


class DataError(TempzeroError):
    """A file that was computed or pulled is missing, torn, or not what its record says."""


class EngineError(TempzeroError):
    """An engine did not start, died, or answered what the protocol does not allow."""


class StartError(EngineError):
    """An engine ended before it was ready. `ended`: how; `log`: all that it wrote."""

    def __init__(self, what: str, *, where: str | None, ended: str, log: str) -> None:
        self.ended, self.log = ended, log
        super().__init__(what, where=where)


class UnsupportedError(EngineError):
    """What was asked is nothing that this engine can do at all; the words say why."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for a mistyped name: the closest known one, then all that are known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    listing = "known: " + ", ".join(names) if names else "none is known"
    return f"did you mean {close[0]!r}? {listing}" if close else listing


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's main: a `TempzeroError` or a full disk becomes one message and exit code 1."""
    try:
        code = main() or 0
    except TempzeroError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)
