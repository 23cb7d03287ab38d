"""Name what is volatile in the prompts and tool results of two runs: times, process ids, paths, ports, orderings.

The logs are of this project (replay-NN.transcript.jsonl) or of whatever agent, API or proxy wrote them: JSON or JSON
Lines of chat messages, of items of the Responses API, of actions and observations, of requests; plain, gzipped, or an
.eval file of inspect. They should be of two runs of the same task, at best on two days and two machines: what is equal
in both is not seen, whatever it is.

Results of equal calls are compared. Up to the first call that differs, any difference is named; after it, where the
runs went separate ways, only what no call can have changed. Exit 0: nothing was found; 1: something was; 2: an error,
or nothing could be compared.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from scripts.common.command import run
from scripts.common.errors import TempzeroError
from scripts.volatile.compare import Leak, Tally, compare_files
from scripts.volatile.describe import (
    Causes,
    as_json,
    describe_call,
    describe_causes,
    describe_leak,
    describe_tally,
)


def main(
    one: Annotated[Path, "a log of the first run"],
    other: Annotated[Path, "a log of the second run"],
    /,
    *,
    all_: Annotated[bool, "every place, not each cause once"] = False,
    format_: Annotated[
        Literal["text", "json"],
        "json: a list of every place, with conversation, call, tool, arguments, kind, at (byte), a, b, certain "
        "(false: found after the runs had parted)",
    ] = "text",
) -> int:
    """Compare, say what was found."""
    tally = Tally()
    leaks = compare_files(one, other, tally)
    try:
        return _print_json(leaks, tally) if format_ == "json" else _print_text(leaks, tally, every=all_)
    except TempzeroError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _print_text(leaks: Iterator[Leak], tally: Tally, *, every: bool) -> int:
    causes, tools = Causes(), Counter[str]()
    for leak in leaks:
        tools[leak.tool] += 1
        causes.add(leak)
        if every:
            print(describe_leak(leak), *describe_call(leak), sep="\n")
    if every:
        for cause in causes:
            print(f"{cause.first.tool}, {cause.first.change.kind}, {cause.places:,}: {cause.remedy}")
    else:
        for line in describe_causes(causes):
            print(line)
    for line in describe_tally(tools, tally):
        print(line)
    return 1 if tools else 0


def _print_json(leaks: Iterator[Leak], tally: Tally) -> int:
    tools = Counter[str]()
    for leak in leaks:
        print(",\n" if tools else "[", as_json(leak), sep="", end="")
        tools[leak.tool] += 1
    print("]" if tools else "[]")
    for line in describe_tally(tools, tally):
        print(line, file=sys.stderr)
    return 1 if tools else 0


if __name__ == "__main__":
    run(main)
