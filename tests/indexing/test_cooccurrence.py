from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.indexing.cooccurrence import cooccurrence

NUM_ITEMS = 6
sequences_strategy = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=7), max_size=5)


def test_counts_worked_by_hand() -> None:
    counts = cooccurrence([np.array([0, 1, 2]), np.array([1, 0])], 4, max_steps=2).toarray()
    assert counts.tolist() == [[0, 2, 0.5, 0], [2, 0, 1, 0], [0.5, 1, 0, 0], [0, 0, 0, 0]]


@settings(deadline=None)
@given(sequences=sequences_strategy, max_steps=st.integers(1, 8))
def test_counts_equal_a_loop_over_pairs(sequences: list[list[int]], max_steps: int) -> None:
    expected = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for items in sequences:
        for (first, one), (second, other) in combinations(enumerate(items), 2):
            if second - first <= max_steps:
                expected[one, other] += 1 / (second - first)
                expected[other, one] += 1 / (second - first)
    counts = cooccurrence([np.array(items, dtype=np.int64) for items in sequences], NUM_ITEMS, max_steps)
    np.testing.assert_allclose(counts.toarray(), expected, rtol=1e-12)


def test_a_distance_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        cooccurrence([], 3, max_steps=0)
