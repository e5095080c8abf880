"""A random order of the catalogue for each user: the floor under every other number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from peft_pod.corpus.ragged import Ragged
from peft_pod.corpus.split import IntArray, TrainingPart

from .base import Baseline
from .selection import FloatArray, best_of_rows, places_in

_SPARE = 4
"""Of the largest numbers, so many times as many are looked at as a user's list needs on average."""


class RandomBaseline(Baseline):
    """Rank the catalogue by random numbers, drawn from the seed and the user.

    A user gets the same order in every call, whoever else is in the batch. The expected HR@k is k over the number of
    eligible items.

    Args:
        seed: start of the random numbers, at least 0.

    Raises:
        ValueError: `seed` is not a whole number of at least 0.

    Example:
        >>> from types import SimpleNamespace
        >>> train = SimpleNamespace(item_ids=["a", "b", "c"], num_items=3, item_counts=np.array([0, 1, 1]))
        >>> baseline = RandomBaseline(seed=1).fit(train)
        >>> sorted(baseline.recommend([np.array([0])], k=3)[0].tolist())
        [1, 2]
    """

    def __init__(self, seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed is {seed!r}; it must be a whole number of at least 0")
        self.seed = seed

    def _fit(self, train: TrainingPart) -> None:
        pass

    def scores(self, users: IntArray, histories: Sequence[IntArray]) -> FloatArray:
        """Random numbers between 0 and 1, see `Baseline.scores`."""
        scores = np.empty((len(users), len(self._tie_order)))
        for row, user in enumerate(users.tolist()):
            scores[row, self._tie_order] = self._draws(user)
        return scores

    def _draws(self, user: int) -> FloatArray:
        """A number for each item, in an order that does not depend on the order of the catalogue."""
        return np.random.default_rng((self.seed, user)).random(len(self._tie_order))

    def _best(self, users: IntArray, histories: Ragged, hidden: Ragged, k: int) -> IntArray:
        # A list needs only the few largest numbers; where too many of those are hidden, all are looked at.
        least = 1 - _SPARE * (k + hidden.lengths) / len(self._tie_order)
        large, numbers = [], []
        for user, bound in zip(users.tolist(), least.tolist(), strict=True):
            draws = self._draws(user)
            large.append(np.flatnonzero(draws > bound))
            numbers.append(draws[large[-1]])
        rows = Ragged.of(large)
        scores = np.concatenate([np.empty(0), *numbers])
        places = places_in(self._tie_order)
        taken = hidden.owners * len(places) + places[hidden.values]
        scores[np.isin(rows.owners * len(places) + rows.values, taken)] = -np.inf
        found = best_of_rows(rows, scores, k)
        best = np.where(found >= 0, self._tie_order[found], -1)
        short = np.flatnonzero((found < 0).any(axis=1))
        if len(short):
            best[short] = super()._best(users[short], histories.take(short), hidden.take(short), k)
        return best
