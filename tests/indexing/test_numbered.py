from __future__ import annotations

import pytest

from peft_pod.indexing import RandomIndexing, SequentialIndexing

from .training_parts import make_train


@pytest.mark.parametrize("scheme", [RandomIndexing, SequentialIndexing])
@pytest.mark.parametrize(("num_items", "first", "last"), [(9, "01", "09"), (99, "01", "99"), (100, "0001", "0100")])
def test_numbers_from_one_have_the_same_even_number_of_digits(
    scheme: type[RandomIndexing | SequentialIndexing], num_items: int, first: str, last: str
) -> None:
    words = scheme().fit(make_train([[0]], num_items)).item_words
    assert len({len(word) for word in words}) == 1
    assert sorted(words)[0] == f"item_{first}"
    assert sorted(words)[-1] == f"item_{last}"
    assert sorted(int(word.removeprefix("item_")) for word in words) == list(range(1, num_items + 1))


@pytest.mark.parametrize("scheme", [RandomIndexing, SequentialIndexing])
def test_padding_changes_the_form_alone(scheme: type[RandomIndexing | SequentialIndexing]) -> None:
    train = make_train([[0, 4], [7, 2]], num_items=150)
    padded, bare = scheme().fit(train, seed=5), scheme(pad=False).fit(train, seed=5)
    assert bare.item_words == tuple(f"item_{int(word[5:])}" for word in padded.item_words)
    assert bare.user_words == tuple(f"user_{int(word[5:])}" for word in padded.user_words)
    assert bare.options() == {"pad": False, "users": "index"}


def test_random_numbers_are_spread_over_the_catalogue() -> None:
    train = make_train([[0]] * 400, num_items=400)
    indexing = RandomIndexing().fit(train, seed=0)
    for words in (indexing.item_words, indexing.user_words):
        numbers = [int(word[5:]) for word in words]
        # The mean distance of two independent uniform numbers is a third of the range.
        mean = sum(abs(position + 1 - number) for position, number in enumerate(numbers)) / 400
        assert 400 / 3 - 30 < mean < 400 / 3 + 30
    assert [word[5:] for word in indexing.item_words] != [word[5:] for word in indexing.user_words]


def test_sequential_numbers_follow_the_training_part() -> None:
    # User 0 takes 2, 0, 2; user 1 takes 0, 3; user 2 nothing. Items 1 and 4 do not occur.
    indexing = SequentialIndexing().fit(make_train([[2, 0, 2], [0, 3], []], num_items=5))
    assert (indexing.item_word(2), indexing.item_word(0), indexing.item_word(3)) == ("item_01", "item_02", "item_03")
    assert {indexing.item_word(1), indexing.item_word(4)} == {"item_04", "item_05"}
    assert sorted(indexing.user_words) == ["user_01", "user_02", "user_03"]


def test_sequential_users_are_numbered_at_random() -> None:
    """The order of a file may tell: users who share a held-out item may stand side by side."""
    words = SequentialIndexing().fit(make_train([[0]] * 50, num_items=1)).user_words
    assert sorted(words) == [f"user_{number:02d}" for number in range(1, 51)]
    assert list(words) != sorted(words)


def test_items_outside_training_get_the_last_numbers_in_an_order_of_the_seed() -> None:
    train = make_train([[5, 3, 59]], num_items=60)
    first, second = (SequentialIndexing().fit(train, seed=seed).item_words for seed in (0, 1))
    assert [words[5] for words in (first, second)] == ["item_01"] * 2
    assert [words[3] for words in (first, second)] == ["item_02"] * 2
    assert [words[59] for words in (first, second)] == ["item_03"] * 2
    others = [[word for item, word in enumerate(words) if item not in (5, 3, 59)] for words in (first, second)]
    assert sorted(others[0]) == sorted(others[1]) == [f"item_{number:02d}" for number in range(4, 61)]
    assert others[0] != others[1]
    assert others[0] != sorted(others[0])
