"""The pages of curves that a grid makes, each from the cells whose blocks have a sweep of its name."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.common.configs import place
from scripts.common.errors import ConfigError
from scripts.engines.start import DRIVERS
from scripts.grid.configuration import ENGINES, Configuration
from scripts.grid.resolve import SEATS, Cell, cell_settings
from scripts.records.settings import Settings
from scripts.records.sweep import SweepAsked


def curve_file(name: str) -> str:
    """The page of a sweep, from the root; its figure lies beside it."""
    return f"results/curves/{name}.md"


def curves(configuration: Configuration, cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """By name of a sweep the cells that are run and looked at along its axis.

    Raises ConfigError where a cell cannot be, or where two blocks ask unlike sweeps under one name.
    """
    file = str(configuration.root / configuration.grid_file)
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.sweep is None or cell.planned is not None:
            continue
        index = next(i for i, block in enumerate(configuration.grid.blocks) if block.sweep is cell.sweep)
        where = place(file, ["blocks", index, "sweep"])
        page = found.setdefault(cell.sweep.name, [])
        if page and page[0].sweep != cell.sweep:
            raise ConfigError(
                f"another block asks an unlike sweep {cell.sweep.name!r}",
                where=where,
                remedy="cells of one page are looked at in one way: give the sweep another name, or the same keys",
            )
        wrong = _wrong(cell, cell.sweep, cell_settings(configuration, cell))
        if wrong is not None:
            raise ConfigError(wrong[0], where=where, remedy=wrong[1])
        page.append(cell)
    return found


def _wrong(cell: Cell, sweep: SweepAsked, settings: Settings) -> tuple[str, str] | None:
    """Why a cell cannot be looked at along an axis, and the remedy; None where it can."""
    if sweep.values != tuple(sorted(sweep.values)):
        return "the values are not in ascending order", "sort them"
    if sweep.longest > settings.context:
        asked = f"it asks {sweep.longest:,} ids of {cell.engine!r}, whose context has room for {settings.context:,}"
        return asked, "lower its values, or write a variant with a larger context"
    if sweep.axis == "gpus" and not settings.gpus:
        return f"{cell.engine!r} takes no GPU", "sweep over engines that do, each with its own number"
    if sweep.axis == "in_flight":
        most = max(sweep.values)
        if settings.kind in DRIVERS:
            return f"{cell.engine!r} in process takes one request at a time", "sweep with a server"
        name = SEATS.get(settings.kind)
        seats = settings.arguments.get(name) if name else None
        if isinstance(seats, int) and seats < most:
            asked = f"it sends {most} requests at once, and {cell.engine!r} computes {seats}"
            return asked, f"take a variant with {name}: {most} for {settings.kind} in {ENGINES}"
    return None
