"""The step of bf16 logits, told from logprobs: right as often as it says, silent over float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scripts.records.cell import KnownCandidates
from scripts.verdict.steps import LIKELY, logit_step

Logits = NDArray[np.float32]


def bf16(values: Logits) -> Logits:
    """Rounded to the nearest bf16 number, ties to even."""
    bits = values.view(np.uint32)
    rounded: Logits = ((bits + ((bits >> 16) & 1) + 0x7FFF) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return rounded


def recorded(logits: Logits) -> KnownCandidates:
    """The five best by float32 logprobs, as an engine takes them."""
    below = logits - logits.max()
    logprobs = (below - np.log(np.exp(below).sum(dtype=np.float32))).astype(np.float32)
    best = [(int(token), float(logprobs[token])) for token in np.argsort(-logprobs, kind="stable")[:5]]
    return KnownCandidates(chosen=best[0][1], top=best)


def draw(
    generator: np.random.Generator, *, coarse: bool, replays: int
) -> tuple[list[KnownCandidates], float]:
    """What noisy replays record of a position whose logits are of any size, and the step of the best one's."""
    scale = np.exp(generator.uniform(np.log(0.6), np.log(12.0)))
    logits = generator.normal(0, scale, 3000).astype(np.float32)
    noisy = [
        logits + generator.normal(0, 0.01 * scale * min(replay, 1), logits.shape).astype(np.float32)
        for replay in range(replays)
    ]
    seen = [bf16(each) if coarse else each for each in noisy]
    return [recorded(each) for each in seen], float(2.0 ** (np.floor(np.log2(seen[0].max())) - 7))


def test_a_step_that_is_said_is_right_as_often_as_it_must_be() -> None:
    generator = np.random.default_rng(7)
    said = right = 0
    for _ in range(600):
        records, true = draw(generator, coarse=True, replays=2)
        step = logit_step(records[0].top[0][0], records)
        said, right = said + (step is not None), right + (step == true)
    assert said >= 150, "it is said in a quarter of the cases at least"
    assert right / said >= LIKELY


def test_float32_logits_have_no_step() -> None:
    generator = np.random.default_rng(8)
    for _ in range(100):
        records, _ = draw(generator, coarse=False, replays=2)
        assert logit_step(records[0].top[0][0], records) is None


def test_two_replays_tell_more_than_one_and_the_same_twice_does_not() -> None:
    """Logits near 12, where the step is 1/16; the second replay moves three of them by a step or two."""
    step = 1 / 16
    one = KnownCandidates(
        chosen=-0.5, top=[(n, -0.5 - steps * step) for n, steps in enumerate((0, 1, 7, 13, 25))]
    )
    two = KnownCandidates(
        chosen=-0.5, top=[(n, -0.5 - steps * step) for n, steps in enumerate((0, 3, 6, 15, 23))]
    )
    assert logit_step(0, [one]) is None
    assert logit_step(0, [one, one]) is None
    assert logit_step(0, [one, two]) == step
    assert logit_step(9, [one, two]) is None, "nothing is known of an id that was not listed"
