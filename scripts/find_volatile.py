"""Name what is volatile in the tool results of two transcripts: times, process ids, paths, ports, orderings and more.

The transcripts are of this project (replay-NN.transcript.jsonl) or chat logs in the form of the OpenAI API: a JSON list
of messages, JSON Lines, {"messages": [...]}. They should be of two runs of the same task, at best on two days and two
machines: what is equal in both is not seen, whatever it is.

Results of equal calls are compared. Up to the first call that differs, any difference is named; after it, where the
runs went separate ways, only what no call can have changed. Exit 0: nothing was found; 1: something was, or an error.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import run_command
from scripts.volatile.compare import find_volatile
from scripts.volatile.describe import describe_found


def main() -> int:
    """Parse arguments, compare, say what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.find_volatile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("one", type=Path, metavar="TRANSCRIPT", help="of the first run")
    parser.add_argument("other", type=Path, metavar="TRANSCRIPT", help="of the second run")
    parser.add_argument(
        "--all", action="store_true", help="every place, not the first of each tool and kind alone"
    )
    given = parser.parse_args()
    found = find_volatile(given.one, given.other)
    for line in describe_found(found, every=given.all):
        print(line)
    return 1 if found.leaks else 0


if __name__ == "__main__":
    run_command(main)
