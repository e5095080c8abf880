from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import load_corpus
from peft_pod.corpus.split import TrainingPart
from peft_pod.indexing import (
    AtomicIndexing,
    CollaborativeIndexing,
    HybridIndexing,
    Indexing,
    SemanticIndexing,
    collaborative_vectors,
    load_indexing,
)
from peft_pod.indexing.tokens import word_tokens

from .training_parts import make_train

CODED = {
    "collaborative": {"branching": 4},
    "semantic": {"branching": 4, "levels": 2},
    "hybrid": {"clusters": 5},
}


@pytest.fixture(scope="module")
def train() -> TrainingPart:
    return load_corpus("embedded", num_users=60, num_items=90).split().train


def groups_of_friends(num_groups: int, size: int, num_users: int = 400) -> TrainingPart:
    """Users who each take items of one group alone, in an order of their own."""
    rng = np.random.default_rng(0)
    sequences = [rng.permutation(size) * num_groups + user % num_groups for user in range(num_users)]
    return make_train([items.tolist() for items in sequences], num_groups * size)


@pytest.mark.parametrize(("scheme", "levels"), [("collaborative", 4), ("semantic", 3), ("hybrid", 2)])
def test_both_forms_write_the_same_codes(train: TrainingPart, scheme: str, levels: int) -> None:
    tokens = load_indexing(scheme, **CODED[scheme]).fit(train, seed=2)
    text = load_indexing(scheme, **CODED[scheme], form="text").fit(train, seed=2)
    for word, written in zip(tokens.item_words, text.item_words, strict=True):
        assert [re.sub(r"\D", "", token) for token in word_tokens(word)] == [
            str(int(number)) for number in written.split("_")[1:]
        ]
        assert "".join(token[1] for token in word_tokens(word)) == "abcd"[:levels]
    assert len({len(word) for word in text.item_words}) == 1
    assert text.tokens() == ()
    assert text.options()["form"] == "text"


def test_atomic_has_a_token_for_each_item(train: TrainingPart) -> None:
    indexing = AtomicIndexing().fit(train)
    assert sorted(indexing.item_words) == sorted(f"<a_{number}>" for number in range(90))
    assert set(indexing.tokens()) == set(indexing.item_words)
    assert list(indexing.item_words) != sorted(indexing.item_words, key=lambda word: int(word[3:-1]))


def test_hybrid_tokens(train: TrainingPart) -> None:
    indexing = HybridIndexing(clusters=5).fit(train)
    parts = [word_tokens(word) for word in indexing.item_words]
    assert Counter(cluster for cluster, _ in parts) == {f"<a_{cluster}>": 18 for cluster in range(5)}
    assert sorted(own for _, own in parts) == sorted(f"<b_{number}>" for number in range(90))
    assert len(indexing.tokens()) == 95


@pytest.mark.parametrize(
    ("num_items", "branching", "levels"), [(5, 4, 1), (12, 4, 1), (13, 4, 2), (48, 4, 2), (49, 4, 3)]
)
def test_collaborative_names_are_as_short_as_a_quarter_of_free_names_allows(
    num_items: int, branching: int, levels: int
) -> None:
    indexing = CollaborativeIndexing(branching=branching).fit(make_train([[0, 1, 2]], num_items))
    assert {len(word_tokens(word)) for word in indexing.item_words} == {levels + 1}
    # Clusters are of equal size, so the numbers in them never run out.
    assert len(indexing.tokens()) <= branching * (levels + 1)
    deepest = Counter(word.rsplit("<", 1)[0] for word in indexing.item_words)
    assert max(deepest.values()) <= branching


