"""A random order of the catalogue for each user: the floor under every other number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .base import Baseline, FloatArray


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
        for row, user in enumerate(users):
            # Drawn in an order that does not depend on the order of the catalogue.
            scores[row, self._tie_order] = np.random.default_rng((self.seed, int(user))).random(scores.shape[1])
        return scores
