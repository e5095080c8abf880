"""From each review the sentence that says most about the item."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from datasets import Dataset

from .english import OPINIONS
from .features import Features, ItemFeatures, count_by_item, noun_places
from .ragged import IntArray, Ragged
from .review_words import BoolArray, ReviewWords, words_of
from .schema import arrow_column


@dataclass(frozen=True)
class ExplanationOptions:
    """How explanation sentences are chosen.

    Args:
        min_words: how many words a sentence must have at least.
        max_words: how many it may have; the paper cuts its targets at 20.
        min_reviews: in how many training reviews a word must occur to be a feature.
        max_share: in which share of the training reviews it may at most occur.
        min_noun_share: how often, among the occurrences that tell, it must stand where nouns do.
        strength: as how many reviews of an item the reviews of all items count, when features are weighed for it.
        max_association: above which logarithm a stronger association with the item counts no more.
        opinion_weight: what an opinion close to the feature adds to the association.
        opinion_distance: how many words are close.
        require_opinion: whether a sentence without an opinion that close is no candidate.
        item_words: whether an item's title and text count as one more review of it.
        repeated: `"drop"` leaves out a held-out sentence that the same user wrote in a training review word for word,
            which a model could learn by heart; `"keep"` keeps it.

    Raises:
        ValueError: a value is out of range; the message has its name.
    """

    min_words: int = 4
    max_words: int = 20
    min_reviews: int = 5
    max_share: float = 0.4
    min_noun_share: float = 0.3
    strength: float = 10.0
    max_association: float = 2.0
    opinion_weight: float = 2.0
    opinion_distance: int = 4
    require_opinion: bool = False
    item_words: bool = True
    repeated: str = "drop"

    def __post_init__(self) -> None:
        for name, least in (
            ("min_words", 1),
            ("max_words", self.min_words),
            ("min_reviews", 1),
            ("opinion_distance", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("max_share", "min_noun_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        for name in ("max_association", "opinion_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.strength <= 0:
            raise ValueError(f"strength must be above 0, got {self.strength}")
        if self.repeated not in ("drop", "keep"):
            raise ValueError(f"repeated must be 'drop' or 'keep', got {self.repeated!r}")


@dataclass(frozen=True)
class Reviews:
    """The interactions with a review.

    Attributes:
        rows: their rows in the table.
        users: for each the position of its user.
        items: for each the position of its item.
        training: whether a sentence of it would be a training sentence.
        codes: for each the position of its text among the distinct texts.
        texts: the distinct texts.
    """

    rows: IntArray
    users: IntArray
    items: IntArray
    training: BoolArray
    codes: IntArray
    texts: pa.Array

    @cached_property
    def training_texts(self) -> BoolArray:
        """For each distinct text whether a training review has it."""
        return np.bincount(self.codes[self.training], minlength=len(self.texts)) > 0


@dataclass(frozen=True)
class Choice:
    """The sentence of each review that has one: the review's position, the sentence's, and the feature's."""

    reviews: IntArray
    sentences: IntArray
    features: IntArray

    def take(self, keep: BoolArray) -> Choice:
        """Some of the sentences, by a flag for each."""
        return Choice(self.reviews[keep], self.sentences[keep], self.features[keep])


def choose(
    items: Dataset, reviews: Reviews, read: ReviewWords, features: Features, options: ExplanationOptions
) -> tuple[Choice, dict[str, int]]:
    """Choose for each review the best candidate, if it has one.

    Args:
        items: the catalogue.
        reviews: the reviews.
        read: the words of their texts.
        features: what the training reviews name.
        options: how to choose.

    Returns:
        The choice, and what was counted on the way.
    """
    fitting = (read.sentence_lengths >= options.min_words) & (read.sentence_lengths <= options.max_words)
    numbers = {word: number for number, word in enumerate(features.words)}
    feature_of = np.array([numbers.get(word, -1) for word in read.words], dtype=np.int64)
    all_features = feature_of[read.tokens]
    _, other, _ = noun_places(read)
    near = _near_opinion(read, options.opinion_distance)
    wanted = near | (not options.require_opinion)
    tokens = np.flatnonzero((all_features >= 0) & ~other & wanted & fitting[read.token_sentences])
    by_item = _count_by_item(items, reviews, read, features, all_features, options)

    # One candidate for each naming of a feature in a text, then for each review those of its text.
    of_text = Ragged.from_lengths(tokens, np.bincount(read.token_texts[tokens], minlength=len(reviews.texts)))
    candidates = of_text.take(reviews.codes)
    owners, places = candidates.owners, candidates.values
    named = all_features[places]
    score = np.minimum(
        by_item.association(reviews.items[owners], named, reviews.training[owners], options.strength),
        options.max_association,
    )
    score += options.opinion_weight * near[places]
    # Equal scores are equal on every machine, whatever its logarithm does to the last digit.
    score = np.round(score, 9)
    order = np.lexsort((named, -features.reviews[named], read.token_sentences[places], -score, owners))
    first = order[np.flatnonzero(np.diff(owners[order], prepend=-1))]

    with_fitting = np.bincount(read.sentence_texts[fitting], minlength=len(reviews.texts)) > 0
    short = int((~with_fitting[reviews.codes]).sum())
    return Choice(owners[first], read.token_sentences[places[first]].astype(np.int64), named[first]), {
        "distinct texts": len(reviews.texts),
        "features": len(features.words),
        f"reviews without a sentence of {options.min_words} to {options.max_words} words": short,
        "reviews without a feature in such a sentence": len(reviews.rows) - short - len(first),
    }