@pytest.mark.parametrize("scheme", ["collaborative", "semantic"])
@settings(deadline=None, max_examples=25)
@given(data=st.data(), num_items=st.integers(1, 150), branching=st.integers(2, 7))
def test_no_node_of_the_tree_of_names_has_more_children_than_asked(
    scheme: str, data: st.DataObject, num_items: int, branching: int
) -> None:
    items = st.integers(0, num_items - 1)
    train = make_train(data.draw(st.lists(st.lists(items, max_size=6), max_size=8)), num_items)
    indexing = load_indexing(scheme, branching=branching).fit(train)
    parts = [word_tokens(word) for word in indexing.item_words]
    # The last number of `semantic` has as many values as equal codes make needed.
    for level in range(len(parts[0]) - (scheme == "semantic")):
        children: dict[tuple[str, ...], set[str]] = {}
        for tokens in parts:
            children.setdefault(tuple(tokens[:level]), set()).add(tokens[level])
        assert max(map(len, children.values())) <= branching


@pytest.mark.parametrize("indexing", [CollaborativeIndexing(branching=6, levels=1), HybridIndexing(clusters=6)])
def test_what_is_taken_together_shares_the_first_token(indexing: Indexing) -> None:
    words = indexing.fit(groups_of_friends(6, 10)).item_words
    pairs = {(item % 6, word_tokens(word)[0]) for item, word in enumerate(words)}
    assert len(pairs) == 6


def test_clusters_of_the_library_s_corpus_are_closer_than_chance() -> None:
    train = load_corpus("embedded").split().train
    words = CollaborativeIndexing(branching=8).fit(train).item_words
    vectors = collaborative_vectors(train, 32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    closeness = vectors @ vectors.T
    np.fill_diagonal(closeness, np.nan)
    cluster = np.unique([word_tokens(word)[0] for word in words], return_inverse=True)[1]
    together = cluster[:, None] == cluster[None, :]
    assert np.nanmean(closeness[together]) > np.nanmean(closeness[~together]) + 0.15


def test_semantic_names_follow_what_is_written() -> None:
    kinds = ["mint soap", "steel brush", "cotton towel", "red lipstick"]
    train = make_train([[0, 1]], 40)
    object.__setattr__(train, "item_titles", [f"{kinds[item % 4]}" for item in range(40)])
    object.__setattr__(train, "item_texts", [f"number {item}" for item in range(40)])
    words = SemanticIndexing(branching=4, levels=1).fit(train).item_words
    pairs = {(item % 4, word_tokens(word)[0]) for item, word in enumerate(words)}
    assert len(pairs) == 4
    assert len(set(words)) == 40


def test_semantic_names_of_given_vectors() -> None:
    vectors = np.repeat(np.eye(3), 4, axis=0)
    words = SemanticIndexing(vectors=vectors, branching=3, levels=1).fit(make_train([[0]], 12)).item_words
    assert len({word_tokens(word)[0] for word in words[:4]}) == 1
    assert len({word_tokens(word)[0] for word in words}) == 3
    with pytest.raises(ValueError, match=r"vectors must have shape \(11, length\), one for each item, got \(12, 3\)"):
        SemanticIndexing(vectors=vectors).fit(make_train([[0]], 11))


@pytest.mark.parametrize(
    ("scheme", "options", "message"),
    [
        ("collaborative", {"branching": 1}, "branching must be a whole number of at least 2, got 1"),
        ("collaborative", {"levels": 0}, "levels must be a whole number of at least 1, got 0"),
        ("collaborative", {"levels": 30}, "levels must be at most 25, got 30"),
        ("collaborative", {"form": "digits"}, "form must be one of .*'tokens', 'text'.*, got 'digits'"),
        ("semantic", {"vectors": 3}, "vectors must be 'tfidf', the name of a model, a file or an array, got 3"),
        ("semantic", {"dimension": 2.5}, "dimension must be a whole number of at least 1, got 2.5"),
        ("hybrid", {"clusters": True}, "clusters must be a whole number of at least 1, got True"),
        ("title", {"max_words": 0}, "max_words must be a whole number of at least 1, got 0"),
        ("title", {"separator": " "}, "separator must be a single punctuation mark"),
    ],
)
def test_wrong_options_are_named(scheme: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_indexing(scheme, **options)
