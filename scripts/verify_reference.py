"""Verify a reference table: unpack what it follows from, judge every cell again, make its pages again, compare.

    python -m scripts.verify_reference results/reference/hopper
    python -m scripts.verify_reference results/reference/hopper --unpack FOLDER
    python -m scripts.verify_reference results/reference/hopper --write

Nothing but the folder is needed, no GPU and no engine. The exit status is 1 where anything disagrees.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.archive.reference import unpack_reference, verify_reference, write_pages
from scripts.common.command import run


def main(
    folder: Annotated[Path, "results/reference/NAME"],
    /,
    *,
    unpack: Annotated[Path | None, "unpack it there, too"] = None,
    write: Annotated[bool, "first make its pages again, by the rules of today"] = False,
) -> int:
    """Verify, print each disagreement."""
    if write:
        write_pages(folder)
    if unpack is not None:
        unpack_reference(folder, unpack)
    counts, found = verify_reference(folder)
    for each in found:
        print(each)
    print(counts.costs)
    print(
        f"{counts.cells} cells, {counts.sessions} sessions, {counts.replays} replays, "
        f"{counts.forced} forced, {counts.pages} pages judged again: "
        + (f"{len(found)} disagreements" if found else "all agree")
    )
    return 1 if found else 0


if __name__ == "__main__":
    run(main)