def _count_by_item(
    items: Dataset,
    reviews: Reviews,
    read: ReviewWords,
    features: Features,
    all_features: IntArray,
    options: ExplanationOptions,
) -> ItemFeatures:
    """How often the training reviews of each item name each feature; equal texts about one item count once."""
    size = max(len(features.words), 1)
    there = all_features >= 0
    in_texts = np.unique(read.token_texts[there] * size + all_features[there])
    of_text = Ragged.from_lengths(in_texts % size, np.bincount(in_texts // size, minlength=len(reviews.texts)))
    pairs = np.unique(reviews.items[reviews.training] * len(reviews.texts) + reviews.codes[reviews.training])
    pair_items, pair_texts = np.divmod(pairs, len(reviews.texts))
    named = of_text.take(pair_texts)
    owners, found = pair_items[named.owners], named.values
    if options.item_words:
        item_owners, item_found = _item_words(items, features)
        owners, found = np.concatenate([owners, item_owners]), np.concatenate([found, item_found])
        pair_items = np.concatenate([pair_items, np.unique(item_owners)])
    return count_by_item(features, len(items), pair_items, owners, found)


def _item_words(items: Dataset, features: Features) -> tuple[IntArray, IntArray]:
    """Items and the features that their titles and texts name, each pair once."""
    numbers = {word: number for number, word in enumerate(features.words)}
    columns = [column for column in ("title", "text") if column in items.column_names]
    texts = zip(*(arrow_column(items, column).to_pylist() for column in columns), strict=True)
    found = [
        (item, number)
        for item, parts in enumerate(texts)
        for number in sorted({numbers[word] for part in parts for word in words_of(part or "") if word in numbers})
    ]
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _near_opinion(read: ReviewWords, distance: int) -> BoolArray:
    """For each token whether an opinion is at most so many tokens away in the same sentence."""
    opinions = read.among(OPINIONS)[read.tokens]
    near = np.zeros(len(opinions), dtype=np.bool_)
    for shift in range(1, distance + 1):
        same = read.token_sentences[shift:] == read.token_sentences[:-shift]
        near[shift:] |= opinions[:-shift] & same
        near[:-shift] |= opinions[shift:] & same
    return near


def drop_repeated(choice: Choice, reviews: Reviews, read: ReviewWords, *, keep: bool) -> tuple[Choice, int]:
    """Leave out held-out sentences that stand, word for word, in a training review of the same user.

    Args:
        choice: the sentences chosen.
        reviews: the reviews.
        read: the words of their texts.
        keep: whether to leave them in after all.

    Returns:
        The choice without them, and how many there are.
    """
    encoded = pa.array(read.sentences, pa.string()).dictionary_encode()
    texts = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    of_text = Ragged.from_lengths(texts, np.bincount(read.sentence_texts, minlength=len(reviews.texts)))
    size = max(len(encoded.dictionary), 1)
    written = of_text.take(reviews.codes[reviews.training])
    known = np.unique(reviews.users[reviews.training][written.owners] * size + written.values)
    wanted = reviews.users[choice.reviews] * size + texts[choice.sentences]
    repeated = ~reviews.training[choice.reviews] & np.isin(wanted, known)
    return (choice if keep else choice.take(~repeated)), int(repeated.sum())
