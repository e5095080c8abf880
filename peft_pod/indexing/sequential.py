"""Items numbered as they appear in the training histories, so that items taken after each other have close numbers."""

from __future__ import annotations

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .numbered import NumberedIndexing
from .registry import register_indexing


@register_indexing
class SequentialIndexing(NumberedIndexing):
    """Numbers items in the order of their first appearance in the training part, one user after the other, the users
    in random order.

    This is the sequential indexing of the P5 line (Hua et al., "How to Index Item IDs for Recommendation Foundation
    Models", SIGIR-AP 2023) without the leak of its published corpora: there, held-out items are numbered too, so the
    test item's number often follows the last one of the history. Items that do not occur in the training part come
    last, in random order, because the order of the catalogue's file may leak the same. Users are gone through, and
    numbered, at random: the order of the file may be that of products, and then users who share a held-out item stand
    side by side, as on the corpora of the P5 line (see `docs/audit.md`).

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> words = SequentialIndexing().fit(train).item_words
        >>> sorted(words)[0], words == SequentialIndexing().fit(train).item_words
        ('item_0001', True)
    """

    name = "sequential"

    def item_order(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """Items of the training part by first appearance, then the others at random."""
        walk = train.sequences.take(rng.permutation(train.num_users))
        items, first = np.unique(walk.values, return_index=True)
        others = np.setdiff1d(np.arange(train.num_items), items)
        return np.concatenate([items[np.argsort(first)], rng.permutation(others)])
