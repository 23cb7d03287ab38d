"""The controls: cells whose class is known beforehand, and whether they came out so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.common.errors import DataError, nearest
from scripts.report.entries import Entry

BEGIN = "<!-- controls: begin -->"
END = "<!-- controls: end -->"


@dataclass(frozen=True)
class Reading:
    """One control. `found`: the cell's class, or why it was not run. `ok`: None where it was not checked."""

    cell: str
    expect: list[str]
    found: str
    ok: bool | None

    @property
    def line(self) -> str:
        """What it read, in one line of the table's page."""
        verdict = {True: "as expected", False: "**not as expected**", None: "not checked"}[self.ok]
        return f"- `{self.cell}`: expected {' or '.join(self.expect)}, read {self.found}: {verdict}"


def read_controls(grid: dict[str, Any], entries: Sequence[Entry]) -> list[Reading]:
    """What each control of the grid read; DataError where one names a cell that the grid has not.

    A control that was planned or failed did not come out as expected; one that a partial table lacks is
    not checked.
    """
    known = {entry.cell: entry for entry in entries}
    readings = []
    for control in grid["controls"]:
        cell, expect = str(control["cell"]), [str(each) for each in control["expect"]]
        if cell not in known:
            raise DataError(f"the control {cell!r} is no cell of the grid", remedy=nearest(cell, known))
        summary, not_run = known[cell].summary, known[cell].not_run
        if summary is not None:
            readings.append(Reading(cell, expect, str(summary["class"]), summary["class"] in expect))
        else:
            missing = not_run == "not run: no cell.json"
            readings.append(Reading(cell, expect, str(not_run), None if missing else False))
    return readings


def failed(readings: Sequence[Reading]) -> list[Reading]:
    """The controls that came out otherwise."""
    return [reading for reading in readings if reading.ok is False]


def banner(readings: Sequence[Reading]) -> str:
    """What stands at the top of the page where a control came out otherwise; else nothing."""
    wrong = failed(readings)
    if not wrong:
        return ""
    said = "\n".join(
        f"> - `{each.cell}` should read {' or '.join(each.expect)}; it read {each.found}." for each in wrong
    )
    return (
        f"{BEGIN}\n"
        "> **A control came out otherwise: do not rely on this table.** The readings are kept, but the\n"
        "> instrument did not see what it must be able to see:\n"
        f"{said}\n"
        f"{END}\n\n"
    )


def as_json(readings: Sequence[Reading]) -> dict[str, Any]:
    """The content of controls.json."""
    return {
        "ok": not failed(readings),
        "controls": [
            {"cell": each.cell, "expect": each.expect, "found": each.found, "ok": each.ok}
            for each in readings
        ],
    }
