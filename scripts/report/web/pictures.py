"""The page's pictures, SVG by matplotlib: strips of replays, histograms of margins, forced against free.

Colours stand in the drawing as marks of their own and become the page's variables, so that one picture serves light
and dark; shapes say the same as colours do.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from scripts.records.cell import DifferenceKind
from scripts.records.figures import Spread
from scripts.report.web.agreement import Lane, State, States, condense, stretches

POINTS = 72.0
INK, FAINT, PAPER = "#010101", "#010102", "#010103"
FILLS = {
    State.EQUAL: "#010111",
    State.OTHER_BITS: "#010112",
    State.AFTER_FLIP: "#010113",
    State.AFTER_PROMPT: "#010114",
}
BARS, NOISE = "#010121", "#010122"
FREE, PREFILL, DECODE = "#010131", "#010132", "#010133"
# What the marks become: a variable of the page, and the light page's colour where there is no page around.
VARIABLES = {
    INK: "currentColor",
    FAINT: "var(--faint, #8a8f98)",
    PAPER: "var(--paper, #ffffff)",
    FILLS[State.EQUAL]: "var(--equal, #cfd6de)",
    FILLS[State.OTHER_BITS]: "var(--other-bits, #56b4e9)",
    FILLS[State.AFTER_FLIP]: "var(--after-flip, #d55e00)",
    FILLS[State.AFTER_PROMPT]: "var(--after-prompt, #cc79a7)",
    BARS: "var(--bars, #0072b2)",
    NOISE: "var(--noise, #f0c05a)",
    FREE: "var(--free, #0072b2)",
    PREFILL: "var(--prefill, #009e73)",
    DECODE: "var(--decode, #d55e00)",
}
COLUMNS = 1000  # drawn across a strip at most
ROWS = 100  # replays drawn in a strip at most
LEAST_MARGIN, LARGEST_MARGIN = 1e-5, 30.0  # nat, the ends of the axis of margins
LEAST_COUNT = 0.7  # where the logarithmic axis of counts begins, so that a count of 1 is seen
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Mark:
    """A first difference in a strip: its row, its column, its kind, what is said of it, and where its texts are."""

    name: str
    row: int
    column: int
    kind: DifferenceKind
    title: str
    address: str | None


def columns_step(columns: int) -> int:
    """How many positions a drawn column of a strip stands for."""
    return max(1, math.ceil(columns / COLUMNS))


def draw_strip(
    name: str,
    label: str,
    lanes: Sequence[Lane],
    rows: Mapping[str, States],
    marks: Sequence[Mark],
    sessions: Sequence[int] = (),
) -> str:
    """The replays of a cell, one row each, over the positions of its scenarios side by side.

    `sessions`: the rows at which a further session begins; a line parts it from the one before.
    """
    left, right, top, bottom, row_height = 74.0, 12.0, 24.0, 34.0, 15.0
    columns = max(1, sum(lane.width for lane in lanes))
    width, height = 700.0, top + bottom + row_height * max(1, len(rows))
    with _drawing(name):
        figure = _figure(width, height)
        box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
        axes = figure.add_axes(box, facecolor="none")
        axes.patch.set_gid(f"{name}-frame")
        axes.set_xlim(0, columns)
        axes.set_ylim(max(1, len(rows)), 0)
        rectangles: dict[State, list[tuple[float, float, float]]] = {}
        for index, row in enumerate(rows.values()):
            for state, start, stop in _drawn(lanes, row):
                rectangles.setdefault(state, []).append((start, stop, index))
        for state, found in sorted(rectangles.items()):
            axes.add_patch(
                PathPatch(_compound(found), facecolor=FILLS[state], edgecolor="none", clip_on=False)
            )
        for lane in lanes[1:]:
            axes.axvline(lane.start, color=PAPER, linewidth=3)
            axes.axvline(lane.start, color=FAINT, linewidth=0.6)
        for row_of_session in sessions:
            axes.axhline(row_of_session, color=PAPER, linewidth=3)
            axes.axhline(row_of_session, color=FAINT, linewidth=0.6)
        for mark in marks:
            shape, size = _MARKERS[mark.kind], row_height * 0.92
            line = _points(axes, [(mark.column, mark.row + 0.5)], shape, size, INK, edge=0.5)
            line.set_gid(mark.name)
            if mark.address:
                line.set_url(mark.address)
        axes.set_yticks([index + 0.5 for index in range(len(rows))], list(rows))
        _lane_axis(axes, lanes)
        _plain(axes)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("tokens generated in the scenario")
        return _svg(figure, name, label, {mark.name: mark.title for mark in marks})


def draw_margins(
    name: str,
    label: str,
    margins: NDArray[np.float64],
    noise: Spread | None,
    differences: Sequence[float],
) -> str:
    """The reference's margins as a histogram on a logarithmic axis, the noise's reach, the margins at differences."""
    with _drawing(name):
        figure = _figure(440, 200)
        axes = figure.add_axes((0.125, 0.215, 0.845, 0.665), facecolor="none")
        edges = np.geomspace(LEAST_MARGIN, LARGEST_MARGIN, 53)
        counts, _ = np.histogram(np.clip(margins, LEAST_MARGIN, LARGEST_MARGIN), edges)
        axes.set_xscale("log")
        axes.set_xlim(LEAST_MARGIN, LARGEST_MARGIN)
        axes.set_yscale("log")  # near-ties are few beside the sure ones, and matter most
        axes.set_ylim(LEAST_COUNT, max(9, int(counts.max(initial=1))) * 1.8)
        if noise is not None and noise.p99 > LEAST_MARGIN:
            axes.axvspan(LEAST_MARGIN, noise.p99, facecolor=NOISE, edgecolor="none", clip_on=False)
            axes.axvline(noise.p99, color=INK, linewidth=1, linestyle=(0, (4, 2)))
            axes.annotate(
                "noise, p99",
                (noise.p99, 1.0),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
            )
        bars = np.maximum(counts, LEAST_COUNT)
        axes.stairs(bars, edges, baseline=LEAST_COUNT, fill=True, facecolor=BARS, edgecolor="none")
        if differences:
            inside = [(min(max(each, LEAST_MARGIN), LARGEST_MARGIN), 0.95) for each in differences]
            line = _points(axes, inside, "v", 6.5, INK)
            line.set_transform(axes.get_xaxis_transform())
            line.set_gid(f"{name}-differences")
        _ticks(axes.xaxis, [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10])
        _ticks(axes.yaxis, [1, 10, 100, 1000, 10_000, 100_000])
        _plain(axes)
        axes.set_xlabel("margin of the best token over the second, nat")
        axes.set_ylabel("positions")
        return _svg(figure, name, label, {})


@dataclass(frozen=True)
class Seen:
    """A cell in the picture of forced against free; shares of 1, None where there is nothing to show.

    `bits`, `tokens`: by way of looking (free, prefill, decode), the share of positions with other bits and that with
    another token. `interval`: 95 % of the free one with another token.
    """

    label: str
    bits: dict[str, float | None]
    tokens: dict[str, float | None]
    interval: tuple[float, float] | None


WAYS = {"free": (FREE, "o"), "prefill": (PREFILL, "s"), "decode": (DECODE, "^")}


def draw_forced(name: str, label: str, seen: Sequence[Seen]) -> str:
    """For each cell what free replays and forced passes show: positions with other bits, and with another token."""
    left, right, top, bottom, row = 232.0, 16.0, 30.0, 40.0, 21.0
    width, height = 760.0, top + bottom + row * len(seen)
    panel = (width - left - right - 30) / 2
    with _drawing(name):
        figure = _figure(width, height)
        heights = (bottom / height, 1 - (top + bottom) / height)
        panels = (
            ([each.bits for each in seen], "positions with other bits, %", 100),
            ([each.tokens for each in seen], "another token, per 1,000", 1000),
        )
        for number, (shares, title, unit) in enumerate(panels):
            at = (left + number * (panel + 30)) / width
            axes = figure.add_axes((at, heights[0], panel / width, heights[1]), facecolor="none")
            axes.set_ylim(len(seen) - 0.5, -0.5)
            for index in range(len(seen)):
                axes.axhline(index, color=FAINT, linewidth=0.4)
            for offset, (way, (colour, marker)) in zip((-0.22, 0.0, 0.22), WAYS.items(), strict=True):
                for index, each in enumerate(seen if number == 1 and way == "free" else ()):
                    if each.interval is not None:
                        ends, row_of = [end * unit for end in each.interval], [index + offset] * 2
                        axes.plot(ends, row_of, color=colour, linewidth=1.4, clip_on=False)
                points = [
                    (share * unit, index + offset)
                    for index, of in enumerate(shares)
                    if (share := of[way]) is not None
                ]
                line = _points(axes, points, marker, 5.5, colour)
                line.set_label(way if way == "free" else f"forced, {way}")
            if number == 0:
                axes.set_xlim(0, 100)
                axes.set_yticks(range(len(seen)), [each.label for each in seen])
                axes.legend(
                    loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, frameon=False, handletextpad=0.2
                )
            else:
                axes.set_xscale("symlog", linthresh=0.1)
                axes.set_xlim(0, 1000)
                _ticks(axes.xaxis, [0, 0.1, 1, 10, 100, 1000])
                axes.set_yticks([])
            _plain(axes)
            axes.tick_params(axis="y", length=0, pad=8)
            axes.set_xlabel(title)
        return _svg(figure, name, label, {})


def _figure(width: float, height: float) -> Figure:
    """An empty drawing of that size in points."""
    return Figure(figsize=(width / POINTS, height / POINTS), facecolor="none")


def _points(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    marker: str | Path,
    size: float,
    colour: str,
    edge: float = 0.6,
) -> Line2D:
    """Marks without a line, which may stand out of the frame; `size` and `edge` in points."""
    (line,) = axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        marker=marker,
        markersize=size,
        markerfacecolor=colour,
        markeredgecolor=PAPER,
        markeredgewidth=edge,
        linestyle="none",
        clip_on=False,
    )
    return line


def _ticks(axis: Axis, places: Sequence[float]) -> None:
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _plain_number(value)))
    axis.set_minor_locator(NullLocator())


def _drawn(lanes: Sequence[Lane], row: States) -> Iterator[tuple[State, int, int]]:
    """What is drawn of a row: stretches of columns, in positions; a column shows the gravest that it stands for."""
    step = columns_step(sum(lane.width for lane in lanes))
    for lane in lanes:
        part = row[lane.start : lane.start + lane.width]
        ended = int(np.count_nonzero(part))
        for state, start, stop in stretches(condense(part, step)):
            yield state, lane.start + start * step, lane.start + min(stop * step, ended)


def _compound(rectangles: Sequence[tuple[float, float, float]], gap: float = 0.1) -> Path:
    """Many rectangles (from, to, row) as one path: one element of the picture, whatever their number."""
    vertices: list[tuple[float, float]] = []
    for start, stop, row in rectangles:
        low, high = row + gap, row + 1 - gap
        vertices += [(start, low), (stop, low), (stop, high), (start, high), (start, low)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(rectangles)
    return Path(vertices, codes)


def _stem(head: list[tuple[float, float]]) -> Path:
    """A marker as high as a row: a thin stem with a head on it."""
    stem = [(-0.07, -0.5), (0.07, -0.5), (0.07, 0.5), (-0.07, 0.5)]
    parts = [stem, head]
    vertices = [point for part in parts for point in (*part, part[0])]
    codes = [
        code for part in parts for code in (Path.MOVETO, *[Path.LINETO] * (len(part) - 1), Path.CLOSEPOLY)
    ]
    return Path(vertices, codes)


_MARKERS: dict[DifferenceKind, Path] = {
    "model": _stem([(-0.26, 0.5), (0.26, 0.5), (0.0, 0.06)]),
    "harness": _stem([(0.0, 0.3), (0.24, 0.0), (0.0, -0.3), (-0.24, 0.0)]),
}


def _lane_axis(axes: Axes, lanes: Sequence[Lane]) -> None:
    """Ticks that begin anew in each scenario, and its name above it."""
    longest = max((lane.width for lane in lanes), default=0)
    total = sum(lane.width for lane in lanes)
    ticks, labels = [], []
    steps = [step for step in MaxNLocator(6, integer=True).tick_values(0, max(longest, 1)) if step > 0]
    step = max(1, int(steps[0])) if steps else 1
    if total and step < total / 14:
        step *= math.ceil(total / 14 / step)
    for lane in lanes:
        for position in range(0, lane.width, step):
            if position == 0 or lane.width - position > step * 0.4:
                ticks.append(lane.start + position)
                labels.append(f"{position:,}")
        if lane.width * 700 > total * 4.5 * len(lane.scenario):
            axes.annotate(
                lane.scenario,
                (lane.start + lane.width / 2, 0),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
            )
    axes.set_xticks(ticks, labels)


def _plain_number(value: float) -> str:
    """A power of ten as a reader writes it: 0.0001, 10, 1,000."""
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:.5f}".rstrip("0")


def _plain(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_linewidth(0.6)


@contextmanager
def _drawing(name: str) -> Iterator[None]:
    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": name,
            "font.size": 9.0,
            "axes.labelsize": 9.0,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 8.5,
            "legend.fontsize": 9.0,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": FAINT,
            "xtick.color": FAINT,
            "ytick.color": FAINT,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "xtick.major.size": 3.0,
            "xtick.major.width": 0.6,
        }
    ):
        yield


def _svg(figure: Figure, name: str, label: str, titles: Mapping[str, str]) -> str:
    """The drawing as an element of the page: no prologue, no ids or styles but its own, its colours the page's."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=_METADATA, transparent=False)
    text = stream.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(
        r'^<svg[^>]*viewBox="([^"]*)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{escape(label)}">',
        text,
    )
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    wanted = set(re.findall(r'href="#([^"]*)"', text))
    text = re.sub(
        r' id="([^"]*)"',
        lambda match: match[0] if match[1] in wanted or match[1].startswith(f"{name}-") else "",
        text,
    )
    for mark, title in titles.items():
        text = text.replace(f'<g id="{mark}">', f'<g id="{mark}"><title>{escape(title)}</title>', 1)
    for mark, variable in VARIABLES.items():
        text = text.replace(mark, variable)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", text)
    text = text.replace("xlink:href", "href").replace(' target="_blank"', "")
    return re.sub(r"\n\s*", "\n", text)
