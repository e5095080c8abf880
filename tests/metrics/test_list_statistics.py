from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_pod.metrics import list_statistics

NUM_ITEMS = 7
ranked = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), unique=True, max_size=5), min_size=1, max_size=8)
counts = st.lists(st.integers(0, 9), min_size=NUM_ITEMS, max_size=NUM_ITEMS)


def table(lists: list[list[int]], depth: int = 5) -> np.ndarray:
    return np.array([items + [-1] * (depth - len(items)) for items in lists])


@given(ranked, counts, st.integers(1, 5))
def test_the_definitions(lists: list[list[int]], taken: list[int], k: int) -> None:
    found = list_statistics(table(lists), np.array(taken), ks=[k])
    tops = [items[:k] for items in lists]
    assert found[f"coverage@{k}"] == pytest.approx(len({item for top in tops for item in top}) / NUM_ITEMS)
    filled = [top for top in tops if top]
    if not filled:
        assert set(found) == {f"coverage@{k}"}
        return
    bits = [-math.log((count + 1) / (sum(taken) + NUM_ITEMS), 2) for count in taken]
    for name, values in ((f"novelty@{k}", bits), (f"arp@{k}", taken)):
        means = [sum(values[item] for item in top) / len(top) for top in filled]
        assert found[name] == pytest.approx(sum(means) / len(means))


def test_hand_computed() -> None:
    """Item 0 was taken three times of four, so it has (3 + 1) / (4 + 4) of all: one bit."""
    found = list_statistics(np.array([[0, 1], [0, 2], [-1, -1]]), np.array([3, 1, 0, 0]), ks=[1, 2])
    assert found == pytest.approx(
        {
            "coverage@1": 1 / 4,
            "novelty@1": 1.0,
            "arp@1": 3.0,
            "coverage@2": 3 / 4,
            "novelty@2": ((1 + 2) / 2 + (1 + 3) / 2) / 2,
            "arp@2": ((3 + 1) / 2 + (3 + 0) / 2) / 2,
        }
    )


@pytest.mark.parametrize(
    ("lists", "ks", "message"),
    [
        ([[0, 1]], [3], "ks has 3 and the lists have room for 2 items"),
        ([[0, 1]], [0], "ks has 0"),
        ([[0, 4]], [1], "items names 4; positions in this catalogue run from 0 to 3"),
        ([[-2, 0]], [1], "items names -2"),
        ([0, 1], [1], r"not the shape \(2,\)"),
        (np.empty((0, 2), int), [1], r"at least one user, not the shape \(0, 2\)"),
    ],
)
def test_bad_input(lists: object, ks: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list_statistics(np.array(lists), np.ones(4, dtype=int), ks=ks)
