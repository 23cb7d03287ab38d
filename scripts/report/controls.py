"""The controls: cells whose class is known beforehand, and whether they came out so."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.common.errors import DataError, nearest
from scripts.records.grid import ControlReading, Controls, Grid
from scripts.report.entries import NO_FILE, Entry

BEGIN = "<!-- controls: begin -->"
END = "<!-- controls: end -->"
PARTS = ("first-replay", "within", "between")  # what a control may expect of where its replays part


def read_controls(grid: Grid, entries: Sequence[Entry]) -> list[ControlReading]:
    """What each control of the grid read; DataError where one names a cell that the grid has not.

    A control that was planned or failed did not come out as expected, nor one that was refused where that is not
    what it expects; one that a partial table lacks is not checked.
    """
    known = {entry.planned.path: entry for entry in entries}
    readings = []
    for control in grid.controls:
        if control.cell not in known:
            raise DataError(
                f"the control {control.cell!r} is no cell of the grid", remedy=nearest(control.cell, known)
            )
        entry = known[control.cell]
        found, ok = str(entry.not_run), None if entry.not_run == NO_FILE else False
        if entry.refused is not None:
            found, ok = "refused", "refused" in control.expect
        if entry.summary is not None:
            found = entry.summary.class_
            ok = not {found, entry.summary.parts}.isdisjoint(control.expect)
            if any(each in PARTS for each in control.expect):
                found = f"{found}, parts {entry.summary.parts}"
        readings.append(ControlReading(cell=control.cell, expect=control.expect, found=found, ok=ok))
    return readings


def failed(readings: Sequence[ControlReading]) -> list[ControlReading]:
    """The controls that came out otherwise."""
    return [reading for reading in readings if reading.ok is False]


def in_words(reading: ControlReading) -> str:
    """What a control read, in one line of the table's page."""
    verdict = {True: "as expected", False: "**not as expected**", None: "not checked"}[reading.ok]
    return f"`{reading.cell}`: expected {' or '.join(reading.expect)}, read {reading.found}: {verdict}"


def banner(readings: Sequence[ControlReading]) -> str:
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


def as_json(readings: Sequence[ControlReading]) -> Controls:
    """The content of controls.json."""
    return Controls(ok=not failed(readings), controls=list(readings))
