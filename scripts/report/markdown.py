"""Data frames as Markdown tables."""

from __future__ import annotations

import pandas as pd
import tabulate

tabulate.MIN_PADDING = 0  # columns as wide as what is in them: the first table fits a screen


def markdown_table(frame: pd.DataFrame) -> str:
    """The frame as a Markdown table, every cell as it is written, its bars escaped."""
    rows = frame.map(lambda value: str(value).replace("|", "\\|")).to_numpy().tolist()
    return tabulate.tabulate(rows, headers=list(frame.columns), tablefmt="pipe", disable_numparse=True)
