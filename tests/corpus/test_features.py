from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from peft_pod.corpus.features import Features, count_by_item, mine_features, noun_places
from peft_pod.corpus.review_words import read_words

REVIEWS = [
    "The price is fair and the tone of it is great.",
    "I like the tone. To price it low was kind.",
    "It sounds great with the Fender amp.",
    "The tone of my Fender is very warm.",
    "The time of the day is the price.",
    "The amp of my Fender: soft, and the amp is warm.",
]


def mined(texts: list[str], training: list[bool] | None = None, **settings: float) -> Features:
    options = {"min_reviews": 1, "max_share": 1.0, "min_noun_share": 0.3} | settings
    return mine_features(read_words(texts), np.array(training or [True] * len(texts)), **options)


def places(text: str) -> dict[str, str]:
    """The words of a text by where they stand."""
    read = read_words([text])
    kinds = zip(("noun", "other", "leading"), noun_places(read), strict=True)
    return {read.words[number]: kind for kind, flags in kinds for number in read.tokens[flags] if number > 1}


def test_where_nouns_stand():
    found = places("the price is fair")
    assert found["price"] == "noun"
    assert found["fair"] == "other"
    assert places("a soft case")["soft"] == "leading"
    assert places("to tune it")["tune"] == "other"
    assert places("6 strings")["strings"] == "noun"
    assert "sound" not in places("great sound")


def test_features_by_hand():
    """`tone` stands as a noun 3 times of 3: 3 / (3 + 2). `amp` stands so 2 times, and once in a longer phrase."""
    features = mined(REVIEWS)
    assert features.words == ["amp", "price", "tone"]
    assert features.reviews.tolist() == [2, 3, 3]
    assert features.num_reviews == 6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_reviews": 3}, ["price", "tone"]),
        ({"max_share": 0.4}, ["amp"]),
        ({"min_noun_share": 0.55}, ["tone"]),
        ({"min_noun_share": 1.0}, []),
    ],
)
def test_bounds(settings: dict[str, float], words: list[str]):
    assert mined(REVIEWS, **settings).words == words


def test_names_grammar_and_general_words_are_no_features():
    """`Fender` stands as a noun, but with a capital; `time` and `day` are frequent nouns that name no property."""
    found = mined(REVIEWS, min_noun_share=0.01).words
    assert not {"fender", "time", "day", "the", "it", "great", "warm"} & set(found)
    assert "fender" in mined([text.replace("Fender", "fender") for text in REVIEWS], min_noun_share=0.01).words


def test_texts_that_may_not_be_counted_change_nothing():
    hidden = ["The zither is the zither of the price.", "A zither. A zither."]
    features = mined([*REVIEWS, *hidden], [True] * 6 + [False] * 2)
    assert features.words == mined(REVIEWS).words
    assert features.reviews.tolist() == mined(REVIEWS).reviews.tolist()
    assert features.num_reviews == 6


def test_association_against_the_formula():
    rng = np.random.default_rng(0)
    named = rng.random((4, 30, 3)) < 0.3  # item, review, feature
    features = Features(["a", "b", "c"], named.sum(axis=(0, 1)), 120)
    items, _, found = np.nonzero(named)
    counted = count_by_item(features, 5, np.repeat(np.arange(4), 30), items, found)
    pairs = np.array(list(product(range(5), range(3))))
    for own in (False, True):
        owns = np.full(len(pairs), own) & (pairs[:, 0] < 4)
        got = counted.association(pairs[:, 0], pairs[:, 1], owns, 10.0)
        for (item, feature), mine, value in zip(pairs, owns, got, strict=True):
            there = named[item, :, feature].sum() - mine if item < 4 else 0
            reviews = 30 - mine if item < 4 else 0
            share = named[:, :, feature].mean()
            assert value == pytest.approx(math.log((there + 10 * share) / ((reviews + 10) * share)))
