"""An interval for the flip rate that allows for sessions being unlike: sessions are resampled, then replays.

The Poisson interval takes events as independent. Where a session's replays flip together (a kernel chosen at
its start, say) they are not, and this one is the wider. Each replay carries its own events and exposure
(`Walks.of_one`), so that a replay drawn twice is not compared with itself.

With few sessions a plain percentile interval is too narrow; its levels are moved out as Hesterberg proposes
("What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015): to the normal
distribution's at sqrt(S / (S - 1)) times the t quantile of S - 1 degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, stdtrit

from scripts.records.figures import Interval

LEAST_SESSIONS = 5
DRAWS = 2000


def flips_bootstrap(
    sessions: Sequence[int], events: Sequence[float], exposure: Sequence[int], *, level: float = 0.95
) -> Interval | None:
    """The interval of flips per 1,000 tokens; one session, events and exposure a replay.

    None below five sessions, and where no event or no exposure is there to be resampled. The draws are
    seeded: the same replays give the same interval.
    """
    names = sorted(set(sessions))
    count = len(names)
    if count < LEAST_SESSIONS or not sum(events) or not sum(exposure):
        return None
    members = [[index for index, session in enumerate(sessions) if session == name] for name in names]
    sizes = np.array([len(each) for each in members])
    padded = np.array([each + [-1] * (sizes.max() - len(each)) for each in members])
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, count, (DRAWS, count))
    picks = generator.integers(0, sizes[drawn][:, :, None], (DRAWS, count, int(sizes.max())))
    taken = np.arange(int(sizes.max())) < sizes[drawn][:, :, None]
    replays = np.take_along_axis(padded[drawn], picks, axis=2)
    summed = [
        np.where(taken, np.asarray(each, dtype=float)[replays], 0).sum(axis=(1, 2))
        for each in (events, exposure)
    ]
    known = summed[1] > 0
    rates = 1000 * summed[0][known] / summed[1][known]
    side = float(ndtr(np.sqrt(count / (count - 1)) * stdtrit(count - 1, (1 - level) / 2)))
    low, high = np.quantile(rates, [side, 1 - side])
    return Interval(low=float(low), high=float(high))
