"""Shares of positions. Without scipy, since engines' environments, in which passes are summarised, have none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scripts.records.figures import Share


def share(hits: NDArray[np.bool_]) -> Share:
    """How many positions are hit, and their share of all."""
    count = int(hits.sum())
    return Share(positions=count, share=count / hits.size if hits.size else None)
