"""What a replay achieved and spent: score, tokens, tokens a second."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from scripts.common.errors import DataError
from scripts.verdict.replays import Session
from scripts.verdict.streams import Trajectory


def score(trajectories: Sequence[Trajectory], sessions: Sequence[Session]) -> dict[str, float] | None:
    """Mean, least and greatest share of correct answers over replays; a question not answered is wrong.

    `trajectories`: one a replay. The questions asked are session.json's `questions`; where it has none,
    the largest number that any replay answered. None where no question was asked.
    """
    answered = max(each.answered for each in trajectories)
    asked = next((s.record["questions"] for s in sessions if s.record.get("questions") is not None), answered)
    if not isinstance(asked, int) or asked < answered:
        raise DataError(
            f"questions is {asked!r}, but a replay answered {answered} different ones",
            where=sessions[0].where,
        )
    if asked == 0:
        return None
    correct = [each.correct for each in trajectories]
    mean = sum(correct) / (asked * len(correct))
    return {"mean": mean, "min": min(correct) / asked, "max": max(correct) / asked}


def tokens(counts: Sequence[int]) -> dict[str, Any]:
    """Tokens generated a replay: mean, coefficient of variation, swing.

    `cv` is the standard deviation of these replays (over N, not N - 1) over their mean; `swing` is
    (max - min) / min. None where the divisor is 0.
    """
    mean = statistics.fmean(counts)
    return {
        "mean": mean,
        "cv": statistics.pstdev(counts) / mean if mean else None,
        "swing": (max(counts) - min(counts)) / min(counts) if min(counts) else None,
    }


def tokens_per_second(sessions: Sequence[Session]) -> float | None:
    """Tokens generated over seconds spent, both summed over the sessions."""
    seconds = sum(float(session.record["seconds"]) for session in sessions)
    generated = sum(int(session.record["tokens"]) for session in sessions)
    return generated / seconds if seconds else None
