"""Shares of positions. Without scipy, since engines' environments, in which passes are summarised, have none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    """How many `positions` are hit, and their `share` of all; None where there is none."""
    count = int(hits.sum())
    return {"positions": count, "share": count / hits.size if hits.size else None}
