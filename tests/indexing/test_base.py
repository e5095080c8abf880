from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus.split import TrainingPart
from peft_pod.indexing import Indexing, NotFittedError, available_indexings, indexing_from_dict, load_indexing

from .training_parts import make_train

SCHEMES = [name for name in available_indexings() if not load_indexing(name).leaks]


class Written(Indexing):
    """Words as they were handed in, to see what is let through."""

    name = "written"

    def __init__(self, items: Sequence[Any], users: Sequence[Any]) -> None:
        self.items, self.users = items, users

    def make_item_words(self, train: TrainingPart, rng: np.random.Generator) -> Sequence[str]:
        return self.items

    def make_user_words(self, train: TrainingPart, rng: np.random.Generator) -> Sequence[str]:
        return self.users

    def options(self) -> dict[str, Any]:
        return {"items": self.items, "users": self.users}


@st.composite
def training_parts(draw: st.DrawFn) -> TrainingPart:
    num_items = draw(st.integers(1, 120))
    items = st.integers(0, num_items - 1)
    return make_train(draw(st.lists(st.lists(items, max_size=8), max_size=12)), num_items)


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(deadline=None, max_examples=20)
@given(train=training_parts(), seed=st.integers(0, 1000))
def test_words_are_distinct_without_spaces_and_name_their_item(scheme: str, train: TrainingPart, seed: int) -> None:
    indexing = load_indexing(scheme).fit(train, seed)
    words = [*indexing.item_words, *indexing.user_words]
    assert len(set(words)) == len(words) == train.num_items + train.num_users
    assert all(word.split() == [word] for word in words)
    for position in range(train.num_items):
        assert indexing.item_position(indexing.item_word(position)) == position
    assert tuple(indexing.user_word(user) for user in range(train.num_users)) == indexing.user_words


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(deadline=None, max_examples=20)
@given(train=training_parts(), seed=st.integers(0, 1000))
def test_a_saved_indexing_comes_back_through_json_without_fitting(scheme: str, train: TrainingPart, seed: int) -> None:
    indexing = load_indexing(scheme).fit(train, seed)
    restored = indexing_from_dict(json.loads(json.dumps(indexing.to_dict())))
    assert type(restored) is type(indexing)
    assert restored.options() == indexing.options()
    assert (restored.item_words, restored.user_words) == (indexing.item_words, indexing.user_words)
    assert restored.tokens() == indexing.tokens()
    assert restored.item_position(indexing.item_words[-1]) == train.num_items - 1


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("users", "words"), [("index", {"user_01", "user_02"}), ("tokens", {"<user_01>", "<user_02>"}), ("none", set())]
)
def test_users_are_named_as_asked(scheme: str, users: str, words: set[str]) -> None:
    indexing = load_indexing(scheme, users=users).fit(make_train([[0, 1], [2]], num_items=9))
    assert set(indexing.user_words) == words
    assert {token for token in indexing.tokens() if token.startswith("<user")} == (
        words if users == "tokens" else set()
    )
    restored = indexing_from_dict(json.loads(json.dumps(indexing.to_dict())))
    assert restored.user_words == indexing.user_words
    assert restored.options()["users"] == users
    with pytest.raises(ValueError, match="users must be one of \\['index', 'tokens', 'none'\\], got 'names'"):
        load_indexing(scheme, users="names")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_decides_the_words(scheme: str) -> None:
    train = make_train([[0, 1, 2], [3, 4]], num_items=60)
    words = load_indexing(scheme).fit(train, seed=3).item_words
    assert load_indexing(scheme).fit(train, seed=3).item_words == words
    # Where titles differ, chance has nothing to say.
    assert (load_indexing(scheme).fit(train, seed=4).item_words == words) == (scheme == "title")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_words_before_fit_are_an_error_that_says_so(scheme: str) -> None:
    indexing = load_indexing(scheme)
    for ask in (
        lambda: indexing.item_words,
        lambda: indexing.user_words,
        lambda: indexing.item_word(0),
        lambda: indexing.user_word(0),
        lambda: indexing.item_position("item_01"),
        indexing.to_dict,
    ):
        with pytest.raises(NotFittedError, match=f"'{scheme}'.*fit"):
            ask()


@pytest.mark.parametrize(
    ("items", "users", "message"),
    [
        (["a", "b"], ["a"], "'a' twice"),
        (["a", "a"], ["u"], "'a' twice"),
        (["a", "b c"], ["u"], "'b c'"),
        (["a", "b\u00a0c"], ["u"], "not a word"),
        (["a", ""], ["u"], "''"),
        (["a", 7], ["u"], "7"),
        (["a"], ["u"], "1 item words for 2 items"),
        (["a", "b"], ["u", "v"], "2 user words for 1 user"),
    ],
)
def test_wrong_words_are_refused(items: list[Any], users: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Written(items, users).fit(make_train([[0]], num_items=2))


def test_a_failed_fit_leaves_the_words_as_they_were() -> None:
    indexing = Written(["a", "b"], ["u"]).fit(make_train([[0]], num_items=2))
    indexing.items = ["c", "c"]
    with pytest.raises(ValueError, match="twice"):
        indexing.fit(make_train([[0]], num_items=2))
    assert indexing.item_words == ("a", "b")


def test_positions_and_words_that_do_not_exist_are_named() -> None:
    indexing = Written(["a", "b"], ["u"]).fit(make_train([[0]], num_items=2))
    with pytest.raises(ValueError, match="'u' names no item"):
        indexing.item_position("u")
    with pytest.raises(IndexError, match="no item at position 2"):
        indexing.item_word(2)
    with pytest.raises(IndexError, match="no user at position -1"):
        indexing.user_word(-1)


def test_from_dict_names_what_is_wrong() -> None:
    saved = Written(["a"], ["u"]).fit(make_train([[0]], num_items=1)).to_dict()
    with pytest.raises(ValueError, match="lacks \\['user_words'\\]"):
        Written.from_dict({key: value for key, value in saved.items() if key != "user_words"})
    with pytest.raises(ValueError, match="'other', not 'written'"):
        Written.from_dict({**saved, "name": "other"})
    with pytest.raises(ValueError, match="'a' twice"):
        Written.from_dict({**saved, "user_words": ["a"]})
