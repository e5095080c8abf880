from __future__ import annotations

import numpy as np
import pytest

from peft_pod.audit.order import check_order, in_place

from .cases import GivenWords, case_of, corpus_of, drawn_histories, first_appearance

NUM_ITEMS = 400
HISTORIES = drawn_histories(num_users=150, num_items=NUM_ITEMS, length=6)
CORPUS = corpus_of(HISTORIES, NUM_ITEMS)


def counts(numbers) -> list[int]:
    return [finding.count for finding in check_order(case_of(CORPUS, GivenWords(numbers)))]


@pytest.mark.parametrize("reverse", [False, True])
def test_whole_histories_in_order(reverse: bool) -> None:
    numbers = first_appearance(HISTORIES, NUM_ITEMS)
    numbers = NUM_ITEMS - 1 - numbers if reverse else numbers
    between = in_place(case_of(CORPUS), first_appearance(HISTORIES, NUM_ITEMS))
    assert between.all()
    assert counts(numbers) == [len(between)]
    assert len(between) > 50


def test_first_appearance_in_training() -> None:
    numbers = first_appearance([items[:-2] for items in HISTORIES], NUM_ITEMS)
    assert not in_place(case_of(CORPUS), numbers).any()
    assert counts(numbers) == []


@pytest.mark.parametrize("seed", range(5))
def test_random_numbers(seed: int) -> None:
    assert counts(np.random.default_rng(seed).permutation(NUM_ITEMS)) == []


def test_by_hand() -> None:
    """The walk is 0 | 1 2, 3 | 4 5, 1 6 | 0 7, where 1, 2, 4, 5, 7 appear as held-out items first.

    1 and 2 stand between 0 and 3, but training has 1 after 3; 4 and 5 stand between 3 and 6; nothing follows 7.
    """
    case = case_of(corpus_of([[0, 1, 2], [3, 4, 5], [1, 6, 0, 7]], 8))
    assert in_place(case, np.arange(8)).tolist() == [True, True]
    for item, expected in ((1, [False, True]), (4, [True, False])):
        moved = np.arange(8)
        moved[item] = 9
        assert in_place(case, moved).tolist() == expected


def test_items_that_training_has_in_the_same_place_tell_nothing() -> None:
    """2 is held out from the first user and taken by the second before anything new: both orders have it there."""
    case = case_of(corpus_of([[0, 1, 2], [2, 3, 0, 1]], 4))
    assert len(in_place(case, np.arange(4))) == 1


def test_items_between_the_same_neighbours_count_once() -> None:
    """By chance the two may be far apart, and then everything is between them."""
    case = case_of(corpus_of([[0, 1, 2], [0, 4, 5], [0, 6, 7], [8, 1, 2]], 9))
    assert in_place(case, np.arange(9)).tolist() == [True]


def test_the_rule_counts_on_from_all_that_has_appeared() -> None:
    """Worth by hand: the users' test items 2, 5 and 6 after 1, 4 and 5 of what came before."""
    histories = [[0, 1, 2], [3, 4, 5], [0, 3, 6]] + [[0, 1, 3]] * 3
    numbers = np.arange(7)
    from peft_pod.audit.order import _next_free_number

    assert _next_free_number(case_of(corpus_of(histories, 7)), numbers).tolist() == [1, 1, 2, 0, 0, 0]
