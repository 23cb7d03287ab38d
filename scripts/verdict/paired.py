"""Two deployments on the same questions: exact tests of pairs, intervals over charts, pass^k."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, t


def mcnemar(only_one: int, only_other: int) -> float:
    """The exact two-sided chance of so uneven a split of the pairs of which one alone is right, were both alike.

    McNemar's test by the binomial distribution; 1 where no pair is split. It takes pairs as independent.
    """
    split = only_one + only_other
    return float(binomtest(only_one, split, 0.5).pvalue) if split else 1.0


def exact_interval(right: int, asked: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share; it takes questions as independent."""
    found = binomtest(right, asked).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the mean of independent values; None below two, or where all are equal.

    One value a chart: questions of one chart share what the model read of it, so charts are what is independent.
    """
    if len(values) < 2 or len(set(values)) == 1:
        return None
    mean = float(np.mean(values))
    half = (
        float(t.ppf((1 + level) / 2, len(values) - 1))
        * float(np.std(values, ddof=1))
        / math.sqrt(len(values))
    )
    return mean - half, mean + half


def pass_power(right: Sequence[int], replays: int, k: int) -> float:
    """pass^k: the chance that k replays drawn of a question's `replays` all answer it, averaged over the questions.

    `right`: in how many replays each was answered right. Source: Yao et al., tau-bench, arXiv 2406.12045.
    """
    return sum(math.comb(count, k) for count in right) / (math.comb(replays, k) * len(right))
