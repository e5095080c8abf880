"""The k-core: users and items with enough interactions among one another."""

from __future__ import annotations

import numpy as np

from .ragged import IntArray


def k_core_rows(user_codes: IntArray, item_codes: IntArray, users: int, items: int) -> tuple[IntArray, int]:
    """Drop users and items with too few interactions, again and again, until all that are left have enough.

    What is left does not depend on the order of dropping: it is the largest set of interactions in which every user
    and every item has enough (Batagelj and Zaveršnik, "An O(m) Algorithm for Cores Decomposition of Networks", 2003,
    here for the two kinds of node with a threshold each).

    Args:
        user_codes: for each interaction a number for its user, from 0.
        item_codes: likewise for its item.
        users: the fewest interactions of a user that stays; 0 or 1 for no threshold.
        items: likewise of an item.

    Returns:
        The places of the interactions that stay, in order, and how many rounds dropped something.

    Example:
        >>> rows, rounds = k_core_rows(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 1]), users=2, items=2)
        >>> rows.tolist(), rounds
        ([0, 1, 2, 3], 1)
    """
    rows = np.arange(len(user_codes))
    rounds = 0
    while True:
        enough = (np.bincount(user_codes) >= users)[user_codes] & (np.bincount(item_codes) >= items)[item_codes]
        if enough.all():
            return rows, rounds
        rows, user_codes, item_codes = rows[enough], user_codes[enough], item_codes[enough]
        rounds += 1
