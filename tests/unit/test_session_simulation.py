"""What is said of changes and sessions, tested on cells whose truth is known: by the real code, from session files.

A start draws one of a few states, which all its replays share; beside that a replay may flip by itself, or the first
of each session be odd. A change that does nothing draws from the same. All draws are seeded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from scripts.records.cell import Cell
from scripts.records.grid import GridCell
from scripts.report.ablation import Look, Outcome, judge
from scripts.report.entries import Entry
from scripts.verdict.sessions import replays_differ, sessions_differ, share_at_most
from scripts.verdict.summary import summarise
from tests.unit.cells import PlantedReplay, part, write_cell

USUAL = 10


@dataclass(frozen=True)
class Deployment:
    """How its replays come out.

    `states`: the chance of each state of a start. `noise`: the chance that a replay flips by itself. `first`: the
    chance that the first replay of each session is odd; it is the deployment's, drawn once.
    """

    states: tuple[float, ...] = (1.0,)
    noise: float = 0.0
    first: bool = False

    def draw(self, sessions: int, replays: int, generator: np.random.Generator) -> list[list[PlantedReplay]]:
        """So many sessions of so many replays."""
        return [self._session(replays, generator) for _ in range(sessions)]

    def _session(self, replays: int, generator: np.random.Generator) -> list[PlantedReplay]:
        state = int(generator.choice(len(self.states), p=self.states))
        found = []
        for number in range(replays):
            ids = [USUAL, 20 + state, USUAL]
            if generator.random() < self.noise:
                ids[2] = 30 + int(generator.integers(0, 40))
            if self.first and number == 0:
                ids[0] = USUAL + 1
            found.append({"daily": [part([1, 2], ids)]})
        return found


def measure(
    folder: Path, deployment: Deployment, sessions: int, replays: int, generator: np.random.Generator
) -> Cell:
    """Draw a cell, write it as sessions do, and judge it."""
    return summarise(write_cell(folder, deployment.draw(sessions, replays, generator)))


def said(baseline: Cell, change: Cell) -> Outcome:
    """What the page of ablations says that the change did."""
    planned = GridCell(model="m", precision="p", engine="e", variant="v")
    looks = [Look("v", (), Entry(planned, cell, None, None)) for cell in (baseline, change)]
    judged = judge(*looks)
    assert judged is not None
    return judged.outcome


def random_deployment(generator: np.random.Generator, kind: str) -> Deployment:
    """One of that kind: `states` (two to six), `noise`, `both`, `first`."""
    weights = generator.dirichlet(np.ones(int(generator.integers(2, 7))))
    states = tuple(weights / weights.sum()) if kind in ("states", "both", "first") else (1.0,)
    noise = float(generator.choice([0.02, 0.1, 0.3, 0.6])) if kind in ("noise", "both") else 0.0
    return Deployment(states, noise, first=kind == "first" and bool(generator.integers(0, 2)))


LAYOUTS = (((5, 2), (5, 2)), ((4, 2), (4, 2)), ((5, 6), (2, 3)), ((2, 3), (2, 3)), ((2, 3), (5, 6)))
KINDS = ("states", "noise", "both", "first")


def false_claims(folder: Path, pairs: int, seed: int) -> Counter[tuple[str, int, bool]]:
    """Of a change that does nothing: by kind and layout how often it was said to remove or bring a difference."""
    counts: Counter[tuple[str, int, bool]] = Counter()
    for kind in KINDS:
        for layout, shapes in enumerate(LAYOUTS):
            generator = np.random.default_rng([seed, KINDS.index(kind), layout])
            for pair in range(pairs):
                deployment = random_deployment(generator, kind)
                home = folder / f"{kind}-{layout}-{pair}"
                cells = [
                    measure(home / name, deployment, *shape, generator)
                    for name, shape in zip(("base", "change"), shapes, strict=True)
                ]
                claimed = said(cells[0], cells[1]) in (Outcome.REMOVES, Outcome.BRINGS)
                counts[kind, layout, claimed] += 1
    return counts


def power(folder: Path, shapes: tuple[tuple[int, int], tuple[int, int]], noise: float, pairs: int) -> float:
    """How often a change that removes that noise is said to."""
    generator = np.random.default_rng(round(100 * noise))
    hits = 0
    for pair in range(pairs):
        base = measure(folder / f"{pair}-base", Deployment(noise=noise), *shapes[0], generator)
        change = measure(folder / f"{pair}-change", Deployment(), *shapes[1], generator)
        hits += base.logprobs_identical != base.replays and said(base, change) is Outcome.REMOVES
    return hits / pairs


def covered_sessions(
    folder: Path, cells: int, sessions: int, draw: Callable[[np.random.Generator], Deployment]
) -> tuple[float, float]:
    """How often the bounds hold: of the sessions that give another text than most do, and of replays that differ."""
    generator = np.random.default_rng([sessions, cells])
    bound = interval = 0
    for number in range(cells):
        deployment = draw(generator)
        found = measure(folder / str(number), deployment, sessions, 2, generator)
        truth = 1 - max(deployment.states)
        clean = sessions_differ(found.hashes) == 0
        bound += not clean or truth <= share_at_most(0, sessions)
        differ = replays_differ(found.hashes, found.reference)
        assert differ is not None
        reference = found.reference
        assert reference is not None
        usual = _state(folder / str(number), reference.session)
        interval += differ.low <= 1 - deployment.states[usual] <= differ.high
    return bound / cells, interval / cells


def _state(cell: Path, session: int) -> int:
    text = (cell / f"session-{session:02d}" / "replay-00.transcript.jsonl").read_text()
    return next(state for state in range(6) if f"[10,{20 + state},10]" in text)


def test_a_change_that_does_nothing_is_seldom_said_to_do_something(tmp_path: Path) -> None:
    counts = false_claims(tmp_path, 8, seed=1)
    claims = sum(number for (_, _, claimed), number in counts.items() if claimed)
    assert counts.total() == 160
    assert claims <= 0.05 * counts.total()


def test_what_every_session_shows_is_found(tmp_path: Path) -> None:
    assert power(tmp_path, ((5, 2), (5, 2)), 1.0, 10) == 1


@pytest.mark.parametrize("sessions", [2, 5])
def test_bounds_by_session_hold(tmp_path: Path, sessions: int) -> None:
    bound, interval = covered_sessions(
        tmp_path, 120, sessions, lambda generator: random_deployment(generator, "states")
    )
    assert bound >= 0.94
    assert interval >= 0.94
