"""The class of a difference and of a cell."""

from __future__ import annotations

from collections.abc import Iterable

from scripts.records.cell import CellClass, DifferenceClass, DifferenceKind

ORDER: tuple[DifferenceClass, ...] = (
    "harness",
    "refusal",
    "not-greedy",
    "unclassified",
    "wide",
    "first-block",
    "near-tie",
)
FIRST_BLOCK = 16
TIE_MARGIN = 0.25


def difference_class(
    kind: DifferenceKind,
    position: int,
    margin: float | None,
    *,
    margin_noise_p99: float | None,
    first_block: int = FIRST_BLOCK,
    tie_margin: float = TIE_MARGIN,
    of_harness: bool = False,
    refusal: bool = False,
    greedy: bool = True,
) -> DifferenceClass:
    """The first class that holds. `margin`, `margin_noise_p99`, `tie_margin` in nat, `position` in tokens.

    `of_harness`: unlike back ends or prompts of the server account for it. `refusal`: one answer is a refusal.
    `greedy`: both replays took the most likely id there.
    """
    if kind == "harness" or of_harness:
        return "harness"
    if refusal:
        return "refusal"
    if not greedy:
        return "not-greedy"
    if margin is None:
        return "unclassified"
    if margin > max(tie_margin, margin_noise_p99 or 0.0):
        return "wide"
    return "first-block" if position < first_block else "near-tie"


def cell_class(differences: Iterable[DifferenceClass], *, bits_equal: bool | None) -> CellClass:
    """The first class that occurs; without a difference, whether the bits were equal (None: not known)."""
    found = set(differences)
    for name in ORDER:
        if name in found:
            return name
    return "logits-only" if bits_equal is False else "none observed"
