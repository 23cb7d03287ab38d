"""Figures as SVG: the same bytes from the same data, in colours that the colour-blind can tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN, PURPLE, SKY, GOLD = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"


@contextmanager
def svg_figure(target: Path, *, width: float, height: float) -> Iterator[Figure]:
    """A figure of this size in inches, to be drawn inside; it is written to `target` in the end."""
    import matplotlib  # here alone: an archive is judged again without it

    matplotlib.use("svg")
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "tempzero", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, format="svg", metadata={"Date": None})
