"""Check a result against a baseline: for a nightly run, a release, a new driver.

    python -m scripts.check baseline.json results

BASELINE is a file of python -m scripts.freeze, or any result that it takes; NOW is a result. Exit 0: the same. 1:
changed. 3: could not tell, since too little was looked at; how much would do is said. 2: an error, or another workload
was asked. results/check.json has each cell's verdict, and with --junit a JUnit file has it too. `snakemake check` runs
what is missing of a grid first.

What counts is sessions, starts of the engine: were nothing changed, dealing them out to the baseline and to now would
part them as much in so many cases. Over the cells the share of false alarms is held at the level.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import TempzeroError
from scripts.comparison.baseline import freeze
from scripts.comparison.checks import check
from scripts.comparison.junit import as_junit
from scripts.records.check import Baseline, Checked, Outcome
from scripts.records.grid import Grid
from scripts.verdict.sessions import LEVEL

EXIT: dict[Outcome, int] = {"same": 0, "changed": 1, "could not tell": 3}


def main(
    baseline: Annotated[Path, "baseline.json, or a result"],
    now: Annotated[Path, "the result that is checked"],
    /,
    *,
    output: Annotated[Path, "where the verdicts go"] = Path("results/check.json"),
    junit: Annotated[Path | None, "a JUnit file that is written too"] = None,
    level: Annotated[float, "the share of changes called that may be false"] = LEVEL,
    grid: Annotated[Path | None, "a grid.json: its cells alone count, without its controls"] = None,
    lenient: Annotated[bool, "exit 0 too where it could not be told"] = False,
) -> int:
    """Check it, say what was found."""
    try:
        kept = Baseline.read(baseline) if baseline.suffix == ".json" else freeze(baseline)
        asked = None if grid is None else Grid.read(grid)
        left_out = (
            {each.cell for each in asked.controls} if asked else set()
        )  # a check of their own holds them
        wanted = [cell.path for cell in asked.cells if cell.path not in left_out] if asked else None
        cells = [cell for cell in kept.cells if cell.name not in left_out]
        found = check(Baseline(cells=cells), freeze(now, wanted), level)
    except TempzeroError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    output.parent.mkdir(parents=True, exist_ok=True)
    found.write(output)
    if junit is not None:
        junit.parent.mkdir(parents=True, exist_ok=True)
        junit.write_text(as_junit(found), encoding="utf-8")
    _print(found)
    return 0 if lenient and found.outcome == "could not tell" else EXIT[found.outcome]


def _print(found: Checked) -> None:
    for cell in found.cells:
        engines = "" if cell.engine is None else f" (engine: {cell.engine[0]} → {cell.engine[1]})"
        print(f"{cell.outcome}: {cell.name}: {cell.reason}{engines}")
    for name in found.new:
        print(f"new: {name}: the baseline has it not")
    outcomes = [cell.outcome for cell in found.cells]
    of = {each: outcomes.count(each) for each in EXIT if each in outcomes}
    print(f"in all: {found.outcome} ({', '.join(f'{number} {each}' for each, number in of.items())})")


if __name__ == "__main__":
    run(main)
