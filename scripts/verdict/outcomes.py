"""What a replay achieved and spent: score, tokens, tokens a second."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from scripts.common.errors import DataError
from scripts.records.cell import Score, Tokens
from scripts.verdict.replays import Session
from scripts.verdict.streams import Trajectory


def score(trajectories: Sequence[Trajectory], sessions: Sequence[Session]) -> Score | None:
    """Mean, least and greatest share of correct answers over replays; a question not answered is wrong.

    `trajectories`: one a replay. The questions asked are session.json's `questions`; where it has none,
    the largest number that any replay answered. None where no question was asked.
    """
    answered = max(each.answered for each in trajectories)
    asked = next((s.record.questions for s in sessions if s.record.questions is not None), answered)
    if asked < answered:
        raise DataError(
            f"questions is {asked}, but a replay answered {answered} different ones",
            where=sessions[0].where,
        )
    if asked == 0:
        return None
    correct = [each.correct for each in trajectories]
    mean = sum(correct) / (asked * len(correct))
    return Score(mean=mean, min=min(correct) / asked, max=max(correct) / asked)


def tokens(counts: Sequence[int]) -> Tokens:
    """Tokens generated a replay: mean, coefficient of variation, swing.

    `cv` is the standard deviation of these replays (over N, not N - 1) over their mean; `swing` is
    (max - min) / min. None where the divisor is 0.
    """
    mean = statistics.fmean(counts)
    return Tokens(
        mean=mean,
        cv=statistics.pstdev(counts) / mean if mean else None,
        swing=(max(counts) - min(counts)) / min(counts) if min(counts) else None,
    )


def tokens_per_second(sessions: Sequence[Session]) -> float | None:
    """Tokens generated over seconds spent, both summed over the sessions."""
    seconds = sum(session.record.seconds for session in sessions)
    generated = sum(session.record.tokens for session in sessions)
    return generated / seconds if seconds else None
