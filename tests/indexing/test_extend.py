"""Items and users that come after training."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus.split import TrainingPart
from peft_pod.indexing import (
    CollaborativeIndexing,
    HybridIndexing,
    SemanticIndexing,
    available_indexings,
    indexing_from_dict,
    load_indexing,
)
from peft_pod.indexing.tokens import word_tokens

from .test_base import Written
from .test_coded import groups_of_friends
from .training_parts import make_train

SCHEMES = [name for name in available_indexings() if not load_indexing(name).leaks]
NEEDS_TOKENS = {"atomic", "hybrid"}


def permuted(train: TrainingPart, order: list[int]) -> TrainingPart:
    """The same training part with its catalogue in another order."""
    place = np.argsort(order)
    return replace(
        train,
        item_ids=[train.item_ids[item] for item in order],
        item_titles=[train.item_titles[item] for item in order],
        sequences=[place[items] for items in train.sequences],
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(deadline=None, max_examples=15)
@given(data=st.data(), num_old=st.integers(1, 20), num_new=st.integers(0, 12), seed=st.integers(0, 99))
def test_old_words_stay_with_their_items_and_new_ones_are_their_own(
    scheme: str, data: st.DataObject, num_old: int, num_new: int, seed: int
) -> None:
    histories = st.lists(st.integers(0, num_old + num_new - 1), min_size=1, max_size=6)
    before = data.draw(st.lists(st.lists(st.integers(0, num_old - 1), max_size=6), min_size=1, max_size=4))
    after = [*before, *data.draw(st.lists(histories, max_size=4))]
    old_train, train = make_train(before, num_old), make_train(after, num_old + num_new)
    train = permuted(train, data.draw(st.permutations(range(num_old + num_new))))
    indexing = load_indexing(scheme).fit(old_train, seed)
    restored = indexing_from_dict(json.loads(json.dumps(indexing.to_dict())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grown, again = indexing.extend(train, seed), restored.extend(train, seed)

    words = dict(zip(train.item_ids, grown.item_words, strict=True))
    assert [words[item_id] for item_id in old_train.item_ids] == list(indexing.item_words)
    assert grown.user_words[: len(before)] == indexing.user_words
    assert len({*grown.item_words, *grown.user_words}) == train.num_items + train.num_users
    assert (again.item_words, again.user_words) == (grown.item_words, grown.user_words)
    assert len(indexing.item_words) == num_old
    for word in grown.item_words:
        assert grown.item_word(grown.item_position(word)) == word
        assert bool(word_tokens(word)) == bool(word_tokens(indexing.item_words[0]))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_grew_can_grow_again(scheme: str) -> None:
    trains = [make_train([[0, 1, 2]], size) for size in (5, 8, 11)]
    indexing = load_indexing(scheme).fit(trains[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twice = indexing.extend(trains[1]).extend(trains[2])
    assert twice.item_words[:5] == indexing.item_words
    assert len(set(twice.item_words)) == 11


@pytest.mark.parametrize("scheme", SCHEMES)
def test_new_tokens_are_said(scheme: str) -> None:
    before, after = make_train([[0, 1, 2], [1, 0]], 40), make_train([[0, 1, 2], [1, 0]], 43)
    indexing = load_indexing(scheme).fit(before)
    if scheme in NEEDS_TOKENS:
        with pytest.warns(UserWarning, match=f"'{scheme}' named new items or users with 3 new tokens, such as '<"):
            grown = indexing.extend(after)
        assert len(grown.tokens()) == len(indexing.tokens()) + 3
    elif scheme != "semantic":
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            grown = indexing.extend(after)
        assert set(grown.tokens()) <= set(indexing.tokens())


def test_numbers_go_on() -> None:
    grown = load_indexing("sequential").fit(make_train([[2, 0, 1]], 3)).extend(make_train([[2, 0, 1], [4, 3]], 5))
    assert grown.item_words == ("item_02", "item_03", "item_01", "item_05", "item_04")
    assert grown.user_words == ("user_01", "user_02")


def test_titles_that_are_taken_get_a_number() -> None:
    before = replace(make_train([[0]], 2), item_titles=["Soap", "Brush"])
    after = replace(make_train([[0]], 4), item_titles=["Soap", "Brush", "soap", "Comb"])
    assert load_indexing("title").fit(before).extend(after).item_words == ("Soap", "Brush", "soap_2", "Comb")


@pytest.mark.parametrize("scheme", ["collaborative", "hybrid"])
def test_new_items_join_those_they_are_taken_with(scheme: str) -> None:
    """Six groups of friends; items 60 to 65 are new, one in each group."""
    train = groups_of_friends(6, 11)
    before = make_train([items[items < 60].tolist() for items in train.sequences], 60)
    indexing = {
        "collaborative": CollaborativeIndexing(branching=12, levels=1),
        "hybrid": HybridIndexing(clusters=6),
    }[scheme]
    indexing.fit(before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        words = indexing.extend(train).item_words
    group_of = {word_tokens(word)[0]: item % 6 for item, word in enumerate(words[:60])}
    assert [group_of[word_tokens(word)[0]] for word in words[60:]] == [0, 1, 2, 3, 4, 5]


def test_new_items_join_those_they_are_described_like() -> None:
    kinds = ["mint soap", "steel brush", "cotton towel"]
    titles = [f"{kinds[item % 3]} {item}" for item in range(33)]
    before = replace(make_train([[0]], 30), item_titles=titles[:30])
    indexing = SemanticIndexing(branching=3, levels=1).fit(before)
    with pytest.warns(UserWarning, match="1 new tokens, such as '<b_10>'"):  # ten in each cluster have a number
        words = indexing.extend(replace(make_train([[0]], 33), item_titles=titles)).item_words
    first = [word_tokens(word)[0] for word in words]
    assert first[30:] == first[:3]
    assert len(set(first)) == 3


def test_semantic_names_need_a_new_token_only_where_all_numbers_are_taken() -> None:
    before = make_train([[0]], 5)
    titles = ["mint soap"] * 2 + ["steel brush"] * 1 + ["cotton towel"] * 2
    indexing = SemanticIndexing(branching=3, levels=1).fit(replace(before, item_titles=titles))
    assert set(indexing.tokens()) >= {"<b_0>", "<b_1>"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after = replace(make_train([[0]], 6), item_titles=[*titles, "steel brush"])
        words = indexing.extend(after).item_words
    assert word_tokens(words[5])[0] == word_tokens(words[2])[0]


def test_a_full_cluster_sends_new_items_to_the_next_one() -> None:
    """Two clusters of at most four; three items come that all belong to the first, which has room for one."""
    near, far = [0, 1, 2], [3, 4, 5, 6]
    before = make_train([near, near[::-1], far, far[::-1]] * 3, 7)
    indexing = CollaborativeIndexing(branching=4, levels=1).fit(before)
    grown_histories = [[*near, 7, 8, 9], [9, 8, 7, *near], far, far[::-1]] * 3
    grown = indexing.extend(make_train(grown_histories, 10))
    sizes: dict[str, int] = {}
    for word in grown.item_words:
        sizes[word_tokens(word)[0]] = sizes.get(word_tokens(word)[0], 0) + 1
    assert max(sizes.values()) <= 4
    assert set(grown.tokens()) <= {f"<{level}_{code}>" for level in "ab" for code in range(4)}


def test_what_cannot_be_done_is_said() -> None:
    train = make_train([[0, 1]], 3)
    with pytest.raises(ValueError, match="'written' cannot name new items .*fit it to the grown corpus"):
        Written(["a", "b", "c"], ["u"]).fit(train).extend(make_train([[0, 1]], 4))
    with pytest.raises(ValueError, match="'written' cannot name new users"):
        Written(["a", "b", "c"], ["u"]).fit(train).extend(make_train([[0, 1], [2]], 3))
    indexing = load_indexing("random").fit(train)
    with pytest.raises(ValueError, match="1 items that have words are not in the grown corpus, such as 'i2'"):
        indexing.extend(make_train([[0, 1]], 2))
    with pytest.raises(ValueError, match="1 users that have words are not in the grown corpus, such as 'u0'"):
        indexing.extend(make_train([], 3))
    saved = {key: value for key, value in indexing.to_dict().items() if key not in ("item_ids", "user_ids")}
    with pytest.raises(ValueError, match="was saved without the IDs that its words belong to"):
        indexing_from_dict(saved).extend(train)
    given = SemanticIndexing(vectors=np.eye(3)).fit(train)
    with pytest.raises(ValueError, match="made from an array, which is not saved: set its `vectors` again"):
        indexing_from_dict(given.to_dict()).extend(make_train([[0, 1]], 4))


def test_users_without_words_stay_without() -> None:
    indexing = load_indexing("random", users="none").fit(make_train([[0], [1]], 3))
    assert indexing.extend(make_train([[0], [1], [2]], 4)).user_words == ()
