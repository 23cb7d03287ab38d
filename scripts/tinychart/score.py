"""How well a model answers charts it has never seen: drawn scenarios of held-out seeds, played for real."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from scripts.common.protocol import Engine
from scripts.tinychart.draw import FIRST_HELD_OUT_SEED, draw_scenario
from scripts.workload.chat import ChatForm
from scripts.workload.episode import play_episode


@dataclass
class Score:
    """Questions asked and answered right, by kind; turns and tokens of all episodes."""

    asked: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    tokens: int = 0

    @property
    def accuracy(self) -> float:
        """The share of the questions that were answered right; an unanswered one is wrong."""
        return self.right.total() / self.asked.total()


def score_held_out(engine: Engine, chat: ChatForm, episodes: int, *, context: int) -> Score:
    """Play the scenarios of `episodes` held-out seeds, ten questions each, and count."""
    score = Score()
    for number in range(episodes):
        drawn = draw_scenario(FIRST_HELD_OUT_SEED + number)
        engine.reset()
        right: set[int | str] = set()
        with tempfile.TemporaryDirectory() as folder:
            for played in play_episode(
                engine,
                chat,
                drawn.workload,
                drawn.workload.scenarios[0],
                folder=Path(folder),
                listing="names",
                top_logprobs=0,
                context=context,
            ):
                score.turns += 1
                score.tokens += len(played.turn.output_ids)
                answer = played.turn.answer
                if answer is not None and answer.correct:
                    right.add(answer.question)
        for position, (kind, _, _) in enumerate(drawn.asked, start=1):
            score.asked[kind] += 1
            score.right[kind] += position in right
    return score
