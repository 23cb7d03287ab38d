"""Data frames and rows as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import tabulate

from scripts.report.figures import DASH

tabulate.MIN_PADDING = 0  # columns as wide as what is in them: the first table fits a screen


def markdown_table(table: pd.DataFrame | Sequence[Mapping[str, str]]) -> str:
    """The frame or rows as a Markdown table, every cell as it is written, its bars escaped; a dash where none is."""
    frame = pd.DataFrame(table, dtype=object).fillna(DASH)
    rows = frame.map(lambda value: str(value).replace("|", "\\|")).to_numpy().tolist()
    return tabulate.tabulate(rows, headers=list(frame.columns), tablefmt="pipe", disable_numparse=True)
