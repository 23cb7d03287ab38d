"""The class of a difference and of a cell: the first that holds, the first that occurs."""

from __future__ import annotations

import itertools

import pytest

from scripts.verdict.classes import ORDER, cell_class, difference_class


@pytest.mark.parametrize(
    ("kind", "position", "margin", "noise", "expected"),
    [
        ("harness", 0, None, None, "harness"),
        ("harness", 0, 9.0, None, "harness"),
        ("model", 3, None, None, "unclassified"),
        ("model", 3, 0.26, None, "wide"),
        ("model", 3, 0.25, None, "first-block"),
        ("model", 15, 0.0, 0.0, "first-block"),
        ("model", 16, 0.0, 0.0, "near-tie"),
        ("model", 500, 0.4, 0.39, "wide"),
        ("model", 500, 0.4, 0.4, "near-tie"),
        ("model", 500, -0.1, 0.0, "near-tie"),
    ],
)
def test_first_class_that_holds(
    kind: str, position: int, margin: float | None, noise: float | None, expected: str
) -> None:
    assert kind in ("harness", "model")
    found = difference_class(
        "harness" if kind == "harness" else "model", position, margin, margin_noise_p99=noise
    )
    assert found == expected


def test_thresholds_can_be_named() -> None:
    found = difference_class("model", 20, 0.3, margin_noise_p99=0.0, first_block=32, tie_margin=0.5)
    assert found == "first-block"


def test_first_class_that_occurs() -> None:
    for size in range(1, len(ORDER) + 1):
        for names in itertools.combinations(ORDER, size):
            assert cell_class(reversed(names), bits_equal=False) == names[0]


def test_equal_text_over_unequal_bits_is_never_none_observed() -> None:
    assert cell_class([], bits_equal=False) == "logits-only"
    assert cell_class([], bits_equal=True) == "none observed"
    assert cell_class([], bits_equal=None) == "none observed"
