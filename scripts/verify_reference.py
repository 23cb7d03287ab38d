"""Verify a reference table: unpack what it follows from, judge every cell again, make its pages again, compare.

    python -m scripts.verify_reference results/reference/hopper
    python -m scripts.verify_reference results/reference/hopper --unpack FOLDER

Nothing but the folder is needed, no GPU and no engine. The exit status is 1 where anything disagrees.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.archive.reference import unpack_reference, verify_reference
from scripts.common.errors import run_command


def main() -> None:
    """Parse arguments, verify, print each disagreement."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.verify_reference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="results/reference/NAME")
    parser.add_argument("--unpack", type=Path, metavar="FOLDER", help="unpack it there, too")
    given = parser.parse_args()
    if given.unpack is not None:
        unpack_reference(given.folder, given.unpack)
    counts, found = verify_reference(given.folder)
    for each in found:
        print(each)
    print(
        f"{counts.cells} cells, {counts.sessions} sessions, {counts.replays} replays, "
        f"{counts.forced} forced, {counts.pages} pages judged again: "
        + (f"{len(found)} disagreements" if found else "all agree")
    )
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    run_command(main)
