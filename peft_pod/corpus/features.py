"""The properties of items that reviews talk about, found by counting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .english import (
    AFTER_A_PHRASE,
    BEFORE_OTHER_WORDS,
    CLOSED,
    DETERMINERS,
    GENERIC,
    OBJECTS,
    OPINIONS,
    PREPOSITIONS,
)
from .ragged import IntArray
from .review_words import BREAK, NUMBER, BoolArray, ReviewWords

FloatArray = npt.NDArray[np.float64]
_MIN_LETTERS = 3
_PRIOR = 2.0
"""A word needs more occurrences than this in the place of a noun before it can be taken for one."""


@dataclass(frozen=True)
class Features:
    """Words that name properties of items.

    Attributes:
        words: the features, in alphabetical order.
        reviews: in how many of the texts each occurs.
        num_reviews: the number of texts.
    """

    words: list[str]
    reviews: IntArray
    num_reviews: int


def noun_places(read: ReviewWords) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Where tokens stand as nouns do, by the words of grammar around them.

    Returns:
        Three flags for each token. The first: it ends a phrase that a determiner, preposition or number begins
            directly before it (`the price is`). The second: it stands where verbs and adjectives do (`to price it`,
            `very nice`). The third: it stands directly after a determiner, with more of the phrase to come (`the nice
            case`).
    """
    determiner, preposition = read.among(DETERMINERS), read.among(PREPOSITIONS)
    preposition[NUMBER] = True
    ends = read.among(AFTER_A_PHRASE)
    ends[BREAK] = True
    other = read.among(BEFORE_OTHER_WORDS)[read.before] | read.among(OBJECTS)[read.after]
    ending = ends[read.after]
    begun = (determiner | preposition)[read.before]
    return begun & ending & ~other, other, determiner[read.before] & ~ending & ~other


def mine_features(
    read: ReviewWords, texts: BoolArray, *, min_reviews: int, max_share: float, min_noun_share: float
) -> Features:
    """Find the words that stand where nouns do and are neither rare nor everywhere.

    A word's noun share is the number of its occurrences as a noun among all that tell (see `noun_places`), with two
    more that say it is none; occurrences as the first word of a longer phrase count half against it. A word that is
    mostly written as a name is left out: brands say who made an item, not what it is like. So are the words of
    `peft_pod.corpus.english` that name no property, and opinions.

    Args:
        read: the words of reviews.
        texts: which of the texts may be counted: those of the training part.
        min_reviews: in how many of them a feature must occur.
        max_share: in which share of them it may at most occur.
        min_noun_share: the least noun share of a feature.

    Example:
        >>> from peft_pod.corpus.review_words import read_words
        >>> read = read_words(["The price is fair. I like the tone."] * 3 + ["The tone, and a price of 9. Buy it."] * 3)
        >>> everything = np.ones(6, dtype=bool)
        >>> mine_features(read, everything, min_reviews=2, max_share=1.0, min_noun_share=0.5).words
        ['price', 'tone']
    """
    size = len(read.words)
    counted = texts[read.token_texts]
    as_noun, as_other, leading = (
        np.bincount(read.tokens[counted & flag], minlength=size) for flag in noun_places(read)
    )
    share = as_noun / (as_noun + as_other + 0.5 * leading + _PRIOR)
    named = np.bincount(read.tokens[counted & read.capitals], minlength=size)
    starts = counted & (np.diff(read.token_sentences, prepend=-1) != 0)
    inside = np.bincount(read.tokens[counted & ~starts], minlength=size)
    in_texts = np.unique(read.token_texts[counted] * size + read.tokens[counted])
    reviews = np.bincount(in_texts % size, minlength=size)
    total = int(texts.sum())
    fitting = (
        (share >= min_noun_share) & (2 * named <= inside) & (reviews >= min_reviews) & (reviews <= max_share * total)
    )
    chosen = sorted(
        (read.words[number], number) for number in np.flatnonzero(fitting) if _may_be_feature(read.words[number])
    )
    numbers = np.array([number for _, number in chosen], dtype=np.int64)
    return Features([word for word, _ in chosen], reviews[numbers], total)


def _may_be_feature(word: str) -> bool:
    return len(word) >= _MIN_LETTERS and "'" not in word and word not in CLOSED and word not in GENERIC | OPINIONS


@dataclass(frozen=True)
class ItemFeatures:
    """How often the features occur in the reviews of each item.

    Attributes:
        features: the features.
        keys: `item * number of features + feature` of each pair that occurs, rising.
        counts: in how many reviews of the item.
        item_reviews: the number of reviews of each item.
    """

    features: Features
    keys: IntArray
    counts: IntArray
    item_reviews: IntArray

    def association(self, items: IntArray, features: IntArray, own: BoolArray, strength: float) -> FloatArray:
        """How much more often than in other reviews a feature occurs in those of an item, as a logarithm.

        `log((n + s p) / ((N + s) p))`, where `n` of the item's `N` reviews name the feature, `p` is its share of all
        reviews and `s` is `strength`: with few reviews, what all reviews say counts (Dirichlet smoothing).

        Args:
            items: positions of items.
            features: positions of features, aligned with `items`.
            own: whether the feature was found in a review that is counted for the item; that one is taken off again.
            strength: as how many reviews of the item the reviews of all items count.
        """
        wanted = items * len(self.features.words) + features
        there = np.zeros(len(wanted), dtype=np.int64)
        if len(self.keys):
            places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            there = np.where(self.keys[places] == wanted, self.counts[places], 0)
        share = self.features.reviews[features] / max(self.features.num_reviews, 1)
        reviews = self.item_reviews[items] - own
        return np.log((there - own + strength * share) / ((reviews + strength) * share))


def count_by_item(
    features: Features, num_items: int, review_items: IntArray, pair_items: IntArray, pair_features: IntArray
) -> ItemFeatures:
    """Count features by item.

    Args:
        features: the features.
        num_items: the number of items.
        review_items: for each review the item.
        pair_items: for each feature of each review the item.
        pair_features: likewise the feature.
    """
    keys, counts = np.unique(pair_items * len(features.words) + pair_features, return_counts=True)
    return ItemFeatures(features, keys, counts, np.bincount(review_items, minlength=num_items))
