"""Hit rates of groups of users: by how popular the item is that they should be recommended, and by their history."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from peft_pod.corpus.split import IntArray

from .user_ranks import UserRanks

COLD = 0
"""Group of the items that do not occur in training."""

DECILES = 10
HISTORY_STARTS = (0, 1, 2, 3, 5, 8, 13, 21, 51, 101, 201)
"""The shortest history of each bucket. One begins at 21 because inputs hold 20 items unless told otherwise."""

Z_95 = 1.959964
"""97.5 % of a normal distribution lies below."""


@dataclass(frozen=True)
class UserGroup:
    """Users who have something in common, and how often each system found their item.

    Attributes:
        name: what the group is called.
        low: the smallest value (count of the item, length of the history) that a user of the group has.
        high: the largest.
        users: how many there are.
        hits: by system, how many of them have their item among the first k.
    """

    name: str
    low: int
    high: int
    users: int
    hits: Mapping[str, int]

    @property
    def span(self) -> str:
        """The values that the group has, as text."""
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,}–{self.high:,}"

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON: for each system hits, hit rate, and its 95 % interval by Wilson."""
        systems = {
            name: {"hits": hits, "hit_rate": hits / self.users, "interval": list(wilson_interval(hits, self.users))}
            for name, hits in self.hits.items()
        }
        return {
            "name": self.name, "span": self.span, "low": self.low, "high": self.high, "users": self.users,
            "systems": systems,
        }  # fmt: skip


def popularity_deciles(item_counts: IntArray) -> IntArray:
    """The popularity decile of each item of a catalogue.

    The items that occur in training are ordered by how often they do. Items that occur equally often share the place in
    the middle of theirs, so they are in one decile, and a decile may be empty where many items tie.

    Args:
        item_counts: how often each item occurs in the training part; shape `(num_items,)`.

    Returns:
        For each item its decile, from 1 (least often) to 10; `COLD`, 0, where it does not occur.

    Example:
        >>> popularity_deciles(np.array([0, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7])).tolist()
        [0, 3, 3, 3, 3, 5, 6, 7, 8, 9, 10]
    """
    deciles = np.full(len(item_counts), COLD, dtype=np.int64)
    warm = item_counts > 0
    ordered = np.sort(item_counts[warm])
    below = np.searchsorted(ordered, item_counts[warm], side="left")
    not_above = np.searchsorted(ordered, item_counts[warm], side="right")
    # The middle of the tied places is (below + not_above) / 2 of len(ordered).
    deciles[warm] = DECILES * (below + not_above) // (2 * max(len(ordered), 1)) + 1
    return deciles


def history_buckets(lengths: IntArray) -> IntArray:
    """The bucket of each history: the place of its length among `HISTORY_STARTS`.

    Example:
        >>> history_buckets(np.array([0, 4, 5, 20, 21, 999])).tolist()
        [0, 3, 4, 6, 7, 10]
    """
    found: IntArray = np.searchsorted(np.array(HISTORY_STARTS), lengths, side="right") - 1
    return found


def group_users(
    numbers: IntArray, values: IntArray, names: Mapping[int, str], ranks: Mapping[str, UserRanks], k: int
) -> list[UserGroup]:
    """Count hits by group.

    Args:
        numbers: the group of each user, in the order of the ranks; shape `(num_users,)`.
        values: what the groups were made by, likewise.
        names: what each group is called; groups without users are left out.
        ranks: by system, of the same users in the same order.
        k: the rank up to which an item counts as found.

    Returns:
        The groups in the order of their numbers.

    Raises:
        ValueError: two systems were not measured on the same users, or there is not one number and value for each.

    Example:
        >>> ranks = {"model": UserRanks(["ann", "bob", "cy"], np.array([1, 0, 12]))}
        >>> groups = group_users(np.array([1, 1, 2]), np.array([3, 4, 9]), {1: "few", 2: "many"}, ranks, k=10)
        >>> [(group.name, group.span, group.users, group.hits["model"]) for group in groups]
        [('few', '3–4', 2, 1), ('many', '9', 1, 0)]
    """
    _check_same_users(ranks, len(numbers), len(values))
    groups = []
    for number in np.unique(numbers).tolist():
        inside = numbers == number
        hits = {
            system: int(((found.ranks[inside] > 0) & (found.ranks[inside] <= k)).sum())
            for system, found in ranks.items()
        }
        own = values[inside]
        groups.append(UserGroup(names[number], int(own.min()), int(own.max()), int(inside.sum()), hits))
    return groups


def by_popularity(item_counts: IntArray, targets: IntArray, ranks: Mapping[str, UserRanks], k: int) -> list[UserGroup]:
    """Group users by the popularity decile of their held-out item, those whose item is cold first.

    Args:
        item_counts: how often each item occurs in the training part.
        targets: for each user, in the order of the ranks, the position of the held-out item.
        ranks: see `group_users`, as the rest.
        k: likewise.
    """
    deciles = popularity_deciles(item_counts)[targets]
    names = {COLD: "cold", **{decile: str(decile) for decile in range(1, DECILES + 1)}}
    return group_users(deciles, item_counts[targets], names, ranks, k)


def by_history(lengths: IntArray, ranks: Mapping[str, UserRanks], k: int) -> list[UserGroup]:
    """Group users by how many items they are known to have taken.

    Args:
        lengths: of the history of each user, in the order of the ranks.
        ranks: see `group_users`, as the rest.
        k: likewise.
    """
    names = {
        number: str(low) if after == low + 1 else f"{low}–{after - 1}"
        for number, (low, after) in enumerate(pairwise(HISTORY_STARTS))
    }
    names[len(names)] = f"{HISTORY_STARTS[-1]}+"
    return group_users(history_buckets(lengths), lengths, names, ranks, k)


def wilson_interval(hits: int, users: int) -> tuple[float, float]:
    """The 95 % interval of a share, by Wilson (1927): it has a width where there are no hits, or nothing but hits.

    Raises:
        ValueError: there are no users, or more hits than users.

    Example:
        >>> low, high = wilson_interval(0, 30)
        >>> low, round(high, 3)
        (0.0, 0.114)
    """
    if users < 1 or not 0 <= hits <= users:
        raise ValueError(f"{hits} hits of {users} users are no share; there must be a user, and at most so many hits")
    share, extra = hits / users, Z_95**2 / users
    middle = (share + extra / 2) / (1 + extra)
    half = Z_95 * math.sqrt(share * (1 - share) / users + extra / (4 * users)) / (1 + extra)
    low = 0.0 if hits == 0 else middle - half
    return low, 1.0 if hits == users else middle + half


def _check_same_users(ranks: Mapping[str, UserRanks], *lengths: int) -> None:
    asked: Sequence[str] | None = None
    for system, found in ranks.items():
        if asked is not None and list(found.user_ids) != list(asked):
            raise ValueError(f"the ranks of {system!r} are of other users than those of {next(iter(ranks))!r}")
        asked = found.user_ids
    if asked is None or any(length != len(asked) for length in lengths):
        raise ValueError(f"ranks of {len(asked or ())} users with {lengths} groups and values; give one for each user")
