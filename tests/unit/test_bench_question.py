"""What the benchmark of the sequential question compares: designs that err as rarely, and answers that are right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.bench_question import Asked, fixed_sessions, run
from scripts.records.grid import Estimate
from scripts.verdict.sequential import Question

ASKED = Asked(
    "x", Question(0.1, 1.0), 3, Estimate(tokens_per_replay=1300, tokens_per_second=200, start_seconds=90), 4
)


def test_the_fixed_design_is_the_least_that_errs_so_rarely() -> None:
    low, high = ASKED.chance(0.1), ASKED.chance(1.0)

    def errs(replays: int) -> bool:
        """Whether every threshold of a count has an error above 3 %."""
        return all(
            binom.sf(least - 1, replays, low) > 0.03 or binom.cdf(least - 1, replays, high) > 0.03
            for least in range(replays + 2)
        )

    sessions = fixed_sessions(ASKED, 0.03, 0.03)
    assert not errs(3 * sessions) and all(errs(3 * fewer) for fewer in range(1, sessions))


def test_the_simulated_answers_are_right_within_their_errors_and_starts_are_paid() -> None:
    generator = np.random.default_rng(1)
    assert run(ASKED, 0.0, 20, generator) == (1.0, 0.0)
    _, low = run(ASKED, 0.1, 400, generator)
    _, high = run(ASKED, 1.0, 400, generator)
    assert low < 0.05 < 0.95 < high
    assert ASKED.session_hours == pytest.approx(4 * (90 + 3 * 6.5) / 3600)
