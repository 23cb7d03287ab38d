"""The figure of a reference table: by cell the share of unequal bits, forced and free, and flips per 1,000 tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from scripts.archive.contents import GRID
from scripts.records.cell import Cell, read_cell
from scripts.records.forced import MODES
from scripts.records.grid import Grid
from scripts.report.svg import BLUE, GREEN, ORANGE, svg_figure

# A colour and a marker of its own for each mode.
LOOKS = {"prefill": (BLUE, "s"), "decode": (ORANGE, "^"), "free": (GREEN, "o")}
ROW_INCHES = 0.24
LEAST_FLIPS = 0.05  # where the logarithmic axis begins


def read_summaries(root: Path) -> list[tuple[str, Cell]]:
    """Label and verdict of each cell of the grid recorded under `root` that was run, in the grid's order.

    The label names the engine where the grid has several.
    """
    found = []
    cells = Grid.read(root / GRID).cells
    several = len({cell.engine for cell in cells}) > 1
    for cell in cells:
        path = root / cell.folder / "cell.json"
        if path.is_file() and isinstance(summary := read_cell(path), Cell):
            change = "" if cell.variant == "base" else f", {cell.variant}"
            engine = f", {cell.engine}" if several else ""
            found.append((f"{cell.model} {cell.precision}{engine}{change}", summary))
    return found


def unequal_shares(summary: Cell) -> dict[str, float]:
    """Shares from 0 to 1 of what was unequal: of the forced positions by mode, of the `free` replays but the largest
    group of equal ones. A mode that was not run is left out, and the replays of an engine without logprobs."""
    run = summary.forced.run() if summary.forced is not None else {}
    shares: dict[str, float] = {}
    for mode in MODES:
        if mode in run and (share := run[mode].unequal_bits.share) is not None:
            shares[mode] = share
    if summary.logprobs_identical is not None:
        shares["free"] = 1 - summary.logprobs_identical / summary.replays if summary.replays else 0.0
    return shares


def draw_figure(summaries: Sequence[tuple[str, Cell]], target: Path) -> None:
    """Write the figure as SVG to `target`: the same bytes from the same summaries."""
    with svg_figure(target, width=9, height=1.3 + ROW_INCHES * len(summaries)) as figure:
        shares, flips = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        _draw_shares(shares, summaries)
        _draw_flips(flips, summaries)
        shares.set_yticks(range(len(summaries)), [label for label, _ in summaries])
        shares.invert_yaxis()


def _draw_shares(axes: Axes, summaries: Sequence[tuple[str, Cell]]) -> None:
    for place, name in ((-0.2, "prefill"), (0.0, "decode"), (0.2, "free")):
        points = [
            (100 * share[name], row + place)
            for row, (_, summary) in enumerate(summaries)
            if name in (share := unequal_shares(summary))
        ]
        colour, marker = LOOKS[name]
        label = f"forced {name}: positions" if name in MODES else "free replays"
        axes.plot(*zip(*points, strict=True), marker, color=colour, markersize=4, label=label)
    axes.set_xlabel("unequal bits, %")
    axes.set_xlim(-3, 103)
    axes.grid(axis="y", linewidth=0.3)
    axes.legend(loc="upper right", bbox_to_anchor=(0.95, 0.995), fontsize=7)


def _draw_flips(axes: Axes, summaries: Sequence[tuple[str, Cell]]) -> None:
    for row, (_, summary) in enumerate(summaries):
        rate = summary.flips_per_1000_tokens
        if rate.low is None or rate.high is None:
            continue
        shown = summary.flips_bootstrap or rate
        low, high = shown.low or 0.0, shown.high or 0.0
        axes.plot([max(low, LEAST_FLIPS), high], [row, row], color="#000000", linewidth=1)
        if rate.rate:
            axes.plot([rate.rate], [row], "D", color="#000000", markersize=3.5)
    axes.set_xscale("log")
    axes.set_xlim(LEAST_FLIPS, 500)
    axes.set_xlabel("flips per 1,000 tokens, 95 % interval")
    axes.grid(axis="both", linewidth=0.3)
