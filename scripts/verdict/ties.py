"""Do near-ties explain the flips? Predicted from forced passes, beside what free replays did.

Every forced pass measures, at each position of one trajectory, the margin of the usual best id: a mean and,
around it, noise. The noise is pooled over the positions with the smallest margins, where it matters (the
chosen id's own logprob hardly moves where its probability is near 1). It gives, position by position, the
chance that a fresh replay takes the other id. At a context that n replays share the expected events are then
those of the design, n minus the larger group of a binomial draw.

Prediction and observation are compared on the contexts of the forced trajectory, each with the n that it had.
The interval is predictive: it holds what is uncertain about noise and margins, and the chance in the draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.records.cell import Account, HeldOut, Predicted, Ties
from scripts.records.forced import Mode
from scripts.verdict.forced import Passes
from scripts.verdict.rates import flips_per_1000

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
DRAWS = 2000
LOW_SHARE = 0.1
LOW_LEAST, LOW_MOST = 200, 2000


@dataclass(frozen=True)
class NoiseModel:
    """`margins`: the mean margin of each position, nat. `residuals`: noise around it of one pass, positions
    with small margins × draws, symmetric. `passes`: how many the means are of."""

    margins: Floats
    residuals: Floats
    passes: int

    @property
    def reach(self) -> float:
        """The largest margin that the noise can turn."""
        return float(np.abs(self.residuals).max(initial=0.0))


def fit(signed: Floats) -> NoiseModel:
    """Fit to signed margins, passes × positions, at least two passes.

    Residuals are scaled by sqrt(F / (F - 1)), for what the mean of F passes takes up, and taken with both
    signs: which of two nearly equal ids is called best is chance.
    """
    passes = signed.shape[0]
    if passes < 2:
        raise ValueError("noise needs two passes")
    margins = signed.mean(axis=0)
    count = min(margins.size, LOW_MOST, max(LOW_LEAST, int(LOW_SHARE * margins.size)))
    low = np.argsort(np.abs(margins), kind="stable")[:count]
    residuals = (signed[:, low] - margins[low]).T * np.sqrt(passes / (passes - 1))
    return NoiseModel(margins, np.concatenate([residuals, -residuals], axis=1), passes)


def chance(margins: Floats, residuals: Floats) -> Floats:
    """The chance that noise turns each margin: the share of residuals below minus the margin."""
    ordered = np.sort(residuals, axis=None)
    return np.searchsorted(ordered, -margins, side="left") / max(ordered.size, 1)


def draw_events(model: NoiseModel, replays: Counts) -> Counts:
    """Events over all positions in each of `DRAWS` predictive draws; `replays`: n at each position.

    In each draw the positions whose residuals are pooled are drawn anew, the margins get the error of a
    mean of so many passes, and each position's replays take the other id by chance. Seeded.
    """
    generator = np.random.default_rng(0)
    near = np.flatnonzero((np.abs(model.margins) <= 2 * model.reach) & (replays >= 2))
    found = np.zeros(DRAWS, dtype=np.int64)
    if not near.size or model.reach == 0:
        return found
    for draw in range(DRAWS):
        rows = generator.integers(0, model.residuals.shape[0], model.residuals.shape[0])
        pool = model.residuals[rows]
        errors = generator.choice(pool.ravel(), (model.passes, near.size)).mean(axis=0)
        others = generator.binomial(replays[near], chance(model.margins[near] + errors, pool))
        found[draw] = np.minimum(others, replays[near] - others).sum()
    return found


def _interval(draws: Counts) -> tuple[float, float, float]:
    low, high = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    return float(draws.mean()), float(low), float(high)


def held_out(signed: Floats, argmax: NDArray[np.int64]) -> HeldOut | None:
    """Fit on every other pass, predict the events among the rest; None with fewer than four passes."""
    if signed.shape[0] < 4:
        return None
    rest = argmax[1::2]
    model = fit(signed[0::2])
    replays = np.full(signed.shape[1], rest.shape[0])
    agreeing = np.array([(rest == row).sum(axis=0) for row in rest]).max(axis=0)
    observed = int((rest.shape[0] - agreeing).sum())
    mean, low, high = _interval(draw_events(model, replays))
    return HeldOut(
        fitted_on=model.passes,
        tested_on=int(rest.shape[0]),
        predicted_events=mean,
        low=low,
        high=high,
        observed_events=observed,
        consistent=low <= observed <= high,
    )


def account(passes: Passes | None, mode: Mode | None, replays: Counts, events: Counts) -> Ties:
    """The `ties` of cell.json: predicted and observed flips on the forced trajectory's contexts.

    `passes`: those of decode, else of prefill (`mode`). `replays`, `events`: at each position of the
    trajectory how many free replays shared the context, and the events there.
    """
    if passes is None:
        return _untested("the cell has no forced passes")
    if passes.passes < 2:
        return _untested("there is one forced pass only", mode)
    shared = replays >= 2
    exposure, observed = int(replays[shared].sum()), int(events[shared].sum())
    if not exposure:
        return _untested("no two free replays share a context of the forced trajectory", mode)
    signed = passes.signed_margins()
    test = held_out(signed, passes.argmax)
    mean, low, high = _interval(draw_events(fit(signed), replays))
    scale = 1000 / exposure
    verdict, reason = _verdict(observed, low, high, test)
    return Ties(
        near_tie_account=verdict,
        reason=reason,
        mode=mode,
        predicted_flips_per_1000_tokens=Predicted(rate=mean * scale, low=low * scale, high=high * scale),
        observed_flips_per_1000_tokens=flips_per_1000(observed, exposure),
        held_out=test,
    )


def _verdict(observed: int, low: float, high: float, test: HeldOut | None) -> tuple[Account, str]:
    if test is not None and not test.consistent:
        return "not testable", "the noise of half of the forced passes does not predict the other half"
    said = f"{observed} flips seen, {low:.0f} to {high:.0f} predicted"
    if low <= observed <= high:
        if high == 0:
            return "not testable", "no flip was seen and none was predicted"
        return "consistent", said
    return "contradicted", said


def _untested(reason: str, mode: Mode | None = None) -> Ties:
    return Ties(
        near_tie_account="not testable",
        reason=reason,
        mode=mode,
        predicted_flips_per_1000_tokens=None,
        observed_flips_per_1000_tokens=None,
        held_out=None,
    )
