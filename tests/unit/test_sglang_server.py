"""What SGLang says of a prompt's ids, read into logprobs."""

from __future__ import annotations

import pytest

from scripts.engines.sglang_server import _chosen


def test_the_logprob_is_that_of_the_id_asked_for() -> None:
    assert _chosen(7, [-0.5, 7, None], [(3, -0.1), (7, -0.5)]) == -0.5


def test_the_last_id_of_the_vocabulary_is_read_from_the_candidates() -> None:
    """SGLang 0.5.15 gave [-1.76, 0, None] for id 32,767 of 32,768."""
    assert _chosen(32767, [-1.76, 0, None], [(32767, -0.25), (5, -1.5)]) == -0.25
    with pytest.raises(ValueError, match="id 0 for id 32767"):
        _chosen(32767, [-1.76, 0, None], [(4, -0.25), (5, -1.5)])
