"""Items numbered as they appear in the training histories, so that items taken after each other have close numbers."""

from __future__ import annotations

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .numbered import NumberedIndexing
from .registry import register_indexing


@register_indexing
class SequentialIndexing(NumberedIndexing):
    """Numbers items in the order of their first appearance in the training part, one user after the other.

    This is the sequential indexing of the P5 line (Hua et al., "How to Index Item IDs for Recommendation Foundation
    Models", SIGIR-AP 2023) without the leak of its published corpora: there, held-out items are numbered too, so the
    test item's number often follows the last one of the history. Items that do not occur in the training part come
    last, in random order, because the order of the catalogue's file may leak the same. Users are numbered in their
    order.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> SequentialIndexing().fit(train).user_words[:2]
        ('user_01', 'user_02')
    """

    name = "sequential"

    def item_order(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """Items of the training part by first appearance, then the others at random."""
        walk = np.concatenate([np.empty(0, np.int64), *train.sequences])
        items, first = np.unique(walk, return_index=True)
        others = np.setdiff1d(np.arange(train.num_items), items)
        return np.concatenate([items[np.argsort(first)], rng.permutation(others)])

    def user_order(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """Users as they come."""
        return np.arange(train.num_users)
