from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from peft_pod.corpus.kcore import k_core_rows

pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40)


def one_at_a_time(rows: list[tuple[int, int]], users: int, items: int) -> list[int]:
    """Drops a single user or item, the first that has too few, and looks again."""
    left = list(range(len(rows)))
    while True:
        by_user = Counter(rows[place][0] for place in left)
        by_item = Counter(rows[place][1] for place in left)
        poor_users = [user for user, count in by_user.items() if count < users]
        poor_items = [item for item, count in by_item.items() if count < items]
        if poor_items:
            left = [place for place in left if rows[place][1] != poor_items[0]]
        elif poor_users:
            left = [place for place in left if rows[place][0] != poor_users[0]]
        else:
            return left


@given(pairs, st.integers(0, 4), st.integers(0, 4))
def test_equals_dropping_one_at_a_time(rows: list[tuple[int, int]], users: int, items: int):
    codes = np.array(rows)
    kept, rounds = k_core_rows(codes[:, 0], codes[:, 1], users, items)
    assert kept.tolist() == one_at_a_time(rows, users, items)
    assert (rounds == 0) == (len(kept) == len(rows))


def test_a_chain_falls_link_by_link():
    """Each user has two items, each item two users, but for the ends: nothing of the chain is left."""
    users = np.array([0, 1, 1, 2, 2, 3, 3])
    items = np.array([0, 0, 1, 1, 2, 2, 3])
    kept, rounds = k_core_rows(users, items, 2, 2)
    assert (kept.tolist(), rounds) == ([], 4)
