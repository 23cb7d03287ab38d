"""The step of bf16 logits, told from the logprobs that were recorded.

Logprobs of one position are its logits less one number, so their differences are differences of logits. Those are
multiples of the step of bf16 at the logits' size, 2^(e-7) for sizes of 2^e to 2^(e+1). A size is likely in proportion
to the spacing of what it allows: were the logits smaller, all differences would be multiples of twice their step by
luck alone. Where no size is likely enough, or none is possible (logits in float32), there is no step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scripts.records.cell import KnownCandidates

LIKELY = 0.9
"""How likely the step must be, where every order of magnitude of the logits is alike before."""
TOLERANCE = 1e-5
"""nat: logprobs are float32."""
NOISE = 16
"""By how many steps a logit may differ from replay to replay at the same context."""
BITS = 7  # of a bf16 number's fraction
EXPONENTS = range(-2, 8)  # e, of logits of 0.25 to 256

ROUNDS = 100
"""Rounds of the estimate over many positions."""

Floats = NDArray[np.float64]
STEPS: Floats = 2.0 ** (np.array(EXPONENTS) - BITS)
"""The steps that bf16 logits can have, nat, ascending."""
SIZES: Floats = np.concatenate(
    [2.0**exponent * (1 + np.arange(2**BITS) / 2**BITS) for exponent in EXPONENTS]
)  # every bf16 number among them, ascending


def _spacing(logits: Floats) -> Floats:
    """The distance of neighbouring bf16 numbers at these logits; that of 2^-4 below."""
    exponents = np.floor(np.log2(np.maximum(np.abs(logits) + TOLERANCE, 2.0**-4)))
    spacing: Floats = 2.0 ** (exponents - BITS)
    return spacing


def _likelihood(logits: Floats, differences: Floats) -> Floats:
    """How likely, for each of a token's `logits`, are the differences of the others from it."""
    others = logits[:, None] - differences[None, :]
    spacing = _spacing(others)
    off = np.abs(others - np.round(others / spacing) * spacing)
    found: Floats = np.where(off < TOLERANCE, spacing, 0.0).prod(axis=1)
    return found


def step_likelihoods(token: int, records: Sequence[KnownCandidates]) -> Floats | None:
    """How likely each of `STEPS` is as that of the logit of `token`, by what replays recorded at one position of one
    context; they add to one. None where nothing is known, or no step fits.
    """
    seen = set[tuple[int, float]]()
    likely = [1 / SIZES, 1 / SIZES]  # of logits above and below 0
    near = np.ones(2 * NOISE + 1) / (2 * NOISE + 1)
    for record in records:
        known = dict(record.top)
        # A difference that another replay has too says nothing the second time.
        new = {
            (other, round(known[token] - logprob, 5))
            for other, logprob in known.items()
            if token in known and other != token
        } - seen
        differences = np.array([known[token] - known[other] for other, _ in sorted(new)])
        for index, sign in enumerate((1, -1) if new else ()):
            found = _likelihood(sign * SIZES, differences)
            likely[index] = likely[index] * (np.convolve(found, near, "same") if seen else found)
        seen |= new
    of_exponent: Floats = (likely[0] + likely[1]).reshape(len(EXPONENTS), -1).sum(axis=1)
    if not seen or not of_exponent.any():
        return None
    shares: Floats = of_exponent / of_exponent.sum()
    return shares


def logit_step(token: int, records: Sequence[KnownCandidates]) -> float | None:
    """The step of the logit of `token`, nat, from what replays recorded at one position of one context.

    None where they do not tell: the logits have no such step, or too few differences are known.
    """
    likely = step_likelihoods(token, records)
    return None if likely is None else likely_step(likely)


def likely_step(likely: Floats) -> float | None:
    """The step that is likely enough, nat, of how likely each of `STEPS` is; None where none is."""
    best = int(likely.argmax())
    return float(STEPS[best]) if likely[best] >= LIKELY else None


def pooled_steps(likely: Floats) -> Floats:
    """The step at each of many positions of one model, nat, NaN where it is not told.

    `likely`: positions × `STEPS`, each row as `step_likelihoods` gives it. What share of the positions has which step
    is estimated from all of them (expectation maximisation): logits of one head are of like sizes.
    """
    shares = np.full(STEPS.size, 1 / STEPS.size)
    after = likely
    for _ in range(ROUNDS if len(likely) else 0):
        after = likely * shares
        after = after / after.sum(axis=1, keepdims=True)
        shares = after.mean(axis=0)
    best = after.argmax(axis=1) if len(after) else np.empty(0, dtype=np.int64)
    told = after[np.arange(len(after)), best] >= LIKELY
    found: Floats = np.where(told, STEPS[best], np.nan)
    return found
