from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from peft_pod.metrics import UserRanks
from peft_pod.metrics.user_groups import (
    HISTORY_STARTS,
    by_history,
    by_popularity,
    group_users,
    history_buckets,
    popularity_deciles,
    wilson_interval,
)


def test_deciles_without_ties():
    counts = np.array([0, 50, 40, 30, 20, 10, 9, 8, 7, 6, 5, 0])
    assert popularity_deciles(counts).tolist() == [0, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    # Twenty items: two in each.
    assert popularity_deciles(np.arange(1, 21)).tolist() == [d for d in range(1, 11) for _ in range(2)]


def test_items_that_tie_share_the_middle():
    # Eight items with one interaction take places 0 to 7 of 10, whose middle is in the fifth decile.
    assert popularity_deciles(np.array([1] * 8 + [2, 3])).tolist() == [5] * 8 + [9, 10]
    assert popularity_deciles(np.array([4, 4, 4])).tolist() == [6, 6, 6]
    assert popularity_deciles(np.array([0, 0])).tolist() == [0, 0]
    assert popularity_deciles(np.array([0, 3])).tolist() == [0, 6]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_deciles_by_their_definition(counts):
    """Against the mean place of the tied items, counted one by one."""
    warm = sorted(count for count in counts if count)
    found = popularity_deciles(np.array(counts)).tolist()
    for count, decile in zip(counts, found, strict=True):
        if count == 0:
            assert decile == 0
            continue
        places = [place for place, other in enumerate(warm) if other == count]
        middle = sum(place + 0.5 for place in places) / len(places)
        assert decile == int(round(10 * middle, 6) // len(warm)) + 1
        assert 1 <= decile <= 10


def test_history_buckets():
    starts = dict(zip(HISTORY_STARTS, history_buckets(np.array(HISTORY_STARTS)).tolist(), strict=True))
    assert list(starts.values()) == list(range(len(HISTORY_STARTS)))
    ends = np.array(HISTORY_STARTS[1:]) - 1
    assert history_buckets(ends).tolist() == list(range(len(HISTORY_STARTS) - 1))


def test_hits_by_history():
    ranks = {
        "model": UserRanks(list("abcdef"), np.array([1, 10, 11, 0, 2, 3])),
        "popularity": UserRanks(list("abcdef"), np.array([0, 0, 5, 0, 0, 1])),
    }
    groups = by_history(np.array([1, 3, 4, 4, 21, 500]), ranks, k=10)
    assert [(group.name, group.span, group.users, dict(group.hits)) for group in groups] == [
        ("1", "1", 1, {"model": 1, "popularity": 0}),
        ("3–4", "3–4", 3, {"model": 1, "popularity": 1}),
        ("21–50", "21", 1, {"model": 1, "popularity": 0}),
        ("201+", "500", 1, {"model": 1, "popularity": 1}),
    ]
    written = groups[1].to_dict()
    assert written["systems"]["model"]["hit_rate"] == pytest.approx(1 / 3)
    assert written["systems"]["model"]["interval"] == pytest.approx(wilson_interval(1, 3))


def test_hits_by_popularity_have_cold_items_apart():
    counts = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1000])
    ranks = {"model": UserRanks(list("abcde"), np.array([1, 2, 0, 1, 1]))}
    groups = by_popularity(counts, np.array([0, 10, 0, 1, 10]), ranks, k=1)
    assert [(group.name, group.span, group.users, group.hits["model"]) for group in groups] == [
        ("cold", "0", 2, 1),
        ("1", "1", 1, 1),
        ("10", "1,000", 2, 1),
    ]


@pytest.mark.parametrize(("hits", "users"), [(0, 1), (1, 1), (0, 30), (3, 10), (500, 1000), (1000, 1000)])
def test_wilson_is_that_of_scipy(hits, users):
    expected = binomtest(hits, users).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits, users) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_what_is_refused():
    with pytest.raises(ValueError, match="2 hits of 1 users"):
        wilson_interval(2, 1)
    one, other = UserRanks(["a", "b"], np.array([1, 2])), UserRanks(["b", "a"], np.array([1, 2]))
    numbers = np.array([0, 0])
    with pytest.raises(ValueError, match="ranks of 'popularity' are of other users than those of 'model'"):
        group_users(numbers, numbers, {0: "all"}, {"model": one, "popularity": other}, k=1)
    with pytest.raises(ValueError, match="give one for each user"):
        group_users(numbers[:1], numbers, {0: "all"}, {"model": one}, k=1)
