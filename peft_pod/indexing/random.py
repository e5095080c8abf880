"""Items and users numbered at random: names that say nothing."""

from __future__ import annotations

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .numbered import NumberedIndexing
from .registry import register_indexing


@register_indexing
class RandomIndexing(NumberedIndexing):
    """Numbers items and users by random permutations.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> words = RandomIndexing().fit(train, seed=1).item_words
        >>> words == RandomIndexing().fit(train, seed=1).item_words, words == RandomIndexing().fit(train).item_words
        (True, False)
    """

    name = "random"

    def item_order(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """A random permutation."""
        return rng.permutation(train.num_items)

    def user_order(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """A random permutation."""
        return rng.permutation(train.num_users)
