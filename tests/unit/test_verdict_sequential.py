"""The sequential test and the bootstrap: by hand, and their error rates over seeded draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scripts.records.figures import Interval
from scripts.verdict.bootstrap import flips_bootstrap
from scripts.verdict.sequential import Question, decide, evidence, replays_needed

TENTH = Question(r0=0.1, r1=1.0)


def test_evidence_of_one_replay() -> None:
    # 1,000 tokens: means of 0.1 and 1 flips.
    assert evidence(False, 1000, TENTH) == pytest.approx(-0.9)
    expected = math.log((1 - math.exp(-1)) / (1 - math.exp(-0.1)))
    assert evidence(True, 1000, TENTH) == pytest.approx(expected)
    assert evidence(True, 0, TENTH) == evidence(False, 0, TENTH) == 0


def test_clean_replays_accept_the_lower_rate() -> None:
    # log(0.05) is -2.996: four times -0.9 are beyond.
    assert replays_needed(1000, TENTH) == 4
    assert decide([0] * 3, [1000] * 3, TENTH) == ("continue", 3)
    assert decide([0] * 9, [1000] * 9, TENTH) == ("accept-r0", 4)


def test_flips_accept_the_higher_rate() -> None:
    assert decide([1, 1], [1000, 1000], TENTH) == ("accept-r1", 2)


def test_what_comes_after_the_decision_does_not_change_it() -> None:
    assert decide([1, 1, *[0] * 90], [1000] * 92, TENTH) == ("accept-r1", 2)


def test_a_clump_of_flips_is_one_witness() -> None:
    assert decide([50], [1000], TENTH) == ("continue", 1)
    assert decide([50, 0], [1000, 1000], TENTH) == decide([1, 0], [1000, 1000], TENTH)


def test_nothing_yet() -> None:
    assert decide([], [], TENTH) == ("continue", 0)


@pytest.mark.parametrize(
    ("r0", "r1", "alpha", "beta"), [(1, 1, 0.05, 0.05), (0, 1, 0.05, 0.05), (1, 2, 0, 0.1), (1, 2, 0.1, 0.7)]
)
def test_questions_that_have_no_answer(r0: float, r1: float, alpha: float, beta: float) -> None:
    with pytest.raises(ValueError, match="not"):
        Question(r0, r1, alpha, beta)


def test_lists_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="same replays"):
        decide([0], [1, 2], TENTH)
    with pytest.raises(ValueError, match="exposure"):
        decide([0], [-1], TENTH)


@pytest.mark.parametrize("clump", [1, 8])
@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_error_rates_hold(rate: float, clump: int) -> None:
    """Replays flip at `rate` per 1,000 tokens, each flip followed by `clump` - 1 more; bounds are 5 %."""
    generator = np.random.default_rng(round(10 * rate) + clump)
    question, exposure, wrong, trials = Question(0.1, 1.0, alpha=0.05, beta=0.05), 500.0, 0, 4000
    for _ in range(trials):
        flips = clump * generator.poisson(rate * exposure / 1000, 400)
        decision, _ = decide(flips.tolist(), [exposure] * 400, question)
        assert decision != "continue"
        wrong += decision == ("accept-r1" if rate == 0.1 else "accept-r0")
    assert wrong / trials <= 0.05


def test_no_bootstrap_below_five_sessions_or_without_a_flip() -> None:
    assert flips_bootstrap([0, 1, 2, 3] * 3, [1.0] * 12, [100] * 12) is None
    assert flips_bootstrap([0, 1, 2, 3, 4], [0.0] * 5, [100] * 5) is None
    assert flips_bootstrap([0, 1, 2, 3, 4], [0.0] * 5, [0] * 5) is None


def test_bootstrap_of_equal_replays_is_a_point() -> None:
    assert flips_bootstrap(list(range(6)), [1.0] * 6, [200] * 6) == Interval(low=5.0, high=5.0)


def test_bootstrap_is_seeded_and_takes_sessions_of_any_size() -> None:
    sessions = [0, 1, 1, 1, 2, 3, 4]
    events = [0.0, 1, 1, 0, 3, 0, 1]
    found = flips_bootstrap(sessions, events, [100] * 7)
    assert found is not None
    assert found == flips_bootstrap(sessions, events, [100] * 7)
    assert 0 <= found.low < 1000 * 6 / 700 < found.high <= 30


def test_unlike_sessions_widen_the_bootstrap() -> None:
    sessions = [number for number in range(10) for _ in range(4)]
    alike = flips_bootstrap(sessions, [1.0, 0, 0, 0] * 10, [100] * 40)
    unlike = flips_bootstrap(sessions, [1.0] * 10 + [0.0] * 30, [100] * 40)
    assert alike is not None
    assert unlike is not None
    assert unlike.high - unlike.low > 1.3 * (alike.high - alike.low)


def test_replays_of_unlike_rates_do_not_raise_false_alarms() -> None:
    generator, question, wrong, trials = np.random.default_rng(5), Question(0.1, 1.0), 0, 3000
    for _ in range(trials):
        means = 0.5 * generator.gamma(0.5, 0.1 / 0.5, 200)
        decision, _ = decide(generator.poisson(means).tolist(), [500.0] * 200, question)
        wrong += decision == "accept-r1"
    assert wrong / trials <= 0.05
