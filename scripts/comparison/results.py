"""Two whole results side by side, cell by cell."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.comparison.cells import IncomparableError, compare_cells, read_side
from scripts.comparison.feed import feed
from scripts.comparison.sources import open_result, pair_cells
from scripts.records.comparison import Comparison, Comparisons


def compare_results(a: Path, b: Path, *, force: bool = False) -> Comparisons:
    """All cells that two results share. DataError where a file is missing or is not what its session recorded.

    `force`: where two cells were not fed one trajectory, A's is fed to B's engine first.
    """
    with open_result(a) as one, open_result(b) as other:
        pairing = pair_cells(one.cells, other.cells)
        found: list[Comparison] = []
        refused: dict[str, str] = {}
        for number, (mine, theirs) in enumerate(pairing.pairs, start=1):
            if len(pairing.pairs) > 1:
                print(f"{number} of {len(pairing.pairs)}: {mine}", file=sys.stderr, flush=True)
            try:
                sides = read_side(mine, one.cells[mine]), read_side(theirs, other.cells[theirs])
                compared = compare_cells(*sides)
                if force and not compared.forced:
                    feed(*sides)
                    compared = compare_cells(*sides)
                found.append(compared)
            except IncomparableError as error:
                refused[mine] = error.what
        return Comparisons(
            a=one.said,
            b=other.said,
            pairs=found,
            only_a=pairing.only_a,
            only_b=pairing.only_b,
            refused=refused,
        )
