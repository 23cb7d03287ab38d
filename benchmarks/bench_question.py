"""GPU-hours until a sequential question is answered, against the fixed number of replays that errs as rarely.

    python -m benchmarks.bench_question [--runs 2000]

Simulated, no engine is asked. A deployment flips at a true rate; a replay that flips parts from all others, one that
does not agrees with all that do not. After every session the project's own test looks at all replays so far, until it
answers. The fixed design is the least whole number of sessions with which counting the replays that flipped errs no
more often, by the binomial distribution, than the sequential test did at r0 and at r1: what somebody would take who
looks once. Each design pays its sessions' starts. Sessions are alike here; where they are not, neither keeps its
errors.

The questions: that of config/README.md, and a closer one, in the small workload on one GPU, by the estimates of
config/grids/hopper.yaml; and that of config/grids/finding.yaml by its own. Target: at most half the GPU-hours of the
fixed design, at each true rate.

With 10,000 runs of each (seed 0) the share of the fixed design's GPU-hours, by flips per 1,000 tokens:

| question | fixed design | 0 | 0.1 | 1 | 10 | 100 |
|:--|:--|--:|--:|--:|--:|--:|
| 0.1 or 1 per 1,000 | 3 sessions of 3, 0.09 GPU-hours | 0.33 | 0.49 | 0.70 | 0.67 | 0.67 |
| 0.3 or 1 per 1,000 | 8 sessions of 3, 0.24 GPU-hours | 0.25 | 0.27 | 0.42 | 0.25 | 0.25 |
| that of `finding`, 0.001 or 0.05 | 4 sessions of 2, 6.2 GPU-hours | 0.50 | 0.50 | 0.50 | 0.50 | 0.50 |

The target is missed where r1 is ten times r0 and the rate is r1 or more: the fixed design has three sessions, and in
one, of three replays that all part, the test does not answer yet.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binom

from scripts.grid.configuration import load_configuration
from scripts.grid.resolve import resolve_cells
from scripts.records.grid import Estimate
from scripts.records.question import Budget, QuestionAsked
from scripts.verdict.question import Witness, ask, read_question
from scripts.verdict.sequential import Decision, Question

ROOT = Path(__file__).resolve().parents[1]
RATES = (0.0, 0.1, 1.0, 10.0, 100.0)  # flips per 1,000 tokens
TARGET = 0.5
MOST_SESSIONS = 1000


@dataclass(frozen=True)
class Asked:
    """A question to a deployment: its replays a session, what these take, and how many GPUs."""

    name: str
    question: Question
    replays: int
    estimate: Estimate
    gpus: int

    @property
    def session_hours(self) -> float:
        """GPU-hours of a session."""
        rate = self.estimate
        seconds = rate.start_seconds + self.replays * rate.tokens_per_replay / rate.tokens_per_second
        return self.gpus * seconds / 3600

    def chance(self, rate: float) -> float:
        """That a replay flips at `rate` flips per 1,000 tokens."""
        return float(-np.expm1(-rate * self.estimate.tokens_per_replay / 1000))


def questions() -> Iterator[Asked]:
    """The questions that are asked, each of its deployment."""
    hopper = load_configuration(ROOT, {"grid": "hopper"})
    for low, high in ((0.1, 1.0), (0.3, 1.0)):
        small = QuestionAsked(r0=low, r1=high, budget=Budget())
        yield Asked(f"{low:g} or {high:g} per 1,000", read_question(small), 3, hopper.grid.estimate, 1)
    finding = load_configuration(ROOT, {"grid": "finding"})
    cell = next(
        cell for cell in resolve_cells(finding) if cell.question and cell.model == "qwen3.5-122b-a10b"
    )
    assert cell.question is not None
    gpus = finding.engines[cell.engine].gpus
    yield Asked("the grid finding's", read_question(cell.question), cell.replays, cell.estimate, gpus)


def simulate(asked: Asked, rate: float, generator: np.random.Generator) -> tuple[Decision, int]:
    """The answer to one deployment of that rate, and after how many sessions it came."""
    exposure = asked.estimate.tokens_per_replay
    flipped: list[bool] = []
    for session in range(1, MOST_SESSIONS + 1):
        flipped += (generator.random(asked.replays) < asked.chance(rate)).tolist()
        agreeing = flipped.count(False)
        said = (
            flipped if agreeing >= 2 else [False, *[True] * (len(flipped) - 1)]
        )  # of no two that agree one is taken
        decision, _ = ask([Witness(each, exposure) for each in said], max(agreeing, 1), asked.question)
        if decision != "continue":
            return decision, session
    raise RuntimeError(f"not answered after {MOST_SESSIONS} sessions")


def fixed_sessions(asked: Asked, alpha: float, beta: float) -> int:
    """The least number of sessions with which a count of flipped replays tells r0 from r1 with no larger errors."""
    low, high = (asked.chance(rate) for rate in (asked.question.r0, asked.question.r1))
    for sessions in range(1, MOST_SESSIONS + 1):
        replays = sessions * asked.replays
        least = int(binom.isf(alpha, replays, low)) + 1  # of so many on, the answer is r1
        if binom.cdf(least - 1, replays, high) <= beta:
            return sessions
    raise RuntimeError(f"{MOST_SESSIONS} sessions cannot tell r0 from r1")


def run(asked: Asked, rate: float, runs: int, generator: np.random.Generator) -> tuple[float, float]:
    """The mean number of sessions that the answer took, and the share of answers that were r1."""
    found = [simulate(asked, rate, generator) for _ in range(runs)]
    high = sum(decision == "accept-r1" for decision, _ in found)
    return sum(sessions for _, sessions in found) / runs, high / runs


def main() -> None:
    """Simulate each question at each rate, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="deployments of each rate")
    runs = parser.parse_args().runs
    generator = np.random.default_rng(0)
    for asked in questions():
        alpha = run(asked, asked.question.r0, runs, generator)[1]
        beta = 1 - run(asked, asked.question.r1, runs, generator)[1]
        fixed = fixed_sessions(asked, alpha, beta)
        print(
            f"{asked.name}: the sequential test errs in {alpha:.1%} at r0 and {beta:.1%} at r1; as rarely does a fixed "
            f"design of {fixed} sessions of {asked.replays} replays, {fixed * asked.session_hours:.3f} GPU-hours"
        )
        for rate in RATES:
            mean, high = run(asked, rate, runs, generator)
            print(
                f"  true rate {rate:g} per 1,000: {mean * asked.session_hours:.3f} GPU-hours in {mean:.2f} sessions, "
                f"{mean / fixed:.2f} of the fixed design (target: at most {TARGET:g}) "
                f"{'met' if mean <= TARGET * fixed else 'MISSED'}; {high:.1%} answered r1",
                flush=True,
            )


if __name__ == "__main__":
    main()
